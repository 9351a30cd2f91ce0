//! Predictions as the data classes of `landfall/_prediction.py`.

use landfall_model::Prediction;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

const MODULE: &str = "landfall._prediction";

/// The arguments are in the order of the classes' fields.
pub(crate) fn to_python<'py>(py: Python<'py>, prediction: &Prediction) -> PyResult<Bound<'py, PyAny>> {
    static PREDICTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static CANDIDATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CANDIDATE.import(py, MODULE, "Candidate")?;
    let candidates = prediction.candidates.iter();
    let candidates = candidates.map(|cell| class.call1((&cell.cell, cell.at.lat, cell.at.lng, cell.p)));
    let candidates = PyTuple::new(py, candidates.collect::<PyResult<Vec<_>>>()?)?;
    let Prediction { point, place, country, expected_score, radius_50_km, radius_90_km, .. } = prediction;
    let fields = (point.lat, point.lng, place, country, expected_score, radius_50_km, radius_90_km, candidates);
    PREDICTION.import(py, MODULE, "Prediction")?.call1(fields)
}
