//! Exit codes and messages of errors, including those of WebDriver.

use std::error::Error;

use landfall_common::exit::{self, Exit};
use landfall_common::text::sanitize_line;
use thirtyfour::error::{WebDriverError, WebDriverErrorInfo, WebDriverErrorInner};

/// The exit code of an error, by its outermost cause that has one.
pub fn exit_code(error: &anyhow::Error) -> Exit {
    exit::exit_code(error, |cause| cause.is::<WebDriverError>().then_some(Exit::Environment))
}

/// The error with all its causes; for WebDriver errors, the kind and the server's message without the stack trace.
pub fn describe(error: &anyhow::Error) -> String {
    let cause = |cause: &(dyn Error + 'static)| {
        let text = cause.to_string();
        let Some(error) = cause.downcast_ref::<WebDriverError>() else { return text };
        let kind = text.lines().next().unwrap_or_default().trim().trim_end_matches(':').to_owned();
        match server_words(error) {
            Some(words) if matches!(error.as_inner(), WebDriverErrorInner::UnknownResponse(..)) => words,
            Some(words) => format!("{kind}: {words}"),
            None => kind,
        }
    };
    error.chain().map(cause).collect::<Vec<_>>().join(": ")
}

/// What the server said about an error: its first sentence, for errors that concern the session, the browser or the
/// network. Messages about elements are left out, because they quote the page.
pub(crate) fn server_words(error: &WebDriverError) -> Option<String> {
    use WebDriverErrorInner::{
        InvalidSessionId, NoSuchWindow, SessionNotCreated, UnknownCommand, UnknownError, UnknownMethod,
        UnknownResponse, WebDriverTimeout,
    };
    let info: &WebDriverErrorInfo = match error.as_inner() {
        SessionNotCreated(info)
        | UnknownError(info)
        | InvalidSessionId(info)
        | NoSuchWindow(info)
        | WebDriverTimeout(info)
        | UnknownCommand(info)
        | UnknownMethod(info) => info,
        UnknownResponse(status, _) => return Some(format!("the answer, with status {status}, is not of WebDriver")),
        _ => return None,
    };
    let mut lines = info.value.message.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    let second = lines.next().filter(|line| line.starts_with("Current browser version")).unwrap_or_default();
    let words: String = format!("{first} {second}").trim().chars().take(400).collect();
    Some(sanitize_line(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use landfall_common::exit::{check_failed, environment_error};

    #[test]
    fn the_outermost_known_cause_decides_and_all_are_named() {
        let wrapped = Err::<(), _>(check_failed("differs")).context("round 2").unwrap_err();
        assert_eq!((exit_code(&wrapped), describe(&wrapped)), (Exit::CheckFailed, "round 2: differs".to_owned()));
        let explained =
            Err::<(), _>(std::io::Error::other("full")).context(environment_error("cannot write")).context("game 2");
        let explained = explained.unwrap_err();
        let message = "game 2: cannot write: full".to_owned();
        assert_eq!((exit_code(&explained), describe(&explained)), (Exit::Environment, message));
        let driver = anyhow::Error::from(WebDriverError::FatalError("gone".into())).context("the page");
        assert_eq!(exit_code(&driver), Exit::Environment);
    }

    fn error(kind: &str, message: &str) -> WebDriverError {
        let body = serde_json::json!({"value": {"error": kind, "message": message, "stacktrace": "#0 0x55d\n#1"}});
        WebDriverError::parse(500, body.to_string())
    }

    #[test]
    fn the_sentence_of_the_server_is_quoted_but_not_the_page() {
        let refused = "session not created: This version of ChromeDriver only supports Chrome version 120\n\
            Current browser version is 131.0.6778.85 with binary path /usr/bin/chromium\nmore";
        let words = server_words(&error("session not created", refused)).unwrap();
        assert!(
            words.ends_with("version 120 Current browser version is 131.0.6778.85 with binary path /usr/bin/chromium")
        );
        let page = "unknown error: net::ERR_CONNECTION_REFUSED\n  (Session info: chrome=131.0.6778.85)";
        let words = server_words(&error("unknown error", page)).unwrap();
        assert_eq!(words, "unknown error: net::ERR_CONNECTION_REFUSED");
        let covered = error("element click intercepted", "Other element would receive the click: <p>48.85,2.29</p>");
        assert_eq!(server_words(&covered), None);
        let html = WebDriverError::parse(503, "<h1>503</h1>".into());
        assert!(server_words(&html).unwrap().contains("status 503"));
    }
}
