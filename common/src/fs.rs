//! Files: atomic writes, logs, and reads with a size limit whose errors name the file.

use std::fs;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{Builder, NamedTempFile};

use crate::exit::environment_error;

/// Maximum size in bytes of a JSON file. A list of numbers takes sixteen times as much memory as its text.
const MAX_JSON_BYTES: u64 = 256 << 20;
/// Maximum size in bytes of a TOML file, which people write by hand.
const MAX_TOML_BYTES: u64 = 1 << 20;

/// Writes a file so that readers see either the old contents or all of the new ones, also after a kill or a power cut.
///
/// The bytes go to a temporary file with a random name in the same directory, which then replaces the target; a symbolic
/// link at the target is replaced, not followed. The permissions of a replaced file are kept. Missing parent directories
/// are created.
///
/// # Errors
/// An environment error that names the file, when it or its directory cannot be written, or when the target is a device
/// or a pipe.
pub fn write_atomic(file: &Path, bytes: &[u8]) -> Result<()> {
    write(file, bytes, Target::Replace)
}

/// As [`write_atomic`], for a file that must not exist yet, not even as a symbolic link.
///
/// # Errors
/// As [`write_atomic`], and when the file exists.
pub fn write_new(file: &Path, bytes: &[u8]) -> Result<()> {
    write(file, bytes, Target::New)
}

/// As [`write_atomic`], for a secret: only this user can read the file, whatever the permissions were before.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_private(file: &Path, bytes: &[u8]) -> Result<()> {
    write(file, bytes, Target::Private)
}

/// How a written file relates to what is there before.
#[derive(Clone, Copy, PartialEq)]
enum Target {
    Replace,
    New,
    Private,
}

fn write(file: &Path, bytes: &[u8], target: Target) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    let write = || {
        fs::create_dir_all(folder)?;
        let replaced = replaced_permissions(file)?;
        let mut temporary = match target {
            Target::Private => temporary_file(folder, &mut Builder::new())?, // 0600
            Target::Replace | Target::New => temporary_file_in(folder)?,
        };
        temporary.as_file_mut().write_all(bytes)?;
        if let Some(permissions) = replaced.filter(|_| target == Target::Replace) {
            temporary.as_file().set_permissions(permissions)?;
        }
        // Before the name changes: otherwise a power cut could leave an empty file under the new name.
        temporary.as_file().sync_all()?;
        match target {
            Target::New => temporary.persist_noclobber(file),
            Target::Replace | Target::Private => temporary.persist(file),
        }
        .map_err(|error| error.error)?;
        Ok::<_, Error>(())
    };
    let written = write();
    if written.is_err() {
        // Directories that were created for this file and are empty.
        missing.into_iter().for_each(|folder| _ = fs::remove_dir(folder));
    }
    written.with_context(|| environment_error(format!("cannot write {}", file.display())))
}

/// The permissions of the regular file that a write replaces, if there is one. Devices and pipes are not replaced: that
/// would remove `/dev/null` for everybody else.
fn replaced_permissions(file: &Path) -> io::Result<Option<fs::Permissions>> {
    let found = match fs::symlink_metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let end = if found.is_symlink() { fs::metadata(file).ok() } else { Some(found.clone()) };
    if end.is_some_and(|end| !end.is_file() && !end.is_dir()) {
        return Err(Error::new(ErrorKind::InvalidInput, "it is a device, a pipe or a socket, not a regular file"));
    }
    if found.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "it is a directory"));
    }
    Ok(found.is_file().then(|| plain_permissions(&found)))
}

#[cfg(unix)]
fn plain_permissions(found: &fs::Metadata) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    // Without the bits that make a program run as its owner.
    fs::Permissions::from_mode(found.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn plain_permissions(found: &fs::Metadata) -> fs::Permissions {
    found.permissions()
}

/// A temporary file with a random name in a folder, for a file that is too large to be written at once: write it, then
/// `persist` it under its final name. It is removed if it is dropped before.
///
/// # Errors
/// When it cannot be created.
pub fn temporary_file_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    // The permissions that any new file gets (0666 less the umask), not those of a secret.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    temporary_file(folder, &mut builder)
}

