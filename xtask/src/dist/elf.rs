//! What a program for Linux needs from the system it runs on, read with objdump.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::run_quietly;

/// The oldest glibc that has all symbols which the program uses, as `2.28`.
pub(super) fn glibc_floor(program: &Path) -> Result<String> {
    let (major, minor) = glibc(&private_headers(program)?).context("the program uses no symbols of glibc")?;
    Ok(format!("{major}.{minor}"))
}

/// Whether the program needs neither libraries nor a loader.
pub(super) fn is_static(program: &Path) -> Result<bool> {
    let headers = private_headers(program)?;
    Ok(!headers.lines().any(|line| line.trim_start().starts_with("NEEDED") || line.trim_start().starts_with("INTERP")))
}

/// Fails if the program needs a newer glibc than this.
pub(super) fn check_glibc(program: &Path, floor: (u32, u32)) -> Result<()> {
    match glibc(&private_headers(program)?) {
        Some(needed) if needed > floor => {
            bail!("{} needs glibc {}.{}, newer than {}.{}", program.display(), needed.0, needed.1, floor.0, floor.1)
        }
        _ => Ok(()),
    }
}

fn private_headers(program: &Path) -> Result<String> {
    run_quietly(Command::new("objdump").arg("-p").arg(program))
        .context("reading what the program needs takes objdump, of binutils")
}

/// The largest of the versions `GLIBC_2.28` in the version references.
fn glibc(headers: &str) -> Option<(u32, u32)> {
    let versions = headers.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    let numbers = versions.filter_map(|version| {
        let mut parts = version.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    numbers.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_version_counts() {
        let headers = "\
Version References:
  required from libm.so.6:
    0x06969187 0x00 08 GLIBC_2.27
  required from libc.so.6:
    0x09691972 0x00 04 GLIBC_2.3.2
    0x09691974 0x00 03 GLIBC_2.4
    0x069691b4 0x00 02 GLIBC_2.34
    0x0963cf85 0x00 09 GLIBC_PRIVATE
";
        assert_eq!(glibc(headers), Some((2, 34)));
        assert_eq!(glibc("  NEEDED               libc.so.6\n"), None);
    }
}
