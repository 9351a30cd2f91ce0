//! Names of files in tables, manifests and archives. They come from elsewhere, and must not lead out of the folder that
//! they are relative to.

use std::io;
use std::path::{Path, PathBuf};

/// Checks that a name is the path of a file within a folder, on every operating system.
///
/// # Errors
/// What is wrong with the name, to follow it in a sentence.
pub(crate) fn check_relative(file: &Path) -> Result<(), &'static str> {
    let name = file.to_str().ok_or("is not valid UTF-8")?;
    let is_drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    // Windows ignores spaces and dots at the end of a name.
    let is_parent =
        |part: &str| part.len() > 1 && part.starts_with('.') && part.bytes().all(|b| b == b'.' || b == b' ');
    if name.contains('\\') {
        Err("contains a backslash; separate folders with /")
    } else if name.chars().any(char::is_control) {
        Err("contains a control character")
    } else if name.starts_with('/') || is_drive {
        Err("is an absolute path; it must be relative to the directory of the images")
    } else if name.split('/').any(is_parent) {
        Err("contains `..`, which leads out of the directory of the images")
    } else {
        Ok(())
    }
}

/// The path of a regular file in a folder, where `real_folder` is the folder without symbolic links in its path.
///
/// # Errors
/// If the file does not exist, or its name or a symbolic link leads out of the folder
/// ([`io::ErrorKind::PermissionDenied`]).
pub(crate) fn resolve(real_folder: &Path, file: &Path) -> io::Result<PathBuf> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why);
    check_relative(file).map_err(|why| refused(&format!("the name {why}")))?;
    let real = real_folder.join(file).canonicalize()?;
    if !real.starts_with(real_folder) {
        return Err(refused(
            "a symbolic link leads out of the directory of the images; give the real directory with --images",
        ));
    }
    if !real.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused() {
        for inside in ["a.jpg", "a/b/c.jpg", "./a.jpg", "a//b.jpg", "..a.jpg", "a..b/c.jpg", "é 日.jpg", ".hidden", ""]
        {
            assert_eq!(check_relative(Path::new(inside)), Ok(()), "{inside}");
        }
        let outside = [
            "/etc/passwd",
            "//host/share",
            "..",
            "../a",
            "a/../../b",
            "a/..",
            ".. /a",
            "a/.../b",
            r"..\a",
            r"a\b",
            r"\\host\a",
            "C:/a",
            "c:a",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
        ];
        for name in outside {
            assert!(check_relative(Path::new(name)).is_err(), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_out_are_refused() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (images, secret) = (dir.path().join("images"), dir.path().join("secret"));
        std::fs::create_dir_all(images.join("real")).unwrap();
        std::fs::write(images.join("real/a.jpg"), "a").unwrap();
        std::fs::write(&secret, "s").unwrap();
        symlink(&secret, images.join("file.jpg")).unwrap();
        symlink(dir.path(), images.join("folder")).unwrap();
        symlink("real/a.jpg", images.join("inside.jpg")).unwrap();
        symlink("loop", images.join("loop")).unwrap();
        let images = images.canonicalize().unwrap();
        for (name, is_inside) in
            [("real/a.jpg", true), ("inside.jpg", true), ("file.jpg", false), ("folder/secret", false), ("loop", false)]
        {
            assert_eq!(resolve(&images, Path::new(name)).is_ok(), is_inside, "{name}");
        }
        assert!(resolve(&images, Path::new("real")).unwrap_err().to_string().contains("not a regular file"));
    }
}
