//! `arena`, and where its rounds come from, there and in `play`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use landfall_agent::arena::{Arena, ArenaOptions, Dialogs, RoundSource, Structure, Versus};
use landfall_agent::failure::wrong;
use landfall_agent::plain::say;

use super::print::print_line;
use super::{ArenaArgs, Model, RoundsFrom};

pub(super) async fn arena(args: ArenaArgs) -> Result<()> {
    let mut options = args.rounds_from.options(args.rounds, args.port)?;
    if args.versus {
        let classifier = Arc::new(Model { bundle: args.bundle }.load()?);
        say(format!("You play against {}.", classifier.bundle.manifest.id()));
        options.versus = Some(Versus { classifier, series: args.runs.join("versus.jsonl") });
    }
    let arena = Arena::start(options).await?;
    arena.notes().iter().for_each(|note| say(format!("arena: {note}")));
    print_line(arena.url())?;
    eprintln!("Open it in a browser; Ctrl-C ends it.");
    std::future::pending().await // until Ctrl-C, which `main` waits for; dropping the arena stops it
}

impl RoundsFrom {
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
        .ok_or_else(|| wrong("no rounds are found to play; name a folder with --fixtures or --photos"))
}
