//! Ctrl-C: the first one asks a run to stop at its next checkpoint.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C asks runs to stop, the second stops the program at once.
///
/// # Errors
/// When the system refuses a handler.
pub(crate) fn catch_ctrl_c() -> Result<()> {
    let stop = || {
        if STOPPED.swap(true, Ordering::Relaxed) {
            std::process::exit(3);
        }
    };
    ctrlc::set_handler(stop).context("cannot listen for Ctrl-C")
}

/// Whether Ctrl-C was pressed.
pub(crate) fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}
