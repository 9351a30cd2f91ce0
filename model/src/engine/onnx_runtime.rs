//! Networks in ONNX Runtime.

use std::path::Path;

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions};
use ort::value::{Outlet, TensorRef};

use crate::engine::Weights;
use crate::error::{Cause, Error, Result};
use crate::runtime;

/// Makes ONNX Runtime add products of bytes in 32 bits on x86 processors on which it otherwise adds pairs in 16 bits.
/// (`kOrtSessionOptionsAvx2PrecisionMode` in onnxruntime_session_options_config_keys.h.)
const EXACT_PRODUCTS: &str = "session.x64quantprecision";

/// Makes ONNX Runtime keep weights as they are stored.
/// (`kOrtSessionOptionsConfigDisablePrepacking` in the same file.)
const NO_PACKING: &str = "session.disable_prepacking";

/// Whether sums of pairs saturate at 16 bits on this processor, which changes the output of an int8 vision transformer. With
/// VNNI they do not, and with AMX the option would cost three quarters of the speed.
fn saturates() -> bool {
    #[cfg(target_arch = "x86_64")]
    return !is_x86_feature_detected!("avx512vnni") && !is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

pub(crate) struct Session(ort::session::Session);

impl Session {
    pub(super) fn load(path: &Path, network: &[u8], weights: Weights) -> Result<Self> {
        let environment = runtime::environment()?;
        let failed =
            |error: &dyn std::fmt::Display| Error::Network { file: path.to_owned(), source: error.to_string().into() };
        let mut builder = ort::session::Session::builder(environment).map_err(|e| failed(&e))?;
        builder = builder.with_intra_threads(1).map_err(|e| failed(&e))?;
        if saturates() {
            builder = builder.with_config_entry(EXACT_PRODUCTS, "1").map_err(|e| failed(&e))?;
        }
        if weights == Weights::AsStored {
            builder = builder.with_config_entry(NO_PACKING, "1").map_err(|e| failed(&e))?;
        }
        builder
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| failed(&e))?
            .commit_from_memory(network)
            .map(Self)
            .map_err(|e| failed(&e))
    }

    pub(super) fn inputs(&self) -> Vec<&str> {
        self.0.inputs().iter().map(Outlet::name).collect()
    }

    pub(super) fn outputs(&self) -> Vec<&str> {
        self.0.outputs().iter().map(Outlet::name).collect()
    }

    pub(super) fn run(
        &mut self,
        shape: &[usize],
        data: &[f32],
        input: &str,
        names: &[&str],
    ) -> std::result::Result<Vec<Vec<f32>>, Cause> {
        let tensor = TensorRef::from_array_view((shape, data))?;
        // Only these outputs: an encoder may have more.
        let wanted = names.iter().fold(OutputSelector::no_default(), |wanted, name| wanted.with(*name));
        let options = RunOptions::new()?.with_outputs(wanted);
        let outputs = self.0.run_with_options(ort::inputs![input => tensor], &options)?;
        names.iter().map(|name| Ok(outputs[*name].try_extract_tensor::<f32>()?.1.to_vec())).collect()
    }
}
