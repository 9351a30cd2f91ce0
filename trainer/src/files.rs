//! Files read with errors that name them, and written so that nobody ever sees half of one: under a temporary name
//! beside the target, then renamed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes a whole file, or nothing; makes its folder where that is missing.
///
/// # Errors
/// When the folder or the file cannot be written.
pub fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(cannot)?;
    let name = file.file_name().with_context(cannot)?.to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.part", std::process::id()));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // the first error is the one to tell
    }
    written.with_context(cannot)
}

/// Writes pretty-printed json with a final newline.
///
/// # Errors
/// As [`write`].
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    write(file, (serde_json::to_string_pretty(value)? + "\n").as_bytes())
}

/// Reads a toml file; an error names the line.
///
/// # Errors
/// When it cannot be read or holds something else.
pub fn read_toml<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        anyhow!("{}, line {line}: {}", file.display(), error.message())
    })
}

/// Little-endian 32-bit floats; bytes that make no whole one are left out.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Reads a json file; `what` names its contents for the error message, as in "a cell table".
///
/// # Errors
/// When it cannot be read or holds something else.
pub fn read_json<T: DeserializeOwned>(file: &Path, what: &str) -> Result<T> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not {what}", file.display()))
}
