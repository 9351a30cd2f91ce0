//! Sites: profiles, which describe as data what the agent needs to know about a page; the guard for fair play; and the page
//! driver.

mod address;
pub(crate) mod guard;
pub(crate) mod page;
pub(crate) mod profile;

pub use profile::*;
