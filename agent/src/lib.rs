//! Geolocates photos and plays geolocation games in a real browser: the library behind the `landfall` command.

mod analysis;
mod browser;
mod cli;
mod dirs;
mod doctor;
mod error;
mod export;
mod geometry;
mod inference;
mod photos;
mod play;
mod probe;
mod record;
mod server;
mod site;
mod terminal;
mod thumbnail;

pub use cli::main;

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
}
