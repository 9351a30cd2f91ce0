//! Plays GeoGuessr in a real browser from pixels alone: the library behind the `landfall` command.

pub mod area;
pub mod arena;
pub mod browser;
pub mod decide;
pub mod doctor;
pub mod export;
pub mod failure;
pub mod game;
pub mod hands;
mod lines;
pub mod locate;
pub mod look;
pub mod map;
pub mod parallel;
pub mod plain;
pub mod probe;
pub mod record;
pub mod replay;
pub mod report;
pub mod serve;
pub mod site;
pub mod stats;
pub mod terminal;
pub mod think;
#[cfg(feature = "screen")]
pub mod watch;
pub mod web;
