//! The model crate's errors as Python exceptions.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use landfall_model::Error;
use landfall_model::images::Unreadable;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// An `OSError` if the operating system has reported one, a `ValueError` if an argument is at fault, or else a
/// `RuntimeError`.
pub(crate) fn of_model(error: Error) -> PyErr {
    match &error {
        Error::Read { file, source } => of_system(file, source),
        Error::Image { file, source } => match source.downcast_ref() {
            Some(Unreadable::Io(source)) => of_system(file, source),
            _ => PyValueError::new_err(describe(&error)),
        },
        Error::UnknownBundle { .. } | Error::EmptyImage { .. } | Error::NoImages => {
            PyValueError::new_err(describe(&error))
        }
        _ => PyRuntimeError::new_err(describe(&error) + hint(&error)),
    }
}

/// With an error number, Python makes it a `FileNotFoundError`, a `PermissionError` and so on.
fn of_system(file: &Path, error: &io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        let message = format!("{}: {error}", file.display());
        return match error.kind() {
            io::ErrorKind::InvalidInput => PyValueError::new_err(message), // as Python's own `open`
            _ => PyOSError::new_err(message),
        };
    };
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned();
    PyOSError::new_err((number, text, file.as_os_str().to_owned()))
}

/// The error with all its causes.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn hint(error: &Error) -> &'static str {
    match error {
        Error::EncoderNotInstalled { .. } => "; `python -m landfall setup` downloads it",
        Error::RuntimeNeeded { .. } => "; `pip install onnxruntime` installs it",
        _ => "",
    }
}
