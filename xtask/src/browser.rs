//! Browsers and their drivers: from PATH, or installed from Debian's packages when running as root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, find_program, print_status, run_quietly};

/// A program and the package of Debian that contains it.
struct Program {
    /// Name for messages.
    name: &'static str,
    /// Names of the executable.
    executables: &'static [&'static str],
    package: &'static str,
}

/// What games are played in.
const CHROMIUM: [Program; 2] = [
    Program {
        name: "chromium",
        executables: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"],
        package: "chromium",
    },
    Program { name: "chromedriver", executables: &["chromedriver"], package: "chromium-driver" },
];

/// What the page's tests use in addition. WebKitGTK has no headless mode. As in `web-demo/test/engines.ts`.
const OTHERS: [Program; 3] = [
    Program { name: "firefox", executables: &["firefox-esr", "firefox"], package: "firefox-esr" },
    Program { name: "webkitgtk", executables: &["WebKitWebDriver"], package: "webkit2gtk-driver" },
    Program { name: "xvfb", executables: &["Xvfb"], package: "xvfb" },
];

/// Firefox's driver, which Debian does not have.
const GECKODRIVER: &str = "geckodriver";

/// Finds the browser and its driver. If they are missing, installs them (if `install` is set, as root, where apt-get
/// exists), or fails with instructions.
pub(crate) fn set_up(install: bool) -> Result<()> {
    set_up_programs(&CHROMIUM, "games are played in a browser", install)
}

/// The same for Firefox and WebKitGTK. Firefox's driver is compiled.
pub(crate) fn set_up_others(root: &Path, install: bool) -> Result<()> {
    let programs = set_up_programs(&OTHERS, "the page is tested in it", install);
    if install && geckodriver().is_none() {
        print_status(GECKODRIVER, "cargo install geckodriver");
        run_quietly(cargo(root).args(["install", "--locked", GECKODRIVER]))?;
    }
    let Some(file) = geckodriver() else {
        let instructions = format!("not found; `cargo install --locked {GECKODRIVER}` installs it");
        print_status(GECKODRIVER, &instructions);
        bail!("{GECKODRIVER} {instructions}");
    };
    print_status(GECKODRIVER, file.display());
    programs
}

fn set_up_programs(programs: &[Program], purpose: &str, install: bool) -> Result<()> {
    let missing = missing(programs);
    if let Some(first) = missing.first()
        && install
        && find_program(&["apt-get"]).is_some()
        && is_root()
    {
        let packages: Vec<_> = missing.iter().map(|program| program.package).collect();
        print_status(first.name, format_args!("is not on PATH; {purpose}"));
        print_status(
            first.name,
            format_args!("apt-get installs {} (--no-install leaves this out)", packages.join(" ")),
        );
        run_quietly(&mut apt_get("update"))?;
        run_quietly(apt_get("install").args(["-y", "--no-install-recommends"]).args(packages))?;
    }
    let missing = self::missing(programs);
    if let Some(first) = missing.first() {
        let all = |of: fn(&&Program) -> &'static str, between| missing.iter().map(of).collect::<Vec<_>>().join(between);
        let instructions = format!(
            "not on PATH: {}; install them (Debian: apt-get install {})",
            all(|program| program.name, ", "),
            all(|program| program.package, " ")
        );
        print_status(first.name, &instructions); // also if something else is reported as the error
        bail!(instructions);
    }
    for program in programs {
        if let Some(file) = find_program(program.executables) {
            print_status(program.name, file.display());
        }
    }
    Ok(())
}

fn missing(programs: &[Program]) -> Vec<&Program> {
    programs.iter().filter(|program| find_program(program.executables).is_none()).collect()
}

/// From PATH, or where `cargo install` puts it.
fn geckodriver() -> Option<PathBuf> {
    find_program(&[GECKODRIVER]).or_else(|| {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))?;
        let file = home.join("bin").join(format!("{GECKODRIVER}{}", std::env::consts::EXE_SUFFIX));
        file.is_file().then_some(file)
    })
}

fn apt_get(action: &str) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg(action);
    command
}

fn is_root() -> bool {
    run_quietly(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
