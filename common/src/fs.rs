//! Files: atomic writes, and reads whose errors name the file.

use std::fs;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{Builder, NamedTempFile};

use crate::exit::environment_error;

/// Writes a file so that readers see either the old contents or all of the new ones.
///
/// The bytes go to a temporary file with a random name in the same directory, which then replaces the target; a symbolic
/// link at the target is replaced, not followed. Missing parent directories are created.
///
/// # Errors
/// An environment error that names the file, when it or its directory cannot be written.
pub fn write_atomic(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        fs::create_dir_all(folder)?;
        let mut temporary = temporary_file_in(folder)?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(file).map_err(|error| error.error)?;
        Ok::<_, std::io::Error>(())
    };
    write().with_context(|| environment_error(format!("cannot write {}", file.display())))
}

/// A temporary file with a random name in a folder, for a file that is too large to be written at once: write it, then
/// `persist` it under its final name. It is removed if it is dropped before.
///
/// # Errors
/// When it cannot be created.
pub fn temporary_file_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".").suffix(".part");
    // The permissions that any new file gets (0666 less the umask), not those of a secret.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Writes a value as indented JSON with a final newline, atomically.
///
/// # Errors
/// As [`write_atomic`], or when the value cannot be represented in JSON.
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    write_atomic(file, (serde_json::to_string_pretty(value)? + "\n").as_bytes())
}

/// Maximum size of a JSON file.
const MAX_JSON_BYTES: u64 = 256 << 20;
/// Maximum size of a TOML file.
const MAX_TOML_BYTES: u64 = 1 << 20;

/// Reads a file of at most `max_bytes`. Files come from elsewhere, and a device or a pipe may never end.
///
/// # Errors
/// When the file cannot be read or is larger.
pub fn read_limited(file: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|open| open.take(max_bytes + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() as u64 > max_bytes {
        bail!("{} is larger than {} KiB, which is the limit", file.display(), max_bytes >> 10);
    }
    Ok(bytes)
}

/// Reads a JSON file; `what` names the expected contents in error messages, as in "a cell table".
///
/// # Errors
/// When the file cannot be read or does not hold a `T`.
pub fn read_json<T: DeserializeOwned>(file: &Path, what: &str) -> Result<T> {
    let bytes = read_limited(file, MAX_JSON_BYTES)?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not {what}", file.display()))
}

/// Reads a TOML file; errors name the line.
///
/// # Errors
/// When the file cannot be read or does not hold a `T`.
pub fn read_toml<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = String::from_utf8(read_limited(file, MAX_TOML_BYTES)?);
    let text = text.with_context(|| format!("{} is not UTF-8 text", file.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        anyhow!("{}, line {line}: {}", file.display(), error.message())
    })
}

/// The path of a file that a record names, if it lies directly in the record's folder. Records come from elsewhere and
/// must not reach outside: absolute paths, `..` and subfolders are refused.
pub fn sibling_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = Path::new(name).components();
    let is_plain_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    is_plain_name.then(|| folder.join(name))
}

/// Decodes little-endian 32-bit floats; trailing bytes that do not make up a whole number are ignored.
pub fn f32_from_le_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Encodes 32-bit floats as little-endian bytes.
pub fn f32_to_le_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/folder/file.txt");
        for text in ["first", "second"] {
            write_atomic(&file, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let occupied = dir.path().join("folder");
        fs::create_dir(&occupied).unwrap();
        fs::write(occupied.join("inside"), "kept").unwrap();
        let error = write_atomic(&occupied, b"text").unwrap_err();
        assert!(error.to_string().starts_with("cannot write") && error.to_string().contains("folder"), "{error}");
        assert_eq!(fs::read_to_string(occupied.join("inside")).unwrap(), "kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_write_does_not_follow_a_symbolic_link_and_is_readable_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (outside, link) = (dir.path().join("outside"), dir.path().join("link"));
        fs::write(&outside, "untouched").unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert_eq!(
            (fs::read_to_string(&outside).unwrap(), fs::read_to_string(&link).unwrap()),
            ("untouched".into(), "new".into())
        );
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode(&link), mode(&plain));
    }

    #[test]
    fn only_names_directly_in_the_folder_are_siblings() {
        let folder = Path::new("rounds");
        assert_eq!(sibling_file(folder, "view_000.jpg"), Some(folder.join("view_000.jpg")));
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "./../x"] {
            assert_eq!(sibling_file(folder, name), None, "{name}");
        }
    }

    #[test]
    fn floats_survive_the_round_trip() {
        let numbers = [0.0, -1.5, f32::MAX, f32::MIN_POSITIVE];
        let mut bytes = f32_to_le_bytes(&numbers);
        bytes.push(7);
        assert_eq!(f32_from_le_bytes(&bytes), numbers);
    }

    #[test]
    fn files_are_read_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, [b'a'; 100]).unwrap();
        assert_eq!(read_limited(&file, 100).unwrap().len(), 100);
        assert!(read_limited(&file, 99).unwrap_err().to_string().contains("which is the limit"));
        fs::write(&file, vec![b'\n'; (MAX_TOML_BYTES + 1) as usize]).unwrap();
        assert!(read_toml::<toml::Table>(&file).unwrap_err().to_string().contains("larger than 1024 KiB"));
        #[cfg(unix)]
        assert!(read_toml::<toml::Table>(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn toml_errors_name_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("recipe.toml");
        fs::write(&file, "a = 1\nb = = 2\n").unwrap();
        let error = read_toml::<toml::Table>(&file).unwrap_err().to_string();
        assert!(error.contains("recipe.toml, line 2"), "{error}");
    }
}
