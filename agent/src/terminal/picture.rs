//! Thumbnails in the terminal: the kitty and iTerm protocols, and sixels.

use std::fmt::Write;
use std::io::Cursor;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::picture::fit_within;

use crate::terminal::sixel;

/// Maximum width and height of a thumbnail in pixels.
const MAX_SIZE_PX: (u32, u32) = (320, 200);
/// Maximum number of base64 characters per escape sequence in kitty's protocol.
const CHUNK_CHARS: usize = 4096;

/// Image protocol of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// Detect from the environment variables
    Auto,
    /// kitty, Ghostty, Konsole
    Kitty,
    /// iTerm2, WezTerm, VS Code
    Iterm,
    /// foot, mlterm, xterm -ti vt340, Windows Terminal
    Sixel,
}

impl Protocol {
    /// The protocol itself; `Auto` becomes the one that the terminal supports.
    ///
    /// # Errors
    /// When the environment variables do not tell, or a multiplexer is in between, which takes images for other sequences.
    pub(crate) fn resolve(self) -> Result<Self> {
        self.resolve_with(|name| std::env::var(name).ok())
    }

    fn resolve_with(self, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        if self != Self::Auto {
            return Ok(self);
        }
        let has = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let is = |name: &str, values: &[&str]| {
            variable(name).is_some_and(|value| values.iter().any(|known| value.contains(known)))
        };
        if has("TMUX") || has("STY") || is("TERM", &["tmux", "screen"]) {
            return Err(usage_error(
                "--thumbnails: tmux and screen do not show images; run the command outside of them, or leave the option out",
            ));
        }
        if has("KITTY_WINDOW_ID") || has("KONSOLE_VERSION") || is("TERM", &["kitty", "ghostty"]) {
            return Ok(Self::Kitty);
        }
        if is("TERM_PROGRAM", &["iTerm", "WezTerm", "vscode"]) || is("LC_TERMINAL", &["iTerm"]) {
            return Ok(Self::Iterm);
        }
        if is("TERM", &["foot", "mlterm", "vt340", "sixel"]) || has("WT_SESSION") {
            return Ok(Self::Sixel);
        }
        Err(usage_error(
            "--thumbnails: the terminal's image protocol is unknown; specify kitty, iterm or sixel if it supports one",
        ))
    }

    /// The escape sequence that shows a thumbnail of the image on a line of its own.
    ///
    /// # Errors
    /// When the image cannot be encoded.
    pub(crate) fn encode(self, picture: &RgbImage) -> Result<String> {
        let small = fit_within(picture, MAX_SIZE_PX);
        if self == Self::Sixel {
            return Ok(sixel::encode(&small) + "\n");
        }
        let mut png = Cursor::new(Vec::new());
        small.write_to(&mut png, ImageFormat::Png).context(environment_error("the thumbnail cannot be encoded"))?;
        let data = STANDARD.encode(png.get_ref());
        Ok(match self {
            Self::Kitty => kitty_escape(&data),
            _ => format!("\x1b]1337;File=inline=1;size={};width={}px:{data}\x07\n", png.get_ref().len(), small.width()),
        })
    }
}

/// kitty's escape sequences to transmit and show a PNG (`a=T`, `f=100`) without responses (`q=2`), in chunks.
fn kitty_escape(data: &str) -> String {
    let mut text = String::new();
    let mut chunks = data.as_bytes().chunks(CHUNK_CHARS).map(String::from_utf8_lossy).peekable();
    let mut head = "a=T,f=100,q=2,";
    while let Some(chunk) = chunks.next() {
        let more = u8::from(chunks.peek().is_some());
        let _ = write!(text, "\x1b_G{head}m={more};{chunk}\x1b\\"); // writing to a String cannot fail
        head = "";
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn picture() -> RgbImage {
        RgbImage::from_fn(900, 500, |x, y| Rgb([(x % 251) as u8, (y % 241) as u8, (x * y % 239) as u8]))
    }

    #[test]
    fn protocol_is_detected_from_the_environment() {
        let by = |name: &'static str, value: &'static str| {
            Protocol::Auto.resolve_with(|asked| (asked == name).then(|| value.to_owned())).ok()
        };
        assert_eq!(by("TERM", "xterm-kitty"), Some(Protocol::Kitty));
        assert_eq!(by("TERM_PROGRAM", "iTerm.app"), Some(Protocol::Iterm));
        assert_eq!(by("TERM", "foot-extra"), Some(Protocol::Sixel));
        assert_eq!(by("TERM", "xterm-256color"), None);
        // A terminal that shows images, with a multiplexer in between.
        for multiplexer in ["TMUX", "STY"] {
            let inside = |name: &str| ["KITTY_WINDOW_ID", multiplexer].contains(&name).then(|| "1".to_owned());
            assert!(Protocol::Auto.resolve_with(inside).unwrap_err().to_string().contains("tmux"));
        }
        assert_eq!(by("TERM", "screen-256color"), None);
        assert_eq!(Protocol::Sixel.resolve_with(|_| None).unwrap(), Protocol::Sixel);
    }

    #[test]
    fn what_is_sent_is_the_picture_made_small() {
        let decoded = |data: &str| image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap().to_rgb8();
        let iterm = Protocol::Iterm.encode(&picture()).unwrap();
        let data = iterm.strip_suffix("\x07\n").unwrap().rsplit(':').next().unwrap();
        assert_eq!(decoded(data).dimensions(), (320, 178));
        let kitty = Protocol::Kitty.encode(&picture()).unwrap();
        let chunks: Vec<&str> = kitty.trim_end().split_terminator("\x1b\\").collect();
        assert!(chunks.len() > 1 && chunks[0].starts_with("\x1b_Ga=T,f=100,q=2,m=1;"));
        assert!(chunks.last().unwrap().starts_with("\x1b_Gm=0;"));
        let data: String = chunks.iter().map(|chunk| chunk.split_once(';').unwrap().1).collect();
        assert_eq!(decoded(&data), image::imageops::thumbnail(&picture(), 320, 178));
    }
}
