//! Options that several commands share, and how their values are read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use console::Term;
use landfall_common::exit::usage_error;
use landfall_model::{Bundle, Classifier, MapScale};
use url::Url;

use crate::server::arena::{ArenaOptions, Dialogs, RoundSource, Structure};
use crate::terminal::picture::Protocol;
use crate::terminal::{TerminalCanvas, TerminalRenderer};

#[derive(Args)]
pub(super) struct ModelArgs {
    /// Bundle: a name or a folder [default: desktop, or pocket where desktop's encoder is absent]
    #[arg(long)]
    pub(super) bundle: Option<String>,
}

impl ModelArgs {
    pub(super) fn find(&self) -> Result<Bundle> {
        if let Some(name) = &self.bundle {
            return Ok(Bundle::find(name)?);
        }
        let desktop = Bundle::find("desktop")?;
        // Absent, not damaged: what is damaged is said when it is loaded.
        if desktop.manifest.encoder.is_absent(&desktop.dir)
            && let Ok(pocket) = Bundle::find("pocket")
        {
            eprintln!("The desktop bundle's encoder is absent (`cargo xtask setup` gets it): using the pocket bundle.");
            return Ok(pocket);
        }
        Ok(desktop)
    }

    pub(super) fn load(&self) -> Result<Classifier> {
        Ok(Classifier::load(self.find()?)?)
    }
}

#[derive(Args)]
pub(super) struct ArenaSourceArgs {
    /// Folder of saved rounds that the arena shows
    #[arg(long, value_name = "DIR", conflicts_with = "photos")]
    fixtures: Option<PathBuf>,
    /// Folder of your own photos with GPS that the arena shows
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    /// Makes the arena's choice of rounds repeat
    #[arg(long)]
    seed: Option<u64>,
    /// The arena shows a consent dialog and a message first, and one of a new level after a round, as live pages do
    #[arg(long)]
    dialogs: bool,
    /// How the arena's page is built
    #[arg(long, value_enum, default_value_t)]
    structure: Structure,
    /// The arena's map tiles take this much longer
    #[arg(long, value_name = "MS")]
    slow_tiles: Option<u64>,
}

impl ArenaSourceArgs {
    pub(super) fn any(&self) -> bool {
        let Self { fixtures, photos, seed, dialogs, structure, slow_tiles } = self;
        let plain = *structure == Structure::Plain;
        fixtures.is_some() || photos.is_some() || seed.is_some() || *dialogs || !plain || slow_tiles.is_some()
    }

    /// The profile that knows how the arena's page is built, where that is not the arena's own.
    pub(super) fn site(&self) -> Option<&'static str> {
        (self.structure != Structure::Plain).then_some("geoguessr")
    }

    pub(super) fn options(&self, rounds_per_game: usize, port: u16) -> Result<ArenaOptions> {
        let rounds = match (&self.fixtures, &self.photos) {
            (_, Some(dir)) => RoundSource::Photos(dir.clone()),
            (Some(dir), None) => RoundSource::Fixtures(dir.clone()),
            (None, None) => RoundSource::Fixtures(fixtures()?),
        };
        Ok(ArenaOptions {
            port,
            rounds_per_game,
            seed: self.seed,
            first_shows: Dialogs { consent: self.dialogs, interstitial: self.dialogs },
            level_up: self.dialogs,
            structure: self.structure,
            slow_tiles: self.slow_tiles.map(Duration::from_millis),
            ..ArenaOptions::new(rounds)
        })
    }
}

/// The rounds that come with Landfall: beside the executable, or in the source tree.
pub(super) fn fixtures() -> Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("fixtures")));
    let source_tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|root| root.join("fixtures"));
    let mut places = beside.into_iter().chain(source_tree);
    places
        .find(|dir| dir.join("rounds").is_dir())
        .ok_or_else(|| usage_error("no rounds are found to play; name a folder with --fixtures or --photos"))
}

#[derive(Args)]
pub(super) struct DrawingArgs {
    /// Draw no map in the terminal
    #[arg(long)]
    no_map: bool,
    /// Show the pictures in the terminal, where it can
    #[arg(long, value_name = "PROTOCOL", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    thumbnails: Option<Protocol>,
}

impl DrawingArgs {
    /// The pencil for this stream; `is_for_machines` where nothing but JSON may stand there.
    ///
    /// # Errors
    /// When pictures are asked for and the terminal does not say how it takes them.
    pub(super) fn on(&self, term: Term, is_for_machines: bool) -> Result<TerminalRenderer> {
        let is_seen = term.is_term() && !is_for_machines;
        let canvas = if is_seen && !self.no_map { TerminalCanvas::of(&term) } else { None };
        let protocol = self.thumbnails.filter(|_| is_seen).map(Protocol::known).transpose()?;
        Ok(TerminalRenderer::new(term, canvas, protocol))
    }
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| format!("`{text}` is not a number of seconds, 0 to 86400"))
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
    plain.map(|_| text.to_owned()).ok_or_else(|| format!("`{text}` is no host and port, as in 127.0.0.1:9222"))
}

pub(super) fn scale(text: &str) -> Result<MapScale, String> {
    let metres: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of metres"))?;
    MapScale::try_from(metres).map_err(|error| error.to_string())
}
