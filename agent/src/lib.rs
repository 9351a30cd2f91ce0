//! Geolocates photos and plays geolocation games in a real browser: the library behind the `landfall` command.

pub mod analysis;
pub mod browser;
pub mod cli;
mod dirs;
pub mod doctor;
pub mod error;
pub mod export;
pub mod geometry;
pub mod inference;
pub mod photos;
pub mod play;
pub mod probe;
pub mod record;
pub mod server;
pub mod site;
pub mod terminal;
mod thumbnail;
