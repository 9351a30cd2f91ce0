//! The Python package `landfall`: predictions by the model crate, and the command line.

mod error;
mod geolocator;
mod image;
mod installation;
mod prediction;

use std::ffi::OsString;
use std::io::Write;

use pyo3::prelude::*;

/// The module that the Python files of the package import.
#[pymodule]
mod _landfall {
    #[pymodule_export]
    use super::geolocator::Geolocator;
    #[pymodule_export]
    use super::main;
    /// `importlib.metadata` would take longer than all other imports.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python has for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// Runs the command line, which begins with the program's name, and returns its exit code. `--help` and usage errors end
/// the process.
#[pyfunction]
fn main(py: Python<'_>, command_line: Vec<OsString>) -> PyResult<u8> {
    installation::set_up(py)?;
    let exit = py.detach(|| {
        let exit = landfall_agent::main_with(command_line);
        // Rust does this when a program of its own ends.
        _ = std::io::stdout().flush();
        exit
    });
    Ok(exit as u8)
}
