//! Signals that stop the program: Ctrl-C (SIGINT), SIGTERM, and SIGHUP unless it was started with that ignored. They are
//! handled while the main thread computes, and also as process 1 of a container, where no signal has a default action.

use std::time::Duration;

use landfall_common::exit::Exit;
use tokio::sync::oneshot;

use crate::browser;

/// After a signal the main thread has this long to return.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Registers the handlers. The receiver gets the exit code of the first signal; browsers are ended without it. A second
/// signal ends the program at once.
///
/// # Errors
/// When a handler cannot be registered.
pub(super) fn listen() -> std::io::Result<oneshot::Receiver<Exit>> {
    let mut signals = Signals::register()?;
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        let exit = signals.next().await;
        // First, so that the command stops before it notices that its browser is gone.
        _ = stop.send(exit);
        _ = tokio::task::spawn_blocking(browser::end_all).await;
        _ = tokio::time::timeout(EXIT_TIMEOUT, signals.next()).await;
        std::process::exit(i32::from(exit as u8));
    });
    Ok(stopped)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn register() -> std::io::Result<Self> {
        use landfall_common::exit::ignores_hangup;
        use tokio::signal::unix::{SignalKind, signal};
        #[cfg(target_os = "linux")]
        if std::process::id() == 1 {
            reap_from_now_on(signal(SignalKind::child())?);
        }
        Ok(Self {
            hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Exit {
        let Self { interrupt, terminate, hangup } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
            _ = hangup => Exit::HungUp,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn register() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Exit {
        _ = tokio::signal::ctrl_c().await;
        Exit::Interrupted
    }
}

/// Reaps orphans whenever a process ends. Those that this program started itself are waited for within this delay.
#[cfg(target_os = "linux")]
fn reap_from_now_on(mut ended: tokio::signal::unix::Signal) {
    tokio::spawn(async move {
        while ended.recv().await.is_some() {
            tokio::time::sleep(Duration::from_secs(2)).await;
            _ = tokio::task::spawn_blocking(browser::reap_orphans).await;
        }
    });
}
