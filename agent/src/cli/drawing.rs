//! What `locate`, `play` and `watch` draw in the terminal, and the options for it.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use console::Term;
use image::RgbImage;
use landfall_agent::failure::surroundings;
use landfall_agent::terminal::picture::Protocol;
use landfall_agent::terminal::{Canvas, Mark, Spot, draw};
use landfall_model::{LatLng, preprocess};

#[derive(Args)]
pub(super) struct Drawing {
    /// Draw no map in the terminal
    #[arg(long)]
    no_map: bool,
    /// Show the pictures in the terminal, where it can
    #[arg(long, value_name = "PROTOCOL", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    thumbnails: Option<Protocol>,
}

/// What draws on a terminal; nothing where that is none.
pub(super) struct Pencil {
    term: Term,
    canvas: Option<Canvas>,
    protocol: Option<Protocol>,
}

impl Drawing {
    /// The pencil for this stream; `is_for_machines` where nothing but JSON may stand there.
    ///
    /// # Errors
    /// When pictures are asked for and the terminal does not say how it takes them.
    pub(super) fn on(&self, term: Term, is_for_machines: bool) -> Result<Pencil> {
        let is_seen = term.is_term() && !is_for_machines;
        let canvas = if is_seen && !self.no_map { Canvas::of(&term) } else { None };
        let protocol = self.thumbnails.filter(|_| is_seen).map(Protocol::known).transpose()?;
        Ok(Pencil { term, canvas, protocol })
    }
}

impl Pencil {
    /// Draws what is believed, with pins.
    pub(super) fn map(&self, heat: &[Spot], marks: &[(Mark, LatLng)]) -> Result<()> {
        match self.canvas {
            Some(canvas) => self.put(&draw(canvas, heat, marks)),
            None => Ok(()),
        }
    }

    /// Shows a picture.
    pub(super) fn picture(&self, picture: &RgbImage) -> Result<()> {
        match self.protocol {
            Some(protocol) => self.put(&protocol.show(picture)?),
            None => Ok(()),
        }
    }

    /// Shows the pictures in these files; those that cannot be read are said elsewhere.
    pub(super) fn files<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        if self.protocol.is_none() {
            return Ok(());
        }
        files.into_iter().filter_map(|file| preprocess::open(file).ok()).try_for_each(|picture| self.picture(&picture))
    }

    fn put(&self, text: &str) -> Result<()> {
        // Somebody who closes the terminal wants nothing drawn.
        match self.term.write_str(text) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(surroundings(format!("cannot draw: {error}")))
            }
            _ => Ok(()),
        }
    }
}
