//! Finding photos in directories, as cameras, phones, network drives and archives leave them there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_model::images::{self, Content};
use walkdir::{DirEntry, WalkDir};

use crate::exit::usage_error;

/// Directories of thumbnails, deleted files and archive metadata. Hidden ones are skipped too.
const SKIPPED_DIRS: [&str; 6] =
    ["__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information"];

/// Maximum number of unsupported files that a note names.
const MAX_NAMES: usize = 5;

/// The photos in a directory, and what was left out.
#[derive(Debug, Default)]
pub struct FoundPhotos {
    /// Files with pictures, and files that are named like pictures, sorted by path.
    pub files: Vec<PathBuf>,
    /// What was left out without being wrong: one line each.
    pub notes: Vec<String>,
    /// What could not be read: one line each.
    pub problems: Vec<String>,
}

/// What is left out, by kind.
#[derive(Default)]
struct LeftOut {
    formats: BTreeMap<&'static str, Vec<PathBuf>>,
    videos: usize,
    links: usize,
    broken_links: usize,
}

/// The photos in a directory and its subdirectories, told by their content.
///
/// Links to directories are not followed, which keeps the search inside the directory and finite. A subdirectory that
/// cannot be read is a problem and not an error.
///
/// # Errors
/// When the directory itself cannot be read.
pub fn find_photos(dir: &Path) -> Result<FoundPhotos> {
    let unreadable = || usage_error(format!("cannot read the directory {}", dir.display()));
    std::fs::read_dir(dir).with_context(unreadable)?;
    let (mut found, mut left_out) = (FoundPhotos::default(), LeftOut::default());
    for entry in WalkDir::new(dir).into_iter().filter_entry(is_wanted) {
        match entry {
            Ok(entry) if entry.depth() > 0 && !entry.file_type().is_dir() => {
                found.files.extend(left_out.consider(entry));
            }
            Ok(_) => {}
            Err(error) => {
                let name = error.path().unwrap_or(dir).display().to_string();
                let reason = error.io_error().map_or_else(|| "cannot be read".into(), ToString::to_string);
                found.problems.push(format!("{name}: cannot read this directory: {reason}"));
            }
        }
    }
    found.files.sort();
    found.notes = left_out.notes(dir);
    Ok(found)
}

fn is_wanted(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy().to_lowercase();
    let is_skipped = name.starts_with('.') || entry.file_type().is_dir() && SKIPPED_DIRS.contains(&name.as_str());
    entry.depth() == 0 || !is_skipped
}

impl LeftOut {
    /// The path of a file that is a photo, or ought to be one by its name.
    fn consider(&mut self, entry: DirEntry) -> Option<PathBuf> {
        let path = entry.into_path();
        let is_link = path.is_symlink();
        match std::fs::metadata(&path) {
            Ok(target) if target.is_file() => {}
            Ok(target) => {
                self.links += usize::from(is_link && target.is_dir());
                return None; // pipes, sockets and devices
            }
            Err(_) => {
                self.broken_links += usize::from(is_link);
                return None;
            }
        }
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let is_named_so = images::is_picture_extension(extension);
        let Ok(start) = read_start(&path) else { return is_named_so.then_some(path) };
        let content = images::identify(&start);
        let raw = images::raw_by_extension(extension);
        match content {
            Content::Unsupported(format) => {
                self.formats.entry(raw.unwrap_or(format)).or_default().push(path);
                None
            }
            // RAW formats that are built like TIFF files.
            Content::Picture(images::Format::Tiff) | Content::Unknown if raw.is_some() => {
                self.formats.entry(raw?).or_default().push(path);
                None
            }
            Content::Picture(_) => Some(path),
            Content::Video => {
                self.videos += 1;
                None
            }
            Content::Other(_) | Content::Empty | Content::Unknown => is_named_so.then_some(path),
        }
    }

    fn notes(&self, dir: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        if !self.formats.is_empty() {
            let count = |(format, files): (&&str, &Vec<PathBuf>)| format!("{} {format}", files.len());
            let counts: Vec<String> = self.formats.iter().map(count).collect();
            notes.push(format!(
                "{}: left out {}: not supported here; convert them to JPEG, for example with ImageMagick: magick mogrify \
                 -format jpg {}",
                dir.display(),
                counts.join(", "),
                self.unsupported_names(dir)
            ));
        }
        let dir = dir.display();
        if self.videos > 0 {
            notes.push(format!("{dir}: left out {}", counted(self.videos, "video")));
        }
        if self.links > 0 {
            notes.push(format!("{dir}: {} to directories not followed", counted(self.links, "link")));
        }
        if self.broken_links > 0 {
            notes.push(format!("{dir}: {} without a target left out", counted(self.broken_links, "link")));
        }
        notes
    }

