//! What can go wrong between a file and a pin, each as one sentence a person can act on.

use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used: which, what is wrong with it, and what to do.
    #[error("{}: {why}; {mend}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do about it.
        mend: String,
    },
    /// A picture cannot be used; others may be.
    #[error("{}: {why}", file.display())]
    Picture {
        /// The picture's file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What was asked for does not exist.
    #[error("{0}")]
    Unknown(String),
    /// The machine lacks something, such as ONNX Runtime.
    #[error("{0}")]
    Surroundings(String),
}

impl Error {
    pub(crate) fn file(file: &Path, why: impl ToString, mend: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), why: why.to_string(), mend: mend.into() }
    }

    pub(crate) fn picture(file: &Path, why: impl ToString) -> Self {
        Self::Picture { file: file.to_owned(), why: why.to_string() }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
