//! A head alone in ONNX Runtime: for features that are computed already, and for checking an exported head.

use std::path::Path;

use anyhow::{Context, Result};
use landfall_model::{Error, runtime};
use ort::session::Session;
use ort::value::TensorRef;

/// A loaded head.
pub struct HeadSession(Session);

impl HeadSession {
    /// Loads a head's ONNX file.
    ///
    /// # Errors
    /// When ONNX Runtime is not found (the surroundings) or refuses the file.
    pub fn load(file: &Path) -> Result<Self> {
        let environment = runtime::environment()?;
        let mut builder = Session::builder(environment)
            .and_then(|builder| Ok(builder.with_intra_threads(1)?))
            .map_err(|e| Error::Surroundings(format!("ONNX Runtime cannot make a session: {e}")))?;
        let session = builder.commit_from_file(file);
        Ok(Self(session.with_context(|| format!("ONNX Runtime cannot load {}; export it again", file.display()))?))
    }

    /// Logits over cells for one embedding. One at a time, as the agent asks: the same numbers to the last bit.
    ///
    /// # Errors
    /// When the network fails, as for an embedding of another length.
    pub fn logits(&mut self, embedding: &[f32]) -> Result<Vec<f32>> {
        let input = self.0.inputs()[0].name().to_owned();
        let tensor = TensorRef::from_array_view(([1, embedding.len()], embedding))?;
        let outputs = self.0.run(ort::inputs![input => tensor])?;
        let (_, logits) = outputs[0].try_extract_tensor::<f32>()?;
        Ok(logits.to_vec())
    }
}
