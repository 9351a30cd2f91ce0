//! Analysis of recorded rounds: replays, comparisons of bundles, statistics and reports.

pub(crate) mod compare;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod stats;
