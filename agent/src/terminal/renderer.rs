//! Drawing on a terminal.

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

/// Draws maps and images on a terminal; does nothing if the stream is not one.
pub(crate) struct TerminalRenderer {
    term: Term,
    canvas: Option<TerminalCanvas>,
    protocol: Option<Protocol>,
}

impl TerminalRenderer {
    pub(crate) fn new(term: Term, canvas: Option<TerminalCanvas>, protocol: Option<Protocol>) -> Self {
        Self { term, canvas, protocol }
    }

    /// Draws a map of the posterior with pins.
    pub(crate) fn map(&self, heat: &[CellProbability], marks: &[(MapMark, LatLng)]) -> Result<()> {
        match self.canvas {
            Some(canvas) => self.write(&draw(canvas, heat, marks)),
            None => Ok(()),
        }
    }

    /// Shows an image.
    pub(crate) fn picture(&self, picture: &RgbImage) -> Result<()> {
        match self.protocol {
            Some(protocol) => self.write(&protocol.encode(picture)?),
            None => Ok(()),
        }
    }

    /// Shows image files. Files that cannot be read are skipped: the caller reports them.
    pub(crate) fn files<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        if self.protocol.is_none() {
            return Ok(());
        }
        files.into_iter().filter_map(|file| preprocess::open(file).ok()).try_for_each(|picture| self.picture(&picture))
    }

    fn write(&self, text: &str) -> Result<()> {
        // The terminal was closed or the pipe ended; not an error.
        match self.term.write_str(text) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(environment_error(format!("cannot draw: {error}")))
            }
            _ => Ok(()),
        }
    }
}
