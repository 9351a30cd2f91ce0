//! Options that several commands share, and how their values are read.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use console::Term;
use landfall_common::cli::parse_duration;
use landfall_common::text::eprint_sanitized;
use landfall_model::engine::Engine;
use landfall_model::{Bundle, Classifier, Error, LatLng, MapScale, installation, place, runtime};
use url::Url;

use crate::browser::BrowserOptions;
use crate::inference;
use crate::server::arena::{ArenaOptions, Dialogs, RoundSource, Structure};
use crate::terminal::picture::Protocol;
use crate::terminal::{TerminalCanvas, TerminalRenderer};

#[derive(Args)]
pub(super) struct ModelArgs {
    /// Bundle, by name or directory (./DIR) [default: desktop, or pocket if desktop's encoder is not installed]
    #[arg(long, value_name = "NAME|DIR", help_heading = "Model")]
    pub(super) bundle: Option<String>,
}

impl ModelArgs {
    pub(super) fn find(&self) -> Result<Bundle> {
        if let Some(name) = &self.bundle {
            let bundle = Bundle::find(name)?;
            announce_derivation(&bundle);
            return Ok(bundle);
        }
        let pocket = || Bundle::find("pocket");
        let desktop = match Bundle::find("desktop") {
            Err(error @ Error::UnknownBundle { .. }) => {
                let pocket = pocket().map_err(|why| match why {
                    Error::UnknownBundle { .. } => error,
                    why => why,
                })?;
                tracing::info!("the desktop bundle is not installed: using the pocket bundle");
                return Ok(pocket);
            }
            found => found?,
        };
        // Other errors are reported when it is loaded.
        if Engine::preferred().is_ok_and(Engine::is_built_in)
            && let Ok(pocket) = pocket()
        {
            if !runtime::IS_STATIC {
                eprintln!("ONNX Runtime is not installed (`landfall setup` installs it): using the pocket bundle.");
            }
            return Ok(pocket);
        }
        // A damaged encoder is an error, which loading it reports.
        if desktop.manifest.encoder.is_absent(&desktop.dir)
            && let Ok(pocket) = pocket()
        {
            eprintln!(
                "The encoder of the desktop bundle is not installed (`landfall setup` downloads it): using the pocket bundle."
            );
            return Ok(pocket);
        }
        Ok(desktop)
    }

    pub(super) fn load(&self) -> Result<Classifier> {
        self.load_for(usize::MAX)
    }

    /// For this many images: with an encoder session for each, up to one per core and up to four.
    pub(super) fn load_for(&self, images: usize) -> Result<Classifier> {
        self.load_for_games(images.min(4))
    }

    /// For this many games at the same time, each of which computes one view at a time.
    pub(super) fn load_for_games(&self, at_once: usize) -> Result<Classifier> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            // Meanwhile, since these take as long as reading the bundle: the engine, whose errors are reported when it is
            // used, and the tables of places, which are unpacked for the first place that is described.
            scope.spawn(Engine::preferred);
            scope.spawn(|| place::describe(LatLng { lat: 0.0, lng: 0.0 }));
            inference::load_with_workers(self.find()?, cores.min(at_once).max(1))
        })
    }
}

/// Prints why the first use of a bundle takes longer, if its encoder will be computed.
pub(super) fn announce_derivation(bundle: &Bundle) {
    let encoder = &bundle.manifest.encoder;
    if let Some(derived) = encoder.derived.as_ref().filter(|_| encoder.will_be_derived(&bundle.dir)) {
        let (name, source) = (&bundle.manifest.name, &derived.bundle);
        eprint_sanitized(format!(
            "computing the encoder of {name} from that of {source}, once; this takes some seconds"
        ));
    }
}

/// The browser and its window.
#[derive(Args)]
pub(super) struct BrowserArgs {
    /// Width and height of the page in pixels
    #[arg(long, value_name = "WxH", default_value = "800x800", value_parser = window, help_heading = "Browser")]
    window: (u32, u32),
    /// Show the browser window
    #[arg(long, help_heading = "Browser")]
    headed: bool,
    /// Executable of Chromium, Chrome or Edge, by name on PATH or as a path [default: the first that has a driver]
    ///
    /// Its driver (chromedriver, or msedgedriver for Edge) is searched for on PATH and beside `landfall`, and must have
    /// the browser's version.
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "webdriver", help_heading = "Browser")]
    browser: Option<PathBuf>,
    /// Flag for the browser, as in --browser-arg=--lang=de (repeatable)
    #[arg(long, value_name = "FLAG", value_parser = browser_flag, allow_hyphen_values = true, help_heading = "Browser")]
    browser_arg: Vec<String>,
    /// URL of a running WebDriver server, such as Selenium Grid [default: start chromedriver]
    #[arg(long, value_name = "URL", help_heading = "Browser")]
    webdriver: Option<Url>,
}

