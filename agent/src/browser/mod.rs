//! The browser: WebDriver sessions, and input by mouse and keyboard.

pub mod input;
mod session;

pub use session::*;
