//! `bench`: plays a fixed set of rounds with any player and measures it.
//!
//! The referee keeps the truth. A player gets pictures that were encoded anew, under names that say nothing, in an order that
//! depends on the set only. Every answer is appended to a journal at once, so that a run that was killed is continued.

mod compare;
mod fetch;
mod in_arena;
mod journal;
mod manifest;
mod pictures;
mod player;
mod protocol;
mod report;
mod run;
mod set;
mod summary;

pub(crate) use compare::{Comparison, compare, read_result};
pub(crate) use fetch::{FetchPlan, picture_dir};
pub(crate) use in_arena::{BrowserRun, play_in_browser, play_person};
pub(crate) use journal::{Answered, Header, Journal, Outcome, PlayerId};
pub(crate) use manifest::{FROZEN_NAME, frozen, read as read_manifest};
pub(crate) use pictures::hash_of;
pub(crate) use player::{Baseline, BundlePlayer, CommandPlayer, HttpPlayer, McpPlayer, Player, PlayerSpec};
pub(crate) use report::html;
pub(crate) use run::{RunOptions, play};
pub(crate) use set::{RoundSet, SetSource};
pub(crate) use summary::{BenchResult, MARKDOWN_HEADER, summarize};
