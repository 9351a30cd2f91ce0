//! The browser: WebDriver sessions, processes, and input by mouse and keyboard.

mod discovery;
pub mod input;
mod process;
mod session;

pub use discovery::{chromedriver, chromium};
pub use process::{ChildProcesses, kill, process};
pub use session::{BrowserOptions, VIEWPORT, open, shutdown};
