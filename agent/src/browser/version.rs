//! Versions of browsers and drivers, as they state them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use landfall_common::text::sanitize_line;
use regex::Regex;

/// Time limit for stating a version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A version such as `131.0.6778.85`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) text: String,
    pub(super) major: u32,
}

/// Runs a program with `--version`; `None` if it states none.
///
/// # Errors
/// When the program does not run or fails; the message says why it is not usable.
pub(super) async fn of_program(program: &Path) -> Result<Option<Version>, String> {
    if cfg!(windows) && !program.to_string_lossy().to_ascii_lowercase().contains("driver") {
        return Ok(beside(program)); // browsers would open a window
    }
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(VERSION_TIMEOUT, command.output()).await {
        Err(_) => Ok(None),
        Ok(Err(error)) => Err(format!("{} cannot be run: {error}", program.display())),
        Ok(Ok(output)) if output.status.success() => Ok(parse(&String::from_utf8_lossy(&output.stdout))),
        Ok(Ok(output)) => {
            let said = words(&[output.stderr, output.stdout].concat());
            Err(format!("{} is not usable: it ends with {}{said}", program.display(), output.status))
        }
    }
}

/// The version in a text such as `Chromium 131.0.6778.85 built on Debian` or `Chrome/131.0.6778.85`.
pub(super) fn parse(text: &str) -> Option<Version> {
    let version = Regex::new(r"\b(\d{1,5})\.\d+\.\d+(?:\.\d+)?\b").ok()?.captures(text)?;
    Some(Version { text: version[0].to_owned(), major: version[1].parse().ok()? })
}

/// The version of a browser on Windows, after which a directory beside it is named.
fn beside(browser: &Path) -> Option<Version> {
    let entries = std::fs::read_dir(browser.parent()?).ok()?.flatten();
    entries.filter_map(|entry| parse(&entry.file_name().to_string_lossy())).max_by_key(|version| version.major)
}

/// What a program printed, in parentheses, as one line of limited length.
fn words(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(4).collect();
    let line: String = lines.join(" ").chars().take(300).collect();
    if line.is_empty() { ", without a word".to_owned() } else { format!(" ({})", sanitize_line(line)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, expected) in [
            ("Chromium 131.0.6778.85 built on Debian GNU/Linux", Some(131)),
            ("Gtk-Message: Failed to load module\nGoogle Chrome 132.0.6834.57 \n", Some(132)),
            ("ChromeDriver 120.0.6099.109 (3419140ab665596f21b385ce136419fde0924272-refs/...)", Some(120)),
            ("HeadlessChrome/136.0.7103.25", Some(136)),
            ("Microsoft Edge 99.0.1150.30", Some(99)),
            ("", None),
            ("version 5", None),
        ] {
            assert_eq!(parse(text).map(|version| version.major), expected, "{text}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn programs_that_fail_or_state_no_version_are_told_apart() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, script).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            file
        };
        let stub = program("stub", "#!/bin/sh\necho >&2\necho 'requires the chromium snap' >&2\nexit 1\n");
        let error = of_program(&stub).await.unwrap_err();
        assert!(error.contains("exit status: 1 (requires the chromium snap)"), "{error}");
        let silent = of_program(&program("silent", "#!/bin/sh\nexit 1\n")).await.unwrap_err();
        assert!(silent.ends_with("exit status: 1, without a word"), "{silent}");
        let no_program = of_program(&program("text", "just text\0")).await;
        assert!(no_program.as_ref().is_err(), "{no_program:?}");
        assert_eq!(of_program(&program("odd", "#!/bin/sh\necho hello\n")).await, Ok(None));
        let good = of_program(&program("good", "#!/bin/sh\necho Chromium 131.0.6778.85\n")).await;
        assert_eq!(good.unwrap().unwrap().text, "131.0.6778.85");
        assert!(of_program(&dir.path().join("nowhere")).await.unwrap_err().contains("cannot be run"));
    }
}
