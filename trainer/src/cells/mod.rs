//! The partition of the earth into cells, and probability distributions over them.

pub(crate) mod partition;
pub(crate) mod prior;
pub(crate) mod soft_labels;
