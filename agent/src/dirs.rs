//! Configuration directory and user profiles: files in its subdirectory `profiles`.

use std::path::{Path, PathBuf};

/// The configuration directory: `LANDFALL_CONFIG`, or the platform's own.
pub(crate) fn config_dir() -> Option<PathBuf> {
    let set = std::env::var_os("LANDFALL_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let platform = || directories::ProjectDirs::from("", "", "landfall").map(|dirs| dirs.config_dir().to_owned());
    set.or_else(|| platform().filter(|dir| dir.is_absolute())) // with HOME=. it would lie in the working directory
}

/// The directory of user profiles.
pub(crate) fn user_profiles() -> Option<PathBuf> {
    config_dir().map(|dir| dir.join("profiles"))
}

/// The file of the profile with this name in a directory.
pub(super) fn file(folder: &Path, name: &str) -> Option<PathBuf> {
    Some(folder.join(format!("{name}.toml"))).filter(|file| is_name(name) && file.is_file())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || ['-', '_'].contains(&c))
}

/// Names of the profiles in a directory, sorted. Files whose name has other characters can be used by path only.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let profiles = files.filter(|file| file.extension().is_some_and(|ending| ending == "toml"));
    let mut names: Vec<String> =
        profiles.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).filter(|name| is_name(name)).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_names_are_not_paths() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b.toml", "a-2.toml", "my.site.toml", "notes.txt"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        assert_eq!(names(dir.path()), ["a-2", "b"]);
        assert_eq!(file(dir.path(), "b"), Some(dir.path().join("b.toml")));
        for no in ["c", "", "../b", "notes", "b.toml", "my.site"] {
            assert_eq!(file(&dir.path().join("."), no), None, "{no}");
        }
        assert!(names(&dir.path().join("nowhere")).is_empty());
    }
}
