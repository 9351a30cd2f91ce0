//! The browser: WebDriver sessions, processes, and input by mouse and keyboard.

mod check;
mod client;
mod discovery;
mod driver;
mod explain;
mod flags;
mod http;
pub(crate) mod input;
mod process;
mod session;
mod version;

pub(crate) use check::examine;
pub(crate) use discovery::{HOW_TO_INSTALL, on_path};
pub use discovery::{chromedriver, chromium};
pub(crate) use driver::end_all;
pub(crate) use explain::page_failure;
pub use process::process;
#[cfg(target_os = "linux")]
pub(crate) use process::reap_orphans;
pub use session::{BrowserOptions, open, shutdown};