/// Gives a temporary file its final name, as [`write_atomic`] does: an existing file is replaced and its permissions are kept.
///
/// # Errors
/// When it cannot be written, or the target is a directory, a device or a pipe.
pub fn persist_over(temporary: NamedTempFile, file: &Path) -> io::Result<()> {
    if let Some(permissions) = replaced_permissions(file)? {
        temporary.as_file().set_permissions(permissions)?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(file).map(drop).map_err(|error| error.error)
}

fn temporary_file(folder: &Path, builder: &mut Builder) -> io::Result<NamedTempFile> {
    // Without the random name, which says nothing to the user.
    builder.prefix(".").suffix(".part").tempfile_in(folder).map_err(|error| error.kind().into())
}

/// Opens a log to which lines are appended, the one kind of file that is not written atomically; created if missing. It can
/// also be read.
///
/// # Errors
/// When it cannot be opened, or is a symbolic link, a device or a pipe.
pub fn open_append(file: &Path) -> io::Result<fs::File> {
    open_regular(file, fs::OpenOptions::new().create(true).read(true).append(true))
}

/// Opens a regular file. Symbolic links are not followed, and pipes, which could block for ever, are refused.
fn open_regular(file: &Path, options: &mut fs::OpenOptions) -> io::Result<fs::File> {
    let link = || Error::new(ErrorKind::InvalidInput, "it is a symbolic link, which is not followed here");
    if file.is_symlink() {
        return Err(link());
    }
    // The kernel checks again, since the file may have been exchanged in between.
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    }
    let opened = options.open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(opened)
}

/// Reads a file that the user named, of at most `max_bytes`. It may be a link; a device or a pipe may never end.
///
/// # Errors
/// When it cannot be read or is larger.
pub fn read_limited(file: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let read = fs::File::open(file).and_then(|open| read_all(open, max_bytes));
    read.with_context(|| format!("cannot read {}", file.display()))
}

/// Reads a regular file of at most `limit` bytes that came from somebody else, as part of a record: symbolic links are not
/// followed, since they could lead to any file of the user.
///
/// # Errors
/// When it cannot be read, is larger, or is not a regular file.
pub fn read_regular(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(open_regular(file, fs::OpenOptions::new().read(true))?, limit)
}

fn read_all(file: fs::File, limit: u64) -> io::Result<Vec<u8>> {
    let too_large = || {
        let limit = if limit < 10_240 { format!("{limit} bytes") } else { format!("{} KiB", limit >> 10) };
        Error::new(ErrorKind::FileTooLarge, format!("it is larger than {limit}, which is the limit"))
    };
    let size = file.metadata()?.len();
    if size > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // The size of a pipe is unknown, and a file may grow.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// Writes a value as indented JSON with a final newline, atomically.
///
/// # Errors
/// As [`write_atomic`], or when the value cannot be represented in JSON.
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    write_atomic(file, (serde_json::to_string_pretty(value)? + "\n").as_bytes())
}

/// Reads a JSON file; `what` names the expected contents in error messages, as in "a cell table".
///
/// # Errors
/// When the file cannot be read, is larger than 256 MiB or does not hold a `T`.
pub fn read_json<T: DeserializeOwned>(file: &Path, what: &str) -> Result<T> {
    let bytes = read_limited(file, MAX_JSON_BYTES)?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not {what}", file.display()))
}

/// Reads a TOML file; errors name the line.
///
/// # Errors
/// When the file cannot be read, is larger than 1 MiB or does not hold a `T`.
pub fn read_toml<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = String::from_utf8(read_limited(file, MAX_TOML_BYTES)?);
    let text = text.with_context(|| format!("{} is not UTF-8 text", file.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        anyhow!("{}, line {line}: {}", file.display(), error.message())
    })
}