impl BrowserArgs {
    pub(super) fn into_options(self) -> BrowserOptions {
        BrowserOptions {
            webdriver: self.webdriver,
            executable: self.browser,
            flags: self.browser_arg,
            headed: self.headed,
            viewport: self.window,
            ..BrowserOptions::default()
        }
    }
}

/// Flags that the session sets itself, with the option to use instead, and flags that hide the automation.
const REFUSED_FLAGS: [(&str, &str); 10] = [
    ("user-data-dir", "Landfall starts the browser with a profile of its own; --attach uses a running browser"),
    ("profile-directory", "Landfall starts the browser with a profile of its own; --attach uses a running browser"),
    ("remote-debugging-port", "the driver sets it; --attach uses a running browser"),
    ("remote-debugging-pipe", "the driver sets it"),
    ("remote-debugging-address", "the driver sets it"),
    ("headless", "it is the default; --headed shows the window"),
    ("window-size", "use --window"),
    ("force-device-scale-factor", "positions are computed for a factor of 1"),
    ("user-agent", "Landfall does not disguise the browser"),
    ("disable-blink-features", "Landfall does not disguise the browser"),
];

/// Parses a flag for the browser.
fn browser_flag(text: &str) -> std::result::Result<String, String> {
    let Some(flag) = text.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
        return Err("write --browser-arg=--FLAG or --browser-arg=--FLAG=VALUE".to_owned());
    };
    let name = flag.split('=').next().unwrap_or_default().to_ascii_lowercase();
    match REFUSED_FLAGS.iter().find(|(refused, _)| *refused == name) {
        Some((_, why)) => Err(format!("--{name} cannot be set: {why}")),
        None => Ok(text.to_owned()),
    }
}

/// Parses the width and height of a window, such as 1280x800.
fn window(text: &str) -> std::result::Result<(u32, u32), String> {
    let sides =
        text.split_once(['x', 'X', '×']).and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let is_possible = |(width, height): &(u32, u32)| (200..=8000).contains(width) && (200..=8000).contains(height);
    sides.filter(is_possible).ok_or_else(|| "write WIDTHxHEIGHT, as in 1280x800, each 200 to 8000 pixels".to_owned())
}

#[derive(Args)]
pub(super) struct ArenaSourceArgs {
    /// Directory of recorded rounds to play [default: the fixtures]
    #[arg(long, value_name = "DIR", conflicts_with = "photos", help_heading = "Arena")]
    fixtures: Option<PathBuf>,
    /// Directory of photos with GPS positions to play
    #[arg(long, value_name = "DIR", help_heading = "Arena")]
    photos: Option<PathBuf>,
    /// Random seed for the choice of rounds
    #[arg(long, value_name = "N", help_heading = "Arena")]
    seed: Option<u64>,
    /// Show the dialogs that live pages show: consent, a message, a new level after a round
    #[arg(long, help_heading = "Arena")]
    dialogs: bool,
    /// Structure of the page
    #[arg(long, value_enum, default_value_t, help_heading = "Arena")]
    structure: Structure,
    /// Delay each map tile, as in 200ms
    #[arg(long, value_name = "DURATION", value_parser = tile_delay, help_heading = "Arena")]
    slow_tiles: Option<Duration>,
}

impl ArenaSourceArgs {
    pub(super) fn any(&self) -> bool {
        let Self { fixtures, photos, seed, dialogs, structure, slow_tiles } = self;
        let plain = *structure == Structure::Plain;
        fixtures.is_some() || photos.is_some() || seed.is_some() || *dialogs || !plain || slow_tiles.is_some()
    }

    /// The profile for the structure of the page, if it is not the arena's own.
    pub(super) fn site(&self) -> Option<&'static str> {
        (self.structure != Structure::Plain).then_some("geoguessr")
    }

    pub(super) fn options(&self, rounds_per_game: usize, port: u16) -> Result<ArenaOptions> {
        let rounds = match (&self.fixtures, &self.photos) {
            (_, Some(dir)) => RoundSource::Photos(dir.clone()),
            (Some(dir), None) => RoundSource::Fixtures(dir.clone()),
            (None, None) => fixtures()?,
        };
        Ok(ArenaOptions {
            port,
            rounds_per_game,
            seed: self.seed,
            first_shows: Dialogs { consent: self.dialogs, interstitial: self.dialogs },
            level_up: self.dialogs,
            structure: self.structure,
            slow_tiles: self.slow_tiles,
            ..ArenaOptions::new(rounds)
        })
    }
}

