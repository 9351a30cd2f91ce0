//! Sites: profiles, which say as data what the agent must know of a page; the fair-play guard; and the page driver.

mod address;
pub(crate) mod guard;
pub(crate) mod page;
pub(crate) mod profile;

pub use profile::*;
