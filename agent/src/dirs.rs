//! The user's own profiles: files in the folder `profiles` of Landfall's configuration directory, by their names.

use std::path::{Path, PathBuf};

/// The configuration directory: `LANDFALL_CONFIG`, else the platform's own place for configuration.
pub(crate) fn config_dir() -> Option<PathBuf> {
    let set = std::env::var_os("LANDFALL_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    set.or_else(|| directories::ProjectDirs::from("", "", "landfall").map(|dirs| dirs.config_dir().to_owned()))
}

/// The folder of profiles in it.
pub(crate) fn folder() -> Option<PathBuf> {
    config_dir().map(|dir| dir.join("profiles"))
}

/// The file of the profile of this name in a folder, if there is one.
pub(super) fn file(folder: &Path, name: &str) -> Option<PathBuf> {
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || ['-', '_'].contains(&c));
    Some(folder.join(format!("{name}.toml"))).filter(|file| is_name && file.is_file())
}

/// Names of the profiles in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let profiles = files.filter(|file| file.extension().is_some_and(|ending| ending == "toml"));
    let mut names: Vec<String> =
        profiles.filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_have_names_and_names_are_no_paths() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b.toml", "a-2.toml", "notes.txt"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        assert_eq!(names(dir.path()), ["a-2", "b"]);
        assert_eq!(file(dir.path(), "b"), Some(dir.path().join("b.toml")));
        for no in ["c", "", "../b", "notes", "b.toml"] {
            assert_eq!(file(&dir.path().join("."), no), None, "{no}");
        }
        assert!(names(&dir.path().join("nowhere")).is_empty());
    }
}
