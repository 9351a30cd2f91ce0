//! The pocket bundle inside the program (feature `embed`), unpacked into the cache directory when it is first used, or
//! into memory at each start where there is no directory that can be written.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::GzDecoder;
use landfall_common::exit::environment_error;
use landfall_common::text::eprint_sanitized;
use landfall_model::{Bundle, Error, bundle};

use super::item::{hex, no_cache_dir};

/// The name of the bundle.
const NAME: &str = "pocket";
static ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pocket.tar.gz"));
/// The file in an unpacked bundle that says that this program wrote it. It holds the archive's [`fingerprint`].
const MARKER: &str = "embedded";
/// Maximum size of a file of the bundle, which has 9.5 MB in all.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Makes sure that there is a bundle, in memory if it cannot be unpacked.
///
/// # Errors
/// When the program is damaged.
pub(crate) fn provide() -> Result<()> {
    if let Err(error) = ensure(false) {
        // A user without a home directory needs no warning.
        if bundle::cache_dir().is_some() {
            eprint_sanitized(format!("landfall: {error:#}; it is unpacked into memory at each start"));
        }
        bundle::provide(in_memory().context("the program is damaged: install it again")?);
    }
    Ok(())
}

fn in_memory() -> Result<Bundle> {
    let mut archive = tar::Archive::new(GzDecoder::new(ARCHIVE));
    let files = archive.entries()?.map(|entry| {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        Ok((name, bytes))
    });
    Ok(Bundle::in_memory(files.collect::<Result<_>>()?, Path::new("(program)"))?)
}

/// Unpacks the bundle, unless there is one of this name already: what the user has installed is used, whatever its version.
/// One that another version of the program has unpacked is replaced. `thorough`: a damaged one is too.
///
/// # Errors
/// When the cache directory cannot be written.
pub(crate) fn ensure(thorough: bool) -> Result<()> {
    let cache = bundle::cache_dir().ok_or_else(no_cache_dir)?.join("bundles");
    let target = cache.join(NAME);
    let found = Bundle::find(NAME);
    let thorough = thorough || found.is_err();
    let is_usable = match found {
        Ok(bundle) if bundle.dir != target => true,
        Err(Error::UnknownBundle { .. }) => false,
        // An invalid one of the user's is reported where it is used.
        _ => is_sound(&target, thorough),
    };
    if is_usable || target.exists() && !is_ours(&target) {
        return Ok(());
    }
    let failed = || environment_error(format!("cannot unpack the pocket bundle into {}", target.display()));
    unpack(&cache, &target, thorough).with_context(failed)
}

/// Unpacks the bundle again if this error, of loading it, is about a file of the unpacked one. Returns it then.
pub(crate) fn repaired(error: &Error) -> Option<Bundle> {
    let (Error::Checksum { file, .. } | Error::Read { file, .. }) = error else { return None };
    let dir = bundle::cache_dir()?.join("bundles").join(NAME);
    if file.parent() != Some(&*dir) || !is_ours(&dir) {
        return None;
    }
    eprint_sanitized(format!("landfall: {error}; the pocket bundle is unpacked again"));
    ensure(true).and_then(|()| Ok(Bundle::open(&dir)?)).or_else(|_| in_memory()).ok()
}

/// Whether this directory holds the bundle of this program; `thorough`: undamaged.
fn is_sound(dir: &Path, thorough: bool) -> bool {
    let is_whole = || {
        let bundle = Bundle::open(dir)?;
        bundle.encoder_paths().and(bundle.head_path())
    };
    is_current(dir) && (!thorough || is_whole().is_ok())
}

/// Whether this program, or another version of it, has written this directory.
pub(super) fn is_ours(dir: &Path) -> bool {
    dir.join(MARKER).is_file()
}

fn is_current(target: &Path) -> bool {
    std::fs::read_to_string(target.join(MARKER)).is_ok_and(|found| found == fingerprint())
}

/// The end of a gzip file is the CRC-32 and the length of its contents (RFC 1952, section 2.3.1).
fn fingerprint() -> String {
    hex(&ARCHIVE[ARCHIVE.len().saturating_sub(8)..])
}

/// Deletes the files that were unpacked. Returns them, and their size.
pub(super) fn remove(dir: &Path) -> Result<(Vec<PathBuf>, u64)> {
    let (mut removed, mut bytes) = (Vec::new(), 0);
    let mut archive = tar::Archive::new(GzDecoder::new(ARCHIVE));
    let names = archive.entries()?.map(|entry| Ok(entry?.path()?.into_owned()));
    let names = names.chain([Ok(MARKER.into())]).collect::<Result<Vec<_>>>()?;
    for file in names.iter().map(|name| dir.join(name)) {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        if std::fs::remove_file(&file).is_ok() {
            removed.push(file);
            bytes += size;
        }
    }
    // Files of the user stay, and so does the directory then.
    _ = std::fs::remove_dir(dir);
    Ok((removed, bytes))
}

fn unpack(cache: &Path, target: &Path, thorough: bool) -> Result<()> {
    std::fs::create_dir_all(cache)?;
    // It gets its name when it is complete.
    let temporary = tempfile::Builder::new().prefix(".embedded-").tempdir_in(cache)?;
    let mut archive = tar::Archive::new(GzDecoder::new(ARCHIVE));
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let name = path.file_name().filter(|name| Path::new(name) == path);
        let name = name.ok_or_else(|| anyhow!("{} is not a file name", path.display()))?;
        let mut file = std::fs::File::create_new(temporary.path().join(name))?;
        std::io::copy(&mut entry.take(MAX_FILE_BYTES), &mut file)?;
        file.sync_all()?;
    }
    std::fs::write(temporary.path().join(MARKER), fingerprint())?;
    let unpacked = Bundle::open(temporary.path())?;
    unpacked.encoder_paths()?;
    unpacked.head_path()?;
    make_readable(temporary.path())?;
    // Another process may have done the same by now.
    if is_sound(target, thorough) {
        return Ok(());
    }
    if target.exists() {
        remove(target)?;
        if target.exists() {
            bail!("it holds files that Landfall has not written; move them elsewhere");
        }
    }
    match std::fs::rename(temporary.path(), target) {
        Ok(()) => {
            _ = temporary.keep();
            Ok(())
        }
        Err(_) if is_sound(target, thorough) => Ok(()),
        Err(error) => bail!(error),
    }
}

/// Temporary directories are their owner's only; this one is like the others in the cache directory.
#[cfg(unix)]
fn make_readable(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}
