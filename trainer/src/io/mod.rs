//! Files, object storage, progress bars and signals.

pub(crate) mod args;
pub(crate) mod hash;
pub(crate) mod interrupt;
pub(crate) mod paths;
pub(crate) mod progress;
pub(crate) mod storage;
pub(crate) mod tabular;
