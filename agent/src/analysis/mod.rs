//! Analysis of recorded rounds: replays, comparisons of bundles, statistics and reports.

pub mod compare;
pub mod replay;
pub mod report;
pub mod stats;
