//! Drawing on a terminal, where there is one.

use std::path::Path;

use anyhow::Result;
use console::Term;
use image::RgbImage;
use landfall_common::exit::environment_error;
use landfall_model::{LatLng, preprocess};

use crate::inference::CellProbability;
use crate::terminal::TerminalCanvas;
use crate::terminal::map::{MapMark, draw};
use crate::terminal::picture::Protocol;

/// What draws on a terminal; nothing where that is none.
pub(crate) struct TerminalRenderer {
    term: Term,
    canvas: Option<TerminalCanvas>,
    protocol: Option<Protocol>,
}

impl TerminalRenderer {
    pub(crate) fn new(term: Term, canvas: Option<TerminalCanvas>, protocol: Option<Protocol>) -> Self {
        Self { term, canvas, protocol }
    }

    /// Draws what is believed, with pins.
    pub(crate) fn map(&self, heat: &[CellProbability], marks: &[(MapMark, LatLng)]) -> Result<()> {
        match self.canvas {
            Some(canvas) => self.write(&draw(canvas, heat, marks)),
            None => Ok(()),
        }
    }

    /// Shows a picture.
    pub(crate) fn picture(&self, picture: &RgbImage) -> Result<()> {
        match self.protocol {
            Some(protocol) => self.write(&protocol.encode(picture)?),
            None => Ok(()),
        }
    }

    /// Shows the pictures in these files; those that cannot be read are said elsewhere.
    pub(crate) fn files<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        if self.protocol.is_none() {
            return Ok(());
        }
        files.into_iter().filter_map(|file| preprocess::open(file).ok()).try_for_each(|picture| self.picture(&picture))
    }

    fn write(&self, text: &str) -> Result<()> {
        // Somebody who closes the terminal wants nothing drawn.
        match self.term.write_str(text) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(environment_error(format!("cannot draw: {error}")))
            }
            _ => Ok(()),
        }
    }
}
