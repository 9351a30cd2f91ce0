//! Web servers: the arena, which is the practice game, and the phone page.

pub(crate) mod api;
pub(crate) mod arena;
pub(crate) mod assets;
mod connections;
#[cfg(feature = "embed")]
mod embedded;
pub(crate) mod phone;
mod security;
mod spans;
