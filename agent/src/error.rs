//! Exit codes and messages of errors, including those of WebDriver.

use std::error::Error;

use landfall_common::exit::{self, Exit};
use thirtyfour::error::WebDriverError;

/// The exit code of an error, by its outermost cause that has one.
pub fn exit_code(error: &anyhow::Error) -> Exit {
    exit::exit_code(error, |cause| cause.is::<WebDriverError>().then_some(Exit::Environment))
}

/// The error with all its causes; of a WebDriver error only the first line, which the driver's stack trace follows.
pub fn describe(error: &anyhow::Error) -> String {
    let cause = |cause: &(dyn Error + 'static)| {
        let text = cause.to_string();
        match cause.is::<WebDriverError>() {
            true => text.lines().next().unwrap_or_default().trim().trim_end_matches(':').to_owned(),
            false => text,
        }
    };
    error.chain().map(cause).collect::<Vec<_>>().join(": ")
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
}
