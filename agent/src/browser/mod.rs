//! The browser: WebDriver sessions, processes, and input by mouse and keyboard.

mod discovery;
pub(crate) mod input;
mod process;
mod session;

pub use discovery::{chromedriver, chromium};
pub(crate) use process::ChildProcesses;
pub use process::process;
pub use session::{BrowserOptions, open, shutdown};
