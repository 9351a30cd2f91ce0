//! `cargo xtask test`: every check, then one line with the sum of the test runners' counts.

mod background;
mod features;
pub(crate) mod lints;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use self::background::{Background, Ended};
use crate::agent::Agent;
use crate::command::{cargo, copy, display_command, find_program, npm};
use crate::{ALL, browser, page, wasm};

/// Tests counted from the runners' own summary lines.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Reads the counts from one line of a runner's output, if it is a summary line.
type ParseSummary = fn(&str) -> Option<Counts>;

/// The build profile of checks and tests, with overflow checks and debug assertions in our crates.
const PROFILE: [&str; 2] = ["--profile", "checked"];

/// The integration test that drives browsers.
const END_TO_END: &str = "e2e";

/// The unit tests of all crates, as arguments of `cargo test`.
const UNIT_TESTS: [&str; 3] = ["--lib", "--bin", "xtask"];

/// Width of the commands in the table of durations.
const SHOWN_COMMAND_CHARS: usize = 100;

/// The steps run up to now.
#[derive(Default)]
struct Suite {
    total: Counts,
    failures: Vec<String>,
    /// Each step's command and duration.
    durations: Vec<(String, Duration)>,
}

impl Suite {
    /// Runs a step that has no tests to count.
    fn check(&mut self, command: &mut Command) -> Result<()> {
        let (success, _) = self.timed(command, None)?;
        self.require(success, &display_command(command));
        Ok(())
    }

    /// Runs a step that must run at least one test.
    fn test(&mut self, command: &mut Command, parse_summary: ParseSummary) -> Result<()> {
        let (success, counts) = self.timed(command, Some(parse_summary))?;
        self.count(success, counts, &display_command(command));
        Ok(())
    }

    /// Builds the tests, the agent and all else, with the linters. What they find fails the build; the tests run
    /// nevertheless, compiled without them. Returns the agent, and whether the linters found nothing.
    fn build(&mut self, command: Command) -> Result<(Agent, bool)> {
        let shown = display_command(&command);
        println!("$ {shown}");
        let start = Instant::now();
        let mut linted = copy(&command);
        lints::enable(&mut linted)?;
        let found = Agent::build_with(&mut linted)?;
        self.durations.push((shown.clone(), start.elapsed()));
        if let Some(agent) = found {
            return Ok((agent, true));
        }
        self.failures.push(format!("`{shown}` failed with Clippy and rustdoc"));
        let agent = Agent::build_with(&mut copy(&command))?;
        Ok((agent.ok_or_else(|| anyhow!("the tests do not build; the errors are above"))?, false))
    }

    /// Waits for a step that runs beside others and prints its output.
    fn finish(&mut self, step: Background) -> Result<()> {
        let is_test = step.has_tests();
        let Ended { shown, duration, success, counts } = step.wait()?;
        if is_test {
            self.count(success, counts, &shown);
        } else {
            self.require(success, &shown);
        }
        self.durations.push((format!("beside others: {shown}"), duration));
        Ok(())
    }

    /// Notes a failure.
    fn require(&mut self, success: bool, shown: &str) {
        if !success {
            self.failures.push(format!("`{shown}` failed"));
        }
    }

    fn count(&mut self, success: bool, counts: Option<Counts>, shown: &str) {
        let counts = counts.unwrap_or_default();
        self.require(success, shown);
        if success && counts.passed == 0 {
            // Runners exit with 0 when they find no tests; here that means that something is broken.
            self.failures.push(format!("`{shown}` ran no test"));
        }
        self.total.passed += counts.passed;
        self.total.failed += counts.failed;
    }

    fn timed(&mut self, command: &mut Command, parse_summary: Option<ParseSummary>) -> Result<(bool, Option<Counts>)> {
        let start = Instant::now();
        let result = stream(command, parse_summary);
        self.durations.push((display_command(command), start.elapsed()));
        result
    }
}

