//! Trains and evaluates bundles: from geotagged photographs to cells, an encoder's features, a head and a measured bundle.
//!
//! The crate is the program `landfall-train` ([`cli`]); the other exports are for its tests and benchmarks. Modules further
//! down this list may import those above them, never the other way round:
//!
//! - `io`: files, storage, progress bars, Ctrl-C
//! - `html`: what the HTML pages share
//! - `collect`: pictures from public sources
//! - `data`: the index of a data set, and how it is built from collected pictures
//! - `cells`: the partition of the earth, soft labels over it, and the prior
//! - `features`: which encoder, its cached embeddings, and samples made of them
//! - `eval`: metrics, and the commands that measure bundles
//! - `onnx`: writing ONNX networks
//! - `head`: training of a head on features
//! - `encoder`: networks that make features, and how they are trained and compressed
//! - `bundle`: the export of all this

pub mod cli;

mod bundle;
mod cells;
mod collect;
mod data;
mod encoder;
mod eval;
mod features;
mod head;
mod html;
mod io;
mod onnx;

pub use collect::{Item, Status, read as read_manifest};
pub use data::images::Images;
pub use encoder::depthwise::depthwise;
pub use encoder::lite::{Lite, patches_shape};
pub use features::encoder_spec::EncoderSpec;
pub use features::store::load as load_features;
