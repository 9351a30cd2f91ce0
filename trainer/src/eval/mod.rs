//! Evaluation of bundles.

pub(crate) mod analyse;
pub(crate) mod compare;
pub(crate) mod eval_set;
pub(crate) mod evaluate;
pub(crate) mod metrics;