/// Sets up and runs every step, also after one has failed. Returns 0 if all passed and 1 if not. `install`: also install
/// a browser; `all_features`: also lint the features that small machines leave out.
///
/// Tests with a browser wait for a part of their time, so other tests run beside them.
pub(crate) fn run(root: &Path, install: bool, all_features: bool) -> Result<u8> {
    let mut suite = Suite::default();
    let browser = browser::set_up(install);
    page::install(root)?;
    suite.check(cargo(root).args(["fmt", "--all", "--check"]))?;
    check_sources(root, all_features, &mut suite)?;
    let end_to_end = [END_TO_END.to_owned()];
    let (tests, benches) = targets(root)?;
    let others: Vec<String> = tests.into_iter().filter(|name| !end_to_end.contains(name)).collect();
    let mut build = test(root, &[&end_to_end[..], &others].concat());
    build.args(UNIT_TESTS).args(["--examples", "--no-run"]).args(benches.iter().flat_map(|name| ["--bench", name]));
    let (agent, is_linted) = suite.build(build)?;
    agent.set_up(root, ALL)?;
    browser?;

    let test = |names: &[String]| -> Result<Command> {
        let mut command = test(root, names);
        if is_linted {
            lints::enable(&mut command)?;
        }
        Ok(command)
    };
    let page = root.join("web-demo");
    suite.check(npm().args(["run", "build"]).current_dir(&page))?;
    let others = Background::start(test(&others)?.args(UNIT_TESTS), Some(libtest))?;
    let doctests = Background::start(test(&[])?.arg("--doc"), Some(libtest))?;
    suite.test(npm().args(["test"]).env("NO_COLOR", "1").current_dir(&page), vitest)?;
    suite.test(&mut test(&end_to_end)?, libtest)?;
    suite.finish(others)?;
    suite.finish(doctests)?;

    for (command, duration) in &suite.durations {
        let shown: String = command.chars().take(SHOWN_COMMAND_CHARS).collect();
        println!("{:>6} s  {shown}", duration.as_secs());
    }
    for failure in &suite.failures {
        println!("{failure}");
    }
    println!("{} passed, {} failed", suite.total.passed, suite.total.failed);
    Ok(u8::from(!suite.failures.is_empty() || suite.total.failed > 0))
}

