//! Web servers: the arena, which is the practice game, and the phone page.

pub mod arena;
pub mod assets;
pub mod phone;
mod security;
mod spans;
