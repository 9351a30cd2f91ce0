//! Failures and their exit codes: 1 the answer is no, 2 the call was wrong, 3 the surroundings failed.

use landfall_model as model;

/// Why a command did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A check failed: the answer is no.
    No = 1,
    /// The command was called with something it cannot work with.
    Wrong = 2,
    /// The browser, a library or the network failed.
    Surroundings = 3,
}

/// A failure that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A check failed.
pub fn no(message: impl Into<String>) -> anyhow::Error {
    Failure { exit: Exit::No, message: message.into() }.into()
}

/// The call was wrong.
pub fn wrong(message: impl Into<String>) -> anyhow::Error {
    Failure { exit: Exit::Wrong, message: message.into() }.into()
}

/// The surroundings failed.
pub fn surroundings(message: impl Into<String>) -> anyhow::Error {
    Failure { exit: Exit::Surroundings, message: message.into() }.into()
}

/// The exit code for an error, by the outermost cause that knows one.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    // A failure that was given as context is in the chain as text alone; it lies outside what it explains.
    if let Some(context) = error.downcast_ref::<anyhow::Error>() {
        return exit_code(context);
    }
    let known = error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.exit);
        }
        if cause.is::<thirtyfour::error::WebDriverError>() {
            return Some(Exit::Surroundings);
        }
        cause.downcast_ref::<model::Error>().map(|error| match error {
            model::Error::Picture { .. } | model::Error::Unknown(_) => Exit::Wrong,
            model::Error::File { .. } | model::Error::Surroundings(_) => Exit::Surroundings,
        })
    });
    known.unwrap_or(Exit::Wrong) as u8
}

/// The error for people: all its causes, of WebDriver's the first line without the stack trace behind it.
pub fn sentence(error: &anyhow::Error) -> String {
    let cause = |cause: &(dyn std::error::Error + 'static)| {
        let text = cause.to_string();
        match cause.is::<thirtyfour::error::WebDriverError>() {
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

    #[test]
    fn the_outermost_known_cause_decides() {
        let wrapped = Err::<(), _>(no("differs")).context("round 2").unwrap_err();
        assert_eq!((exit_code(&wrapped), sentence(&wrapped)), (1, "round 2: differs".to_owned()));
        let explained =
            Err::<(), _>(std::io::Error::other("full")).context(surroundings("cannot write")).context("game 2");
        let explained = explained.unwrap_err();
        assert_eq!((exit_code(&explained), sentence(&explained)), (3, "game 2: cannot write: full".to_owned()));
        let model = anyhow::Error::from(model::Error::Surroundings("no runtime".to_owned()));
        assert_eq!(exit_code(&model), 3);
        assert_eq!(exit_code(&anyhow::anyhow!("unknown")), 2);
    }
}
