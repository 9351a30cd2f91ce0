//! Signals: the first SIGINT (Ctrl-C) or SIGTERM asks a run to stop at its next checkpoint, the second ends the program.

use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};
use landfall_common::exit::{Exit, interrupted};

/// Exit code of the signal that was received; 0 before.
static RECEIVED: AtomicU8 = AtomicU8::new(0);

/// Starts to listen for signals.
///
/// # Errors
/// When the handler cannot be installed.
pub(crate) fn listen() -> Result<()> {
    install().context("cannot listen for signals")
}

#[cfg(unix)]
fn install() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            receive(if signal == SIGTERM { Exit::Terminated } else { Exit::Interrupted });
        }
    })?;
    Ok(())
}

#[cfg(not(unix))]
fn install() -> Result<()> {
    Ok(ctrlc::set_handler(|| receive(Exit::Interrupted))?)
}

fn receive(exit: Exit) {
    if RECEIVED.swap(exit as u8, Ordering::Relaxed) != 0 {
        std::process::exit(i32::from(exit as u8));
    }
}

/// Whether a signal was received.
pub(crate) fn is_stopped() -> bool {
    RECEIVED.load(Ordering::Relaxed) != 0
}

/// Waits for a signal.
pub(crate) async fn wait() {
    while !is_stopped() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The error of a run that a signal stopped, with the exit code of the signal.
pub(crate) fn stopped(message: impl Into<String>) -> anyhow::Error {
    let is_terminated = RECEIVED.load(Ordering::Relaxed) == Exit::Terminated as u8;
    interrupted(if is_terminated { Exit::Terminated } else { Exit::Interrupted }, message)
}
