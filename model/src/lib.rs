#![cfg_attr(feature = "onnx", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "onnx"), doc = "Predicts where photographs were taken: the part that needs no ONNX Runtime.")]
// Same answers on all platforms: transcendental functions come from libm, see clippy.toml.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod error;
#[cfg(feature = "onnx")]
mod geolocator;

pub use bundle::Prior;
pub use cells::{Cell, CellTable, InvalidCells};
pub use error::{Error, Result};
#[cfg(feature = "onnx")]
pub use geolocator::Geolocator;
pub use image::RgbImage;
pub use latlng::{EARTH_RADIUS_M, InvalidLatLng, LatLng};
pub use posterior::Posterior;
pub use prediction::{Prediction, TopCell};
pub use preprocess::open as open_image;
pub use score::{Bounds, InvalidScale, MAX_POINTS, MapScale};

// The rest is shared with landfall-agent and landfall-trainer and comes with no promise of stability.
#[doc(hidden)]
pub use bundle::Bundle;
#[cfg(feature = "onnx")]
#[doc(hidden)]
pub use classifier::Classifier;

#[doc(hidden)]
pub mod bundle;
#[doc(hidden)]
pub mod cells;
#[cfg(feature = "onnx")]
#[doc(hidden)]
pub mod classifier;
#[doc(hidden)]
pub mod countries;
#[cfg(feature = "onnx")]
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod images;
#[cfg(feature = "onnx")]
#[doc(hidden)]
pub mod installation;
#[doc(hidden)]
pub mod latlng;
#[doc(hidden)]
pub mod metadata;
#[doc(hidden)]
pub mod onnx;
#[doc(hidden)]
pub mod pin;
#[doc(hidden)]
pub mod place;
#[doc(hidden)]
pub mod posterior;
#[doc(hidden)]
pub mod prediction;
#[doc(hidden)]
pub mod preprocess;
#[cfg(feature = "onnx")]
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod score;
#[cfg(feature = "wasm")]
#[doc(hidden)]
pub mod wasm;
