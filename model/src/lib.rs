//! From pixels to a pin: what Landfall's agent, trainer and web page share.
//!
//! A picture is [preprocessed](preprocess), an encoder and a head turn it into logits over [S2 cells](cells), the
//! views of one place are fused into a [posterior], and the [pin] is the point with the highest expected [score] on
//! the map that is played. A [bundle] holds the files one such path needs.

pub mod activations;
pub mod adapter;
pub mod bundle;
pub mod cells;
#[cfg(feature = "onnx")]
pub mod classifier;
pub mod countries;
pub mod decide;
pub mod error;
pub mod floats;
pub mod latlng;
pub mod onnx;
pub mod photos;
pub mod pin;
pub mod place;
pub mod posterior;
pub mod preprocess;
#[cfg(feature = "onnx")]
pub mod runtime;
pub mod score;
#[cfg(feature = "wasm")]
pub mod wasm;
pub mod whole;

pub use bundle::Bundle;
pub use cells::CellTable;
#[cfg(feature = "onnx")]
pub use classifier::Classifier;
pub use error::{Error, Result};
pub use latlng::LatLng;
pub use posterior::Posterior;
pub use score::MapScale;