/// The fixtures: beside the executable, or in the source tree that it was built from, or in the program.
pub(super) fn fixtures() -> Result<RoundSource> {
    let places = [installation::program_dir(), installation::source_tree()];
    let mut places = places.into_iter().flatten().map(|dir| dir.join("fixtures"));
    match places.find(|dir| dir.join("rounds").is_dir()) {
        Some(dir) => Ok(RoundSource::Fixtures(dir)),
        #[cfg(feature = "embed")]
        None => Ok(RoundSource::Embedded),
        #[cfg(not(feature = "embed"))]
        None => Err(landfall_common::exit::usage_error(
            "no rounds to play were found; name a directory with --fixtures or --photos",
        )),
    }
}

#[derive(Args)]
pub(super) struct DrawingArgs {
    /// Draw no map in the terminal
    #[arg(long, help_heading = "Output")]
    no_map: bool,
    /// Show the images in the terminal, if it supports that
    #[arg(long, value_name = "PROTOCOL", num_args = 0..=1, require_equals = true, default_missing_value = "auto", help_heading = "Output")]
    thumbnails: Option<Protocol>,
}

impl DrawingArgs {
    /// The renderer for this stream; `is_for_machines` if the stream must carry data only.
    ///
    /// # Errors
    /// When images are requested and the protocol of the terminal is unknown.
    pub(super) fn on(&self, term: Term, is_for_machines: bool) -> Result<TerminalRenderer> {
        let is_seen = term.is_term() && !is_for_machines;
        let canvas = if is_seen && !self.no_map { TerminalCanvas::of(&term) } else { None };
        let protocol = self.thumbnails.filter(|_| is_seen).map(Protocol::resolve).transpose()?;
        Ok(TerminalRenderer::new(term, canvas, protocol))
    }
}

/// A duration of up to a day.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    let is_short = duration <= Duration::from_secs(86_400);
    is_short.then_some(duration).ok_or_else(|| format!("`{text}` is longer than a day"))
}

/// As [`duration`], with plain numbers as milliseconds, which is what the option took before it had units.
fn tile_delay(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).or_else(|_| duration(text))
}

pub(super) fn kilometres(text: &str) -> Result<f64, String> {
    let kilometres = text.parse().ok().filter(|kilometres: &f64| *kilometres > 0.0);
    kilometres.ok_or_else(|| format!("`{text}` is not a number of kilometres above 0"))
}

pub(super) fn points(text: &str) -> Result<f64, String> {
    let points = text.parse().ok().filter(|points: &f64| (0.0..=5000.0).contains(points));
    points.ok_or_else(|| format!("`{text}` is not a number of points, 0 to 5000"))
}

pub(super) fn debugger(text: &str) -> Result<String, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(format!("127.0.0.1:{port}"));
    }
    let address = Url::parse(&format!("http://{text}/")).ok();
    let plain = address.filter(|address| address.port().is_some() && address.as_str() == format!("http://{text}/"));
    plain.map(|_| text.to_owned()).ok_or_else(|| format!("`{text}` is not a host and port, as in 127.0.0.1:9222"))
}

pub(super) fn scale(text: &str) -> Result<MapScale, String> {
    let metres: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of metres"))?;
    MapScale::try_from(metres).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_the_session_sets_or_that_disguise_it_are_refused() {
        for flag in ["--lang=de", "--disable-web-security", "--ignore-certificate-errors"] {
            assert_eq!(browser_flag(flag).as_deref(), Ok(flag));
        }
        for flag in
            ["--user-data-dir=/home/me/.config/chromium", "--Headless", "--user-agent=x", "--remote-debugging-port=1"]
        {
            assert!(browser_flag(flag).unwrap_err().contains("cannot be set"), "{flag}");
        }
        for text in ["lang=de", "--", ""] {
            assert!(browser_flag(text).is_err(), "{text}");
        }
    }

    #[test]
    fn windows_have_two_sides_of_a_possible_length() {
        assert_eq!(window("1280x800"), Ok((1280, 800)));
        for text in ["1280", "x", "0x800", "1280x80000", "-1x800"] {
            assert!(window(text).is_err(), "{text}");
        }
    }
}
