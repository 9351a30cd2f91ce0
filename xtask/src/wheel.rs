//! Builds the Python package as a wheel, and tests it in a virtual environment that has nothing else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::command::{adopt, cargo, display_command, print_status, python, run_quietly};
use crate::test::lints;

/// As in python/pyproject.toml.
const MATURIN: &str = "maturin>=1.13,<2";
/// The oldest Python that the wheel supports, as in python/Cargo.toml.
const MIN_PYTHON: &str = "3.11";
/// What the package works with but does not need, and the type checker.
const OTHER_PACKAGES: [&str; 3] = ["numpy", "onnxruntime", "mypy"];
/// Variables by which a test could find what is not in the wheel.
const INSTALLATION: [&str; 4] = ["LANDFALL_BUNDLES", "LANDFALL_CONFIG", "ORT_DYLIB_PATH", "PYTHONPATH"];

/// A Python virtual environment.
struct Venv<'a> {
    dir: PathBuf,
    root: &'a Path,
}

/// Builds the wheel with these further arguments of maturin, tests it, and leaves it in python/dist. Returns the exit code.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> Result<u8> {
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let scratch = scratch.path();
    check_python()?;
    let tools = Venv::create(root, scratch.join("tools"))?;
    tools.pip(&[MATURIN]).context("cannot install maturin, which builds the wheel")?;
    let Some(wheel) = build(root, &tools, &scratch.join("wheels"), arguments)? else { return Ok(1) };

    let venv = Venv::create(root, scratch.join("venv"))?;
    venv.pip(&["--no-index".as_ref(), wheel.as_os_str()])?;
    print_status("wheel", "tests without other packages");
    let mut passed = venv.test(scratch)?;
    match venv.pip(&OTHER_PACKAGES) {
        Ok(()) => {
            print_status("wheel", format_args!("tests with {}", OTHER_PACKAGES.join(", ")));
            passed &= venv.test(scratch)? & venv.check_types(scratch)?;
        }
        Err(why) => print_status("wheel", format_args!("skipped: tests with {}: {why:#}", OTHER_PACKAGES.join(", "))),
    }
    if !passed {
        return Ok(1);
    }
    let dist = root.join("python/dist").join(wheel.file_name().unwrap_or_default());
    let failed = || format!("cannot write {}", dist.display());
    std::fs::create_dir_all(root.join("python/dist")).with_context(failed)?;
    // Under another name until it is complete.
    let part = dist.with_extension("part");
    std::fs::copy(&wheel, &part).with_context(failed)?;
    std::fs::rename(&part, &dist).with_context(failed)?;
    print_status("wheel", format_args!("{}, {} bytes", dist.display(), dist.metadata()?.len()));
    Ok(0)
}

fn check_python() -> Result<()> {
    let code = "import sys; print('.'.join(map(str, sys.version_info[:2])))";
    let version = run_quietly(python().args(["-c", code])).context("the wheel needs Python 3 with pip and venv")?;
    if parts(&version) < parts(MIN_PYTHON) {
        bail!(
            "the wheel needs Python {MIN_PYTHON} or newer, this is {}: name another one with LANDFALL_PYTHON",
            version.trim()
        );
    }
    Ok(())
}

/// The numbers of a version, which compare as the versions do.
fn parts(version: &str) -> Vec<Option<u32>> {
    version.trim().split('.').map(|part| part.parse().ok()).collect()
}

/// Formats, lints and compiles. Returns the wheel, or `None` if a check failed.
fn build(root: &Path, tools: &Venv, out: &Path, arguments: &[OsString]) -> Result<Option<PathBuf>> {
    let folder = root.join("python");
    let mut format = cargo(root);
    let is_formatted = succeeds(format.args(["fmt", "--check"]).current_dir(&folder))?;
    // The versions of the workspace; cargo adds those of pyo3.
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).context("cannot write python/Cargo.lock")?;
    let mut maturin = tools.command("maturin");
    adopt(&mut maturin, &cargo(root));
    maturin.args(["build", "--release", "--interpreter"]).arg(tools.program("python")).arg("--out").arg(out);
    maturin.args(arguments).current_dir(&folder);
    lints::enable(&mut maturin)?;
    if !succeeds(&mut maturin)? || !is_formatted {
        return Ok(None);
    }
    let files = out.read_dir().with_context(|| format!("cannot read {}", out.display()))?;
    let files = files.map(|file| Ok(file?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let wheel = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "whl"));
    wheel.map(Some).ok_or_else(|| anyhow!("maturin has written no wheel to {}", out.display()))
}