    /// The first unsupported files by name, and how many more there are.
    fn unsupported_names(&self, dir: &Path) -> String {
        let mut names: Vec<_> =
            self.formats.values().flatten().map(|file| file.strip_prefix(dir).unwrap_or(file)).collect();
        names.sort();
        let named: Vec<String> = names.iter().take(MAX_NAMES).map(|name| name.display().to_string()).collect();
        match names.len() - named.len() {
            0 => named.join(" "),
            more => format!("{} and {more} more", named.join(" ")),
        }
    }
}

fn read_start(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(file)?.take(images::START_BYTES as u64).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = b"\xff\xd8\xff\xe0";
    const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";

    fn find(dir: &Path) -> (Vec<String>, FoundPhotos) {
        let found = find_photos(dir).unwrap();
        let name = |file: &PathBuf| file.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
        (found.files.iter().map(name).collect(), found)
    }

    fn write(dir: &Path, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let file = dir.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
    }

    #[test]
    fn photos_are_found_by_content_and_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 9] = [
            ("a.jfif", JPEG),
            ("b.jpg_large", JPEG),
            ("c", JPEG),
            ("d.HEIC", JPEG),
            ("sub/e.JPG", b"<html>"),
            ("empty.png", b""),
            ("notes.txt", b"text"),
            ("no_extension", b"text"),
            ("table.csv", b"file,lat,lng"),
        ];
        write(dir.path(), &files);
        let (names, found) = find(dir.path());
        assert_eq!(names, ["a.jfif", "b.jpg_large", "c", "d.HEIC", "empty.png", "sub/e.JPG"]);
        assert!(found.notes.is_empty() && found.problems.is_empty(), "{found:?}");
    }

    #[test]
    fn formats_that_are_not_read_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let video: &[u8] = b"\0\0\0\x14ftypqt  \0\0\0\0qt  ";
        let raw: &[u8] = b"II*\0\x08\0\0\0\0\0\0\0\0\0";
        write(dir.path(), &[("1.HEIC", HEIC), ("2.jpg", HEIC), ("3.MOV", video), ("4.dng", raw), ("5.jpg", JPEG)]);
        let (names, found) = find(dir.path());
        assert_eq!(names, ["5.jpg"]);
        assert_eq!(found.notes.len(), 2, "{found:?}");
        assert!(found.notes[0].contains("left out 1 DNG, 2 HEIC: not supported here; convert them"), "{found:?}");
        assert!(found.notes[0].ends_with(" -format jpg 1.HEIC 2.jpg 4.dng"), "{found:?}");
        assert!(found.notes[1].ends_with("left out 1 video"), "{found:?}");
        write(dir.path(), &["6.HEIC", "7.HEIC", "8.HEIC", "sub/9.HEIC"].map(|name| (name, HEIC)));
        let note = &find(dir.path()).1.notes[0];
        assert!(note.contains("1 DNG, 6 HEIC") && note.ends_with(" 6.HEIC 7.HEIC and 2 more"), "{note}");
    }

    #[test]
    fn thumbnails_deleted_files_and_hidden_files_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join(".photos"); // the directory that was asked for may be hidden
        let skipped =
            [".thumbnails/1.jpg", "@eaDir/a.jpg/S.jpg", "__MACOSX/._a.jpg", "sub/._a.jpg", ".trashed-1-a.jpg"];
        write(&dir, &skipped.map(|name| (name, JPEG)));
        write(&dir, &[("a.jpg", JPEG), ("b.jpg/c.jpg", JPEG), ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")]);
        assert_eq!(find(&dir).0, ["a.jpg", "b.jpg/c.jpg"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_to_directories_are_not_followed_and_pipes_do_not_block() {
        use std::os::unix::fs::symlink;
        let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(outside.path(), &[("b.jpg", JPEG)]);
        write(dir.path(), &[("real/a.jpg", JPEG)]);
        symlink(outside.path(), dir.path().join("linked_folder")).unwrap();
        symlink("..", dir.path().join("real/loop")).unwrap();
        symlink(outside.path().join("b.jpg"), dir.path().join("linked.jpg")).unwrap();
        symlink("nowhere", dir.path().join("dangling.jpg")).unwrap();
        symlink("itself.jpg", dir.path().join("itself.jpg")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(dir.path().join("pipe.jpg")).status().unwrap().success());
        let (names, found) = find(dir.path());
        assert_eq!(names, ["linked.jpg", "real/a.jpg"]);
        assert_eq!(found.notes.len(), 2, "{found:?}");
        assert!(found.notes[0].ends_with("2 links to directories not followed"), "{found:?}");
        assert!(found.notes[1].ends_with("2 links without a target left out"), "{found:?}");
    }

    #[test]
    fn a_directory_that_is_missing_is_an_error() {
        let error = find_photos(Path::new("no/such/directory")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the directory no/such/directory");
    }
}
