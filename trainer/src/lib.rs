//! Trains and evaluates bundles: from geotagged photographs to a cell table, encoder features, a head and a bundle.
//!
//! The crate implements the program `landfall-train` ([`cli`]); the other exports are for its tests and benchmarks. A
//! module may import only modules above it in this list:
//!
//! - `io`: files, storage, progress bars, Ctrl-C
//! - `html`: shared parts of the HTML reports
//! - `collect`: pictures from public sources
//! - `data`: the index of a data set, and building it from collected pictures
//! - `cells`: the partition of the earth, soft labels over it, and the prior
//! - `features`: encoder descriptions, cached embeddings, and samples
//! - `eval`: metrics, and the commands that evaluate bundles
//! - `onnx`: writing ONNX networks
//! - `head`: training of a head on features
//! - `encoder`: training and compression of encoders
//! - `bundle`: export of a bundle

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
