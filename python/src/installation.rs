//! Tells the model crate what it cannot know inside Python.

use std::ffi::CString;
use std::path::PathBuf;

use landfall_model::{installation, runtime};
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Sets where bundles and ONNX Runtime are looked for, before the first use of either. Warns of an ONNX Runtime that
/// cannot be used.
pub(crate) fn set_up(py: Python<'_>) -> PyResult<()> {
    static UNUSABLE: PyOnceLock<Option<String>> = PyOnceLock::new();
    let mut is_first = false;
    let unusable = UNUSABLE.get_or_try_init(py, || {
        is_first = true;
        let python = py.import("landfall._installation")?;
        installation::set_package_dir(python.getattr("PACKAGE_DIR")?.extract()?);
        let library: Option<PathBuf> = python.call_method0("onnxruntime_library")?.extract()?;
        let Some(library) = library else { return Ok::<_, PyErr>(None) };
        let shown = library.display().to_string();
        Ok(py.detach(|| runtime::offer(library)).err().map(|reason| format!("{shown} is not used: {reason}")))
    })?;
    match unusable {
        Some(message) if is_first => warn::<PyRuntimeWarning>(py, message),
        _ => Ok(()),
    }
}

/// Issues a Python warning, which may be an error there.
pub(crate) fn warn<Category: pyo3::PyTypeInfo>(py: Python<'_>, message: &str) -> PyResult<()> {
    let message = CString::new(message.replace('\0', " "))?;
    PyErr::warn(py, &py.get_type::<Category>(), &message, 1)
}