/// The path of a file that a record names, if it lies directly in the record's folder and is not a symbolic link. Records
/// come from elsewhere and must not reach outside: absolute paths, `..`, subfolders and links are refused.
pub fn sibling_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = Path::new(name).components();
    let is_plain_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    // A record may be read on another system than it was made for: `\` separates folders and `:` drives on Windows.
    let is_plain_name = is_plain_name && !name.contains('\\') && !(cfg!(windows) && name.contains(':'));
    Some(folder.join(name)).filter(|file| is_plain_name && !file.is_symlink())
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

    #[test]
    fn a_failed_write_leaves_no_directories_and_does_not_name_the_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/folder").join("x".repeat(300));
        let error = format!("{:#}", write_atomic(&file, b"text").unwrap_err());
        assert!(!error.contains(".part") && fs::read_dir(dir.path()).unwrap().count() == 0, "{error}");
        let inside_file = dir.path().join("file");
        fs::write(&inside_file, "kept").unwrap();
        let error = format!("{:#}", write_new(&inside_file.join("folder/copy"), b"text").unwrap_err());
        assert!(!error.contains(".part") && fs::read_to_string(&inside_file).unwrap() == "kept", "{error}");
        #[cfg(target_os = "linux")]
        for write in [write_atomic, write_private] {
            let error = format!("{:#}", write(Path::new("/proc/new"), b"text").unwrap_err());
            assert!(error.starts_with("cannot write /proc/new") && !error.contains(".part"), "{error}");
        }
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
    fn an_existing_file_is_kept_where_a_new_one_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("copy.jpg");
        write_new(&file, b"first").unwrap();
        assert!(write_new(&file, b"second").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_kept_and_secrets_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("report.html");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        write_atomic(&file, b"first").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4640)).unwrap();
        write_atomic(&file, b"second").unwrap();
        assert_eq!((mode(), fs::read_to_string(&file).unwrap().as_str()), (0o640, "second"));
        write_private(&file, b"secret").unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn links_pipes_and_devices_are_neither_followed_nor_replaced() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let [outside, link, dangling, pipe] = ["outside", "link", "dangling", "pipe"].map(|name| dir.path().join(name));
        fs::write(&outside, "untouched").unwrap();
        symlink(&outside, &link).unwrap();
        symlink(dir.path().join("nowhere"), &dangling).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for target in [&link, &dangling, &pipe] {
            assert!(open_append(target).is_err() && read_regular(target, 100).is_err(), "{}", target.display());
        }
        assert!(open_append(&link).unwrap_err().to_string().contains("symbolic link"));
        assert!(write_new(&dangling, b"new").is_err() && !dir.path().join("nowhere").exists());
        assert!(format!("{:#}", write_atomic(&pipe, b"new").unwrap_err()).contains("not a regular file"));
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert!(write_atomic(Path::new("/dev/null"), b"new").is_err());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        assert_eq!(read_limited(&link, 100).unwrap(), b"untouched");
        assert_eq!(sibling_file(dir.path(), "link"), None);
    }

    #[test]
    fn logs_grow_and_reads_are_limited() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log.jsonl");
        for line in ["1\n", "2\n"] {
            open_append(&file).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(
            (read_regular(&file, 4).unwrap(), read_limited(&file, 4).unwrap()),
            (b"1\n2\n".into(), b"1\n2\n".into())
        );
        let errors =
            [format!("{:#}", read_limited(&file, 3).unwrap_err()), read_regular(&file, 3).unwrap_err().to_string()];
        for error in errors {
            assert!(error.contains("larger than 3 bytes, which is the limit"), "{error}");
        }
        // Sparse: the size is checked before anything is read.
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1 << 40).unwrap();
        assert!(read_json::<u8>(&file, "a number").is_err());
        fs::write(&file, vec![b'\n'; (MAX_TOML_BYTES + 1) as usize]).unwrap();
        assert!(format!("{:#}", read_toml::<toml::Table>(&file).unwrap_err()).contains("larger than 1024 KiB"));
        #[cfg(unix)]
        assert!(read_toml::<toml::Table>(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn only_names_directly_in_the_folder_are_siblings() {
        let folder = Path::new("rounds");
        assert_eq!(sibling_file(folder, "view_000.jpg"), Some(folder.join("view_000.jpg")));
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "./../x", "a/", "a/.", "./a", "..\\..\\x", "a\\b"] {
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
    fn toml_errors_name_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("recipe.toml");
        fs::write(&file, "a = 1\nb = = 2\n").unwrap();
        let error = read_toml::<toml::Table>(&file).unwrap_err().to_string();
        assert!(error.contains("recipe.toml, line 2"), "{error}");
    }
}
