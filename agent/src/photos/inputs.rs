//! The images that a command is given: files, directories, pipes and standard input.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::{environment_error, usage_error};
use landfall_common::photo_files::{FoundPhotos, find_photos};
use landfall_model::images;
use tempfile::TempDir;

use crate::photos::exif::is_copy;

/// An image file.
#[derive(Debug)]
pub(crate) struct NamedImage {
    /// Where it is read. A picture from a pipe is in a temporary file, since it is read more than once.
    pub file: PathBuf,
    /// How the user named it.
    pub given: PathBuf,
    /// Its name in output that may be shared: without directories, which may reveal the user.
    pub name: PathBuf,
}

/// The images that a command is given.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// The images, at least one.
    pub images: Vec<NamedImage>,
    /// What was left out of directories.
    pub notes: Vec<String>,
    /// What could not be read in directories.
    pub problems: Vec<String>,
    /// Holds the pictures from pipes.
    temporary: Option<TempDir>,
    dirs: Vec<PathBuf>,
}

/// The images in files and directories; those in directories are named by their path inside it. `-` is standard input.
///
/// # Errors
/// When a directory cannot be read or holds no images, a pipe cannot be read, or none of the files exists.
pub(crate) fn find_inputs(files: &[PathBuf]) -> Result<Inputs> {
    let mut inputs = Inputs::default();
    for file in files {
        if file.as_os_str() == "-" {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                return Err(usage_error("`-` reads an image from standard input, which is a terminal here"));
            }
            inputs.add_stream(file, stdin.lock())?;
        } else if is_pipe(file) && images::is_open_file(file) {
            let cannot_read = || usage_error(format!("cannot read {}", file.display()));
            inputs.add_stream(file, File::open(file).with_context(cannot_read)?)?;
        } else if file.is_dir() {
            inputs.add_directory(file)?;
        } else if let Err(error) = file.metadata()
            && error.kind() == ErrorKind::NotFound
        {
            inputs.problems.push(format!("{}: there is no such file or directory", file.display()));
        } else {
            let name = file.file_name().map_or_else(|| file.clone(), PathBuf::from);
            inputs.images.push(NamedImage { file: file.clone(), given: file.clone(), name });
        }
    }
    if inputs.images.is_empty() { Err(usage_error(inputs.problems.join("; "))) } else { Ok(inputs) }
}

