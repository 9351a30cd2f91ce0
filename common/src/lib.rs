//! Code shared by the two programs, `landfall` and `landfall-train`: exit codes, logging, HTTP clients, atomic file
//! writes, text that is safe to print, finding photos, small copies of pictures, galleries of embeddings, statistics, and map drawing.
//!
//! This crate is internal to the workspace and not published.

pub mod cli;
pub mod draw;
pub mod exit;
pub mod fs;
pub mod gallery;
pub mod http;
pub mod photo_files;
pub mod picture;
pub mod statistics;
pub mod text;
