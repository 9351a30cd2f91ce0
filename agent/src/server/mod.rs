//! Servers: the arena, which is the practice game, the phone page, the page on which an archive is reviewed, and the services
//! for other programs, over HTTP and the Model Context Protocol.

pub(crate) mod api;
pub(crate) mod arena;
pub(crate) mod assets;
mod connections;
#[cfg(feature = "embed")]
mod embedded;
mod json_error;
pub(crate) mod mcp;
pub(crate) mod phone;
pub(crate) mod review;
mod security;
mod spans;
mod tiles;
mod token;