/// What needs neither a test nor its build: Clippy and the documentation with further features that build on this machine,
/// the WebAssembly target, licences of dependencies.
fn check_sources(root: &Path, all_features: bool, suite: &mut Suite) -> Result<()> {
    let features = features::buildable(all_features);
    if !features.is_empty() {
        // `embed` needs built pages, whichever bundles they contain.
        let page = root.join("web-demo");
        if features.contains(&features::EMBED) && !page.join("dist/arena.html").is_file() {
            suite.check(npm().args(["run", "build"]).current_dir(page))?;
        }
        let features = features.iter().flat_map(|feature| ["--features", feature]);
        let mut clippy = cargo(root);
        clippy.arg("clippy").args(PROFILE).args(["--workspace", "--all-targets"]).args(features.clone());
        suite.check(clippy.args(["--", "-D", "warnings"]))?;
        // With the same features, so that dependencies are checked only once.
        let mut doc = cargo(root);
        doc.arg("doc").args(PROFILE).args(["--workspace", "--no-deps"]).args(features);
        suite.check(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    if wasm::is_current(root)? {
        println!("skipped: the WebAssembly build; the module in git was built from these sources");
    } else if features::has_wasm_target() {
        let wasm = ["--package", "landfall-model", "--no-default-features", "--features", "wasm"];
        suite.check(cargo(root).arg("check").args(PROFILE).args(wasm).args(["--target", features::WASM_TARGET]))?;
    } else {
        println!("skipped: the WebAssembly build; `rustup target add {}` adds its target", features::WASM_TARGET);
    }
    if find_program(&["cargo-deny"]).is_some() {
        // Advisories are left out: they would make the result depend on the day, and need a network connection.
        suite.check(cargo(root).args(["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        println!("skipped: licences of dependencies; `cargo install cargo-deny` adds the check");
    }
    Ok(())
}

/// The command that runs these integration tests.
fn test(root: &Path, names: &[String]) -> Command {
    let mut command = cargo(root);
    command.arg("test").args(PROFILE).args(["--workspace", "--no-fail-fast"]);
    command.args(names.iter().flat_map(|name| ["--test", name]));
    command.env("RUST_TEST_THREADS", test_threads().to_string());
    command
}

/// Names of the workspace's integration tests and benchmarks that need no feature. `--tests` would also build the unit
/// tests, and `--test '*'` fails for tests that need one.
fn targets(root: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let output = cargo(root).args(["metadata", "--no-deps", "--format-version", "1"]).output();
    let output = output.context("cannot start `cargo metadata`")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cannot read the output of `cargo metadata`")?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let targets: Vec<Value> =
        list(&metadata["packages"]).iter().flat_map(|package| list(&package["targets"])).collect();
    let names = |kind: &str| {
        let of_kind = targets.iter().filter(|target| list(&target["kind"]).iter().any(|found| found == kind));
        let plain = of_kind.filter(|target| list(&target["required-features"]).is_empty());
        let names: BTreeSet<_> = plain.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect();
        names.into_iter().collect()
    };
    Ok((names("test"), names("bench")))
}

/// Number of tests at a time. A test with a browser waits for half of its time, hence twice as many as cores.
fn test_threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs a command, passing its output on line by line. Returns whether it succeeded and the sum of its summary lines.
fn stream(command: &mut Command, parse_summary: Option<ParseSummary>) -> Result<(bool, Option<Counts>)> {
    let shown = display_command(command);
    println!("$ {shown}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let sum = match child.stdout.take() {
        Some(stdout) => {
            print_lines(stdout, parse_summary).with_context(|| format!("cannot read the output of `{shown}`"))?
        }
        None => None,
    };
    Ok((child.wait()?.success(), sum))
}

/// Prints a command's output line by line. Returns the sum of its summary lines.
fn print_lines(output: impl Read, parse_summary: Option<ParseSummary>) -> std::io::Result<Option<Counts>> {
    let mut sum: Option<Counts> = None;
    // As bytes: a test may print something that is not UTF-8.
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(counts) = parse_summary.and_then(|parse| parse(&line)) {
            let sum = sum.get_or_insert_default();
            sum.passed += counts.passed;
            sum.failed += counts.failed;
        }
    }
    Ok(sum)
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
    fn targets_are_those_without_required_features() {
        let (names, benches) = targets(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(benches.iter().any(|listed| listed == "step"), "{benches:?}");
        for name in [END_TO_END, "commands"] {
            assert!(names.iter().any(|listed| listed == name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name == "screen"), "{names:?}");
    }

    #[test]
    fn summaries_of_libtest_are_parsed() {
        let line = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(libtest(line), Some(Counts { passed: 12, failed: 0 }));
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(libtest(line), Some(Counts { passed: 1, failed: 2 }));
        assert_eq!(libtest("test tests::one ... ok"), None);
    }

    #[test]
    fn summaries_of_vitest_are_parsed() {
        assert_eq!(vitest("      Tests  5 passed (5)"), Some(Counts { passed: 5, failed: 0 }));
        assert_eq!(vitest("      Tests  1 failed | 4 passed | 2 skipped (7)"), Some(Counts { passed: 4, failed: 1 }));
        assert_eq!(vitest(" Test Files  1 passed (1)"), None);
        assert_eq!(vitest("   Duration  1.20s"), None);
    }

    #[cfg(unix)]
    #[test]
    fn failures_are_reported_and_summary_lines_are_added_up() {
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
