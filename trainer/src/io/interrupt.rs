//! Signals: the first SIGINT (Ctrl-C), SIGTERM or SIGHUP requests a stop at the next checkpoint, the second exits at once.

use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};
#[cfg(unix)]
use landfall_common::exit::ignores_hangup;
use landfall_common::exit::{Exit, interrupted};

/// Exit code of the received signal; 0 if none was received.
static RECEIVED: AtomicU8 = AtomicU8::new(0);

/// Installs the signal handler.
///
/// # Errors
/// If the handler cannot be installed.
pub(crate) fn listen() -> Result<()> {
    install().context("cannot listen for signals")
}

#[cfg(unix)]
fn install() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stopping = [SIGINT, SIGTERM].into_iter().chain((!ignores_hangup()).then_some(SIGHUP));
    let mut signals = signal_hook::iterator::Signals::new(stopping)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            receive(match signal {
                SIGTERM => Exit::Terminated,
                SIGHUP => Exit::HungUp,
                _ => Exit::Interrupted,
            });
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

/// Returns whether a signal was received.
pub(crate) fn is_stopped() -> bool {
    RECEIVED.load(Ordering::Relaxed) != 0
}

/// Waits for a signal.
pub(crate) async fn wait() {
    while !is_stopped() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Creates the error of a run that was stopped by a signal, with that signal's exit code.
pub(crate) fn stopped(message: impl Into<String>) -> anyhow::Error {
    let received = RECEIVED.load(Ordering::Relaxed);
    let exits = [Exit::Terminated, Exit::HungUp];
    let exit = exits.into_iter().find(|exit| *exit as u8 == received).unwrap_or(Exit::Interrupted);
    interrupted(exit, message)
}