impl<'a> Venv<'a> {
    fn create(root: &'a Path, dir: PathBuf) -> Result<Self> {
        run_quietly(python().args(["-m", "venv"]).arg(&dir)).context("on Debian, python3-venv is needed")?;
        Ok(Self { dir, root })
    }

    fn program(&self, name: &str) -> PathBuf {
        let programs = if cfg!(windows) { "Scripts" } else { "bin" };
        self.dir.join(programs).join(name).with_extension(std::env::consts::EXE_EXTENSION)
    }

    fn command(&self, name: &str) -> Command {
        Command::new(self.program(name))
    }

    fn pip(&self, packages: &[impl AsRef<std::ffi::OsStr>]) -> Result<()> {
        let mut pip = self.command("python");
        run_quietly(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
        Ok(())
    }

    /// Python in a directory without the package's sources, with nothing installed for it but what is in this environment.
    fn python(&self, scratch: &Path) -> Command {
        let mut python = self.command("python");
        python.current_dir(scratch).env("LANDFALL_CACHE", scratch.join("cache"));
        for name in INSTALLATION {
            python.env_remove(name);
        }
        python
    }

    fn test(&self, scratch: &Path) -> Result<bool> {
        let tests = self.root.join("python/tests");
        succeeds(self.python(scratch).args(["-m", "unittest", "discover", "--start-directory"]).arg(tests))
    }

    fn check_types(&self, scratch: &Path) -> Result<bool> {
        let folder = self.root.join("python");
        let mut mypy = self.python(scratch);
        mypy.args(["-m", "mypy", "--config-file"]).arg(folder.join("pyproject.toml"));
        mypy.args(["--package", "landfall"]);
        let mut tests = self.python(scratch);
        tests.args(["-m", "mypy", "--config-file"]).arg(folder.join("pyproject.toml")).arg(folder.join("tests"));
        let mut stubs = self.python(scratch);
        stubs.args(["-m", "mypy.stubtest", "landfall"]);
        Ok(succeeds(&mut mypy)? & succeeds(&mut tests)? & succeeds(&mut stubs)?)
    }
}

/// Runs a command, shows its output and returns whether it succeeded.
fn succeeds(command: &mut Command) -> Result<bool> {
    let shown = display_command(command);
    eprintln!("$ {shown}");
    Ok(command.status().with_context(|| format!("cannot start `{shown}`"))?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(parts("3.9\n") < parts(MIN_PYTHON) && parts("2.7") < parts(MIN_PYTHON));
        assert!(parts("3.11\n") >= parts(MIN_PYTHON) && parts("3.14") > parts(MIN_PYTHON));
    }

    #[test]
    fn versions_agree_with_those_in_other_files() {
        let root = crate::workspace_root();
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let (project, manifest) = (read("python/pyproject.toml"), read("python/Cargo.toml"));
        assert!(project.contains(&format!("requires = [\"{MATURIN}\"]")), "{MATURIN}");
        assert!(project.contains(&format!("requires-python = \">={MIN_PYTHON}\"")), "{MIN_PYTHON}");
        assert!(manifest.contains(&format!("\"abi3-py{}\"", MIN_PYTHON.replace('.', ""))), "{MIN_PYTHON}");
        let version = format!("version = \"{}\"\n", env!("CARGO_PKG_VERSION"));
        assert!(manifest.contains(&version), "python/Cargo.toml has another version than the workspace: {version}");
    }
}
