//! Plays GeoGuessr in a real browser from pixels alone: the library behind the `landfall` command.

pub mod arena;
pub mod browser;
pub mod cli;
pub mod compare;
pub mod doctor;
pub mod error;
pub mod export;
pub mod game;
pub mod geometry;
pub mod hands;
pub mod inference;
pub mod locate;
pub mod look;
pub mod map;
pub mod parallel;
pub mod probe;
pub mod record;
pub mod replay;
pub mod report;
pub mod serve;
pub mod site;
pub mod stats;
pub mod terminal;
mod thumbnail;
#[cfg(feature = "screen")]
pub mod watch;
pub mod web;
