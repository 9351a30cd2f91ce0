//! Geolocates photos and plays geolocation games in a real browser: the library behind the `landfall` command.

mod analysis;
mod benchmark;
mod browser;
mod cli;
mod dirs;
mod doctor;
mod error;
mod evidence;
mod export;
mod geometry;
mod inference;
mod photos;
mod play;
mod probe;
mod record;
mod score;
mod server;
mod setup;
mod site;
mod terminal;

pub use cli::{main, main_with};

/// What the end-to-end tests and the benchmarks call directly; not a stable interface.
#[doc(hidden)]
pub mod testing {
    pub use crate::analysis::stats::stats;
    pub use crate::browser::BrowserOptions;
    pub use crate::error::{describe, exit_code};
    pub use crate::inference::RoundInference;
    pub use crate::inference::stopping::HEADINGS;
    pub use crate::play::game::{GameEvent, PlayOptions, SubmitMode};
    pub use crate::play::pin::PlacedPin;
    pub use crate::record::{Area, GameRecord, Map};
    pub use crate::server::arena::{Arena, ArenaOptions, Dialogs, RoundSource, Structure, Versus, draw_tile};
    pub use crate::site::Profile;
    pub use crate::site::guard::Consent;
    pub use crate::site::page::{NextStep, Page};

    pub mod browser {
        pub use crate::browser::{chromedriver, chromium, open, process, shutdown};
    }
    pub mod input {
        pub use crate::browser::input::pause;
    }
    pub mod game {
        pub use crate::play::game::play;
    }
    pub mod look {
        pub use crate::play::look::around;
    }
    pub mod pin {
        pub use crate::play::pin::place_pin;
        pub use crate::play::pin::view::shown;
    }
    /// Readers of files from outside, for tests with damaged files and for fuzzing.
    pub mod readers {
        use std::path::{Path, PathBuf};

        use anyhow::Result;

        use crate::analysis::report::Report;
        use crate::export::{ExportTable, Format};
        use crate::photos::exif;
        use crate::record::{GameRecord, Round};
        use crate::site::Profile;
        use crate::site::page::distance;

        pub fn profile(text: &str) -> Result<Profile> {
            Profile::parse(text, "profile.toml")
        }

        /// Metres, and the maximum rounding error in metres.
        pub fn distance(text: &str) -> Option<(f64, f64)> {
            distance::read(text).map(|distance| (distance.metres, distance.within_m))
        }

        pub fn round(json: &[u8]) -> Result<Round, String> {
            Round::parse(json)
        }

        pub fn game(json: &[u8]) -> Result<GameRecord, String> {
            GameRecord::parse(json)
        }

        /// Whether a location can be added to EXIF data.
        pub fn can_add_location(exif: &[u8]) -> bool {
            exif::insert_geotag(Some(exif), &GEOTAG).is_ok()
        }

        /// Copies an image with a location added.
        pub fn copy_with_location(file: &Path, to: &Path) -> Result<()> {
            let copy = exif::geotagged_copy(file, &GEOTAG)?;
            copy.map_or(Ok(()), |copy| landfall_common::fs::write_new(to, &copy))
        }

        const GEOTAG: exif::Geotag<'_> = exif::Geotag {
            at: landfall_model::LatLng { lat: -33.856_789, lng: 151.215_256 },
            error_m: Some(400_000.0),
            bundle: "pocket@1",
            source: exif::GeotagSource::Picture,
        };

        /// The report on recorded rounds, and what it left out.
        pub fn report(dirs: &[PathBuf]) -> Result<(String, Vec<String>)> {
            let mut report = Report::read(dirs)?;
            let html = report.html();
            Ok((html, report.left_out().to_owned()))
        }

        /// Recorded rounds in all formats for other programs.
        pub fn export(dirs: &[PathBuf]) -> Result<[String; 3]> {
            let (table, _) = ExportTable::of_rounds(dirs)?;
            let [a, b, c] = [Format::Csv, Format::Geojson, Format::Kml].map(|format| table.write(format, false));
            Ok([a?, b?, c?])
        }
    }
}
