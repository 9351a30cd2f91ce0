//! Sites: profiles, which say as data what the agent must know of a page; the fair-play guard; and the page driver.

pub mod guard;
pub mod page;
pub mod profile;

pub use profile::*;
