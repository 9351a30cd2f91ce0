//! Every check there is: format, lints, the page's tests, the crates' tests; then one line that sums the runners' counts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::command::{cargo, npm, shown};

/// Tests counted from the runners' own summary lines.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Run every step, also after one has failed. Returns 0 when all is well and 1 when not.
pub(crate) fn run(root: &Path) -> Result<u8> {
    let mut total = Counts::default();
    let mut failures = Vec::new();
    let mut step = |command: &mut Command, summary: Option<fn(&str) -> Option<Counts>>| -> Result<()> {
        let shown = shown(command);
        let (success, counts) = stream(command, summary)?;
        if !success {
            failures.push(format!("`{shown}` failed"));
        } else if summary.is_some() && counts.is_none_or(|counts| counts.passed == 0) {
            // Runners end well when they find no tests; here that means that something is broken.
            failures.push(format!("`{shown}` ran no test"));
        }
        let counts = counts.unwrap_or_default();
        total.passed += counts.passed;
        total.failed += counts.failed;
        Ok(())
    };
    step(cargo(root).args(["fmt", "--all", "--check"]), None)?;
    let clippy = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step(cargo(root).args(clippy), None)?;
    let page = root.join("web-demo");
    step(npm().args(["run", "build"]).current_dir(&page), None)?;
    step(npm().args(["test"]).env("NO_COLOR", "1").current_dir(&page), Some(vitest))?;
    // Whatever has tests: not the programs without any, nor the examples in documentation, of which none runs.
    let test = ["test", "--release", "--workspace", "--tests", "--no-fail-fast"];
    step(cargo(root).args(test).env("RUST_TEST_THREADS", lanes().to_string()), Some(libtest))?;

    for failure in &failures {
        println!("{failure}");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(u8::from(!failures.is_empty() || total.failed > 0))
}

/// Tests at a time. Those with a browser wait for half of theirs, so half as many again as there are cores.
fn lanes() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores + cores.div_ceil(2)
}

/// Run a step, passing its output on line by line. Returns whether it ended well and the sum of its summary lines.
fn stream(command: &mut Command, summary: Option<fn(&str) -> Option<Counts>>) -> Result<(bool, Option<Counts>)> {
    let shown = shown(command);
    println!("$ {shown}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` could not be started"))?;
    let mut sum: Option<Counts> = None;
    if let Some(stdout) = child.stdout.take() {
        // By bytes: a test may print something that is not UTF-8.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("the output of `{shown}` cannot be read"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(counts) = summary.and_then(|summary| summary(&line)) {
                let sum = sum.get_or_insert_default();
                sum.passed += counts.passed;
                sum.failed += counts.failed;
            }
        }
    }
    Ok((child.wait()?.success(), sum))
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; …`
fn libtest(line: &str) -> Option<Counts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ");
    Some(Counts { passed: number(counts.next()?, "passed")?, failed: number(counts.next()?, "failed")? })
}

/// `      Tests  1 failed | 4 passed (5)`
fn vitest(line: &str) -> Option<Counts> {
    let (counts, _) = line.trim().strip_prefix("Tests  ")?.rsplit_once(" (")?;
    let mut sum = Counts::default();
    for part in counts.split(" | ") {
        sum.passed += number(part, "passed").unwrap_or(0);
        sum.failed += number(part, "failed").unwrap_or(0);
    }
    Some(sum)
}

/// The number in `12 passed`.
fn number(part: &str, word: &str) -> Option<u64> {
    part.trim().strip_suffix(word)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_summary_is_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(libtest(line), Some(Counts { passed: 12, failed: 0 }));
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(libtest(line), Some(Counts { passed: 1, failed: 2 }));
        assert_eq!(libtest("test tests::one ... ok"), None);
    }

    #[test]
    fn vitests_summary_is_counted() {
        assert_eq!(vitest("      Tests  5 passed (5)"), Some(Counts { passed: 5, failed: 0 }));
        assert_eq!(vitest("      Tests  1 failed | 4 passed | 2 skipped (7)"), Some(Counts { passed: 4, failed: 1 }));
        assert_eq!(vitest(" Test Files  1 passed (1)"), None);
        assert_eq!(vitest("   Duration  1.20s"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_failing_step_is_seen_and_its_lines_are_summed() {
        let print = |text: &str, code: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("printf '{text}'; exit {code}")]);
            command
        };
        let line = "test result: ok. 2 passed; 1 failed; 0 ignored\\n";
        let twice = stream(&mut print(&format!("{line}{line}"), "0"), Some(libtest)).unwrap();
        assert_eq!(twice, (true, Some(Counts { passed: 4, failed: 2 })));
        assert_eq!(stream(&mut print("nothing", "1"), Some(libtest)).unwrap(), (false, None));
    }
}