#[cfg(unix)]
fn is_pipe(file: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_pipe(_file: &Path) -> bool {
    false
}

impl Inputs {
    fn add_directory(&mut self, dir: &Path) -> Result<()> {
        let FoundPhotos { files, notes, problems } = find_photos(dir)?;
        if files.is_empty() {
            let reasons = [&notes[..], &problems].concat().join("; ");
            let reasons = if reasons.is_empty() { reasons } else { format!(" ({reasons})") };
            return Err(usage_error(format!(
                "{}: no images in this directory that can be read{reasons}",
                dir.display()
            )));
        }
        let named = |file: PathBuf| NamedImage {
            name: file.strip_prefix(dir).unwrap_or(&file).to_owned(),
            given: file.clone(),
            file,
        };
        let mut images: Vec<NamedImage> = files.into_iter().map(named).collect();
        self.notes.extend(leave_out_copies(&mut images, dir));
        self.images.extend(images);
        self.notes.extend(notes);
        self.problems.extend(problems);
        self.dirs.push(dir.to_owned());
        Ok(())
    }

    fn add_stream(&mut self, given: &Path, stream: impl Read) -> Result<()> {
        let bytes =
            images::read_picture(stream).with_context(|| usage_error(format!("cannot read {}", given.display())))?;
        let cannot_keep = || environment_error("cannot write a temporary file for the picture from standard input");
        let dir = match self.temporary.take() {
            Some(dir) => dir,
            None => tempfile::tempdir().with_context(cannot_keep)?,
        };
        let file = dir.path().join(format!("stdin{}", self.images.len()));
        self.temporary = Some(dir);
        std::fs::write(&file, bytes).with_context(cannot_keep)?;
        let name = if given.as_os_str() == "-" {
            "stdin".into()
        } else {
            PathBuf::from(given.file_name().unwrap_or_default())
        };
        self.images.push(NamedImage { file, given: given.to_owned(), name });
        Ok(())
    }

    /// A message for output that may be shared: without the directories above the given files and directories.
    pub(crate) fn with_short_names(&self, message: &str) -> String {
        let images = self.images.iter().map(|image| (&image.given, image.name.display().to_string()));
        let dirs =
            self.dirs.iter().map(|dir| (dir, dir.file_name().unwrap_or_default().to_string_lossy().into_owned()));
        let shorter = images.chain(dirs).find_map(|(path, name)| {
            let rest = message.strip_prefix(&path.display().to_string())?;
            Some(if name.is_empty() { rest.trim_start_matches(": ").to_owned() } else { name + rest })
        });
        shorter.unwrap_or_else(|| message.to_owned())
    }

    /// A message with the names that the user gave instead of those of temporary files.
    pub(crate) fn with_given_names(&self, message: &str) -> String {
        let temporary = self.images.iter().filter(|image| image.file != image.given);
        temporary.fold(message.to_owned(), |message, image| {
            message.replace(&image.file.display().to_string(), &image.given.display().to_string())
        })
    }
}

/// Leaves out the copies that an earlier run wrote below a directory whose originals are there too. Returns a note.
fn leave_out_copies(images: &mut Vec<NamedImage>, dir: &Path) -> Option<String> {
    let mut by_name: HashMap<OsString, Vec<&Path>> = HashMap::new();
    for image in &*images {
        by_name.entry(image.file.file_name()?.to_owned()).or_default().push(&image.file);
    }
    let mut copies = HashSet::new();
    for same in by_name.into_values().filter(|same| same.len() > 1) {
        let (of_these, originals): (Vec<&Path>, Vec<&Path>) = same.into_iter().partition(|file| is_copy(file));
        copies.extend(of_these.into_iter().filter(|_| !originals.is_empty()).map(Path::to_owned));
    }
    images.retain(|image| !copies.contains(&image.file));
    let n = copies.len();
    let plural = if n == 1 { "copy" } else { "copies" };
    (n > 0).then(|| format!("{}: left out {n} {plural} that --write-exif wrote from images in it", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;
    use landfall_common::exit::Exit;

    #[test]
    fn files_keep_their_names_and_those_in_directories_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let (outer, inner) = (dir.path().join("a.jpg"), dir.path().join("sub/b.jpg"));
        for file in [&outer, &inner] {
            std::fs::write(file, b"\xff\xd8\xff").unwrap();
        }
        let missing = PathBuf::from("no/such.jpg");
        let inputs = find_inputs(&[dir.path().to_owned(), inner.clone(), missing.clone()]).unwrap();
        let names: Vec<&Path> = inputs.images.iter().map(|image| image.name.as_path()).collect();
        assert_eq!(names, ["a.jpg", "sub/b.jpg", "b.jpg"].map(Path::new));
        assert_eq!(inputs.problems, ["no/such.jpg: there is no such file or directory"]);
        let error = find_inputs(&[missing]).unwrap_err();
        assert_eq!((error.to_string().as_str(), exit_code(&error)), (inputs.problems[0].as_str(), Exit::Usage));
        let dir_name = dir.path().file_name().unwrap().to_string_lossy();
        let message = format!("{}: left out 1 video", dir.path().display());
        assert_eq!(inputs.with_short_names(&message), format!("{dir_name}: left out 1 video"));
        let message = format!("{}: not a readable image", inner.display());
        assert_eq!(inputs.with_short_names(&message), "sub/b.jpg: not a readable image");
        assert!(inputs.images.iter().all(|image| image.file == image.given) && inputs.images[1].file == inner);
    }

    #[test]
    fn a_directory_without_readable_images_says_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.HEIC"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
        let error = find_inputs(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no images in this directory that can be read") && error.contains("1 HEIC"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_kept_and_named_as_it_was_given() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"\xff\xd8\xff picture").unwrap();
        drop(writer);
        let given = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        let inputs = find_inputs(std::slice::from_ref(&given)).unwrap();
        let [image] = &inputs.images[..] else { panic!("one image") };
        assert_eq!(std::fs::read(&image.file).unwrap(), b"\xff\xd8\xff picture");
        assert_eq!(image.given, given);
        let message = format!("{}: damaged", image.file.display());
        assert_eq!(inputs.with_given_names(&message), format!("{}: damaged", given.display()));
    }
}
