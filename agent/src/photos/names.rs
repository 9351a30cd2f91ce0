//! Names of photos in output: without the directories above them, which may reveal the user, but different for different
//! photos.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// The names of photos, given as files and names, in which names that several photos share are prefixed with the
/// directories above them until they differ: `100CANON/IMG_0001.JPG` and `101CANON/IMG_0001.JPG`.
pub(crate) fn unique_names<'a>(photos: impl IntoIterator<Item = (&'a Path, &'a Path)>) -> Vec<PathBuf> {
    let (paths, mut names): (Vec<PathBuf>, Vec<PathBuf>) =
        photos.into_iter().map(|(file, name)| (full_path(file), name.to_owned())).unzip();
    loop {
        let mut by_name: HashMap<&Path, Vec<usize>> = HashMap::new();
        for (i, name) in names.iter().enumerate() {
            by_name.entry(name).or_default().push(i);
        }
        let shared = by_name.into_values().filter(|same| same.iter().any(|i| paths[*i] != paths[same[0]]));
        let longer = |i: usize| (i, last_components(&paths[i], names[i].components().count() + 1));
        let changes: Vec<(usize, PathBuf)> =
            shared.flatten().map(longer).filter(|(i, name)| *name != names[*i]).collect();
        if changes.is_empty() {
            return names;
        }
        changes.into_iter().for_each(|(i, name)| names[i] = name);
    }
}

/// Whether a file is in a directory, which need not exist.
pub(crate) fn is_inside(file: &Path, dir: &Path) -> bool {
    dir.canonicalize().is_ok_and(|dir| full_path(file).starts_with(dir))
}

/// The absolute path of a file, with links in its directories resolved.
pub(super) fn full_path(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), file.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
    }
}

fn last_components(path: &Path, n: usize) -> PathBuf {
    let names: Vec<_> = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    names[names.len().saturating_sub(n)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_get_the_directories_that_tell_them_apart() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/x", "b/x", "c"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let files = ["a/x/1.jpg", "b/x/1.jpg", "c/1.jpg", "c/../c/2.jpg", "c/2.jpg", "c/3.jpg"];
        let paths = files.map(|file| dir.path().join(file));
        let names = unique_names(paths.iter().map(|path| (path.as_path(), Path::new(path.file_name().unwrap()))));
        // The same file twice keeps its name.
        let expected = ["a/x/1.jpg", "b/x/1.jpg", "c/1.jpg", "2.jpg", "2.jpg", "3.jpg"];
        assert_eq!(names, expected.map(PathBuf::from));
    }

    #[test]
    fn a_file_is_inside_a_directory_by_its_components() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("in/copies/day")).unwrap();
        assert!(!is_inside(&path("in/1.jpg"), &path("in/new")) && !is_inside(&path("in/1.jpg"), &path("in/copies")));
        assert!(is_inside(&path("in/copies/1.jpg"), &path("in/copies")));
        assert!(is_inside(&path("in/copies/day/../2.jpg"), &path("in/../in/copies/")));
        assert!(!is_inside(&path("in/copies-2.jpg"), &path("in/copies")));
    }
}
