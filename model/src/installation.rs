//! Directories that belong to the installation: that of the program, and the source tree it was built from.
//!
//! Native code, bundles and web pages are looked for in these and in the user's own directories, never in the working
//! directory, whose files may come from anyone: an archive of photographs can contain any file name.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Set if this code is a library in a package for an interpreter.
static PACKAGE_DIR: OnceLock<PathBuf> = OnceLock::new();

/// Says that this code is a library in the package in `dir`, such as a Python package. The running program is then an
/// interpreter, whose directory means nothing: `dir` takes its place, and there is no source tree. Only the first call
/// counts.
pub fn set_package_dir(dir: PathBuf) {
    _ = PACKAGE_DIR.set(dir);
}

/// The directory of the running program, or of the package that this library is in.
pub fn program_dir() -> Option<PathBuf> {
    match PACKAGE_DIR.get() {
        Some(dir) => Some(dir.clone()),
        None => Some(program()?.parent()?.to_owned()),
    }
}

/// Where a package puts the data of a program in `bin/`: `../share/landfall`. Like the source tree, only with the same owner
/// as the program's: beside a `bin/` in `/tmp`, anyone could create it.
pub fn shared_dir() -> Option<PathBuf> {
    shared_dir_of(&program()?).filter(|_| PACKAGE_DIR.get().is_none())
}

fn shared_dir_of(program: &Path) -> Option<PathBuf> {
    let bin = program.parent().filter(|dir| dir.file_name().is_some_and(|name| name == "bin"))?;
    Some(bin.parent()?.join("share/landfall")).filter(|shared| has_same_owner(program, shared))
}

/// The source tree that this program was built from, for data: bundles, fixtures and web pages.
///
/// The path was fixed when the program was compiled. On another machine it may not exist, and others may be able to create
/// it, in `/tmp` for example. So the program must lie in the tree, or both must have the same owner.
pub fn source_tree() -> Option<PathBuf> {
    let (program, tree) = (program()?, compiled_tree()?);
    (is_in_place(&program, tree, profile_dir()) || has_same_owner(&program, tree)).then(|| tree.to_owned())
}

/// The source tree, for native code: only if this program lies where cargo built it.
pub(crate) fn source_tree_in_place() -> Option<PathBuf> {
    let tree = compiled_tree()?;
    is_in_place(&program()?, tree, profile_dir()).then(|| tree.to_owned())
}

/// The running program, with symbolic links resolved where that gives a usual path.
fn program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    match program.canonicalize() {
        Ok(resolved) if cfg!(unix) => Some(resolved),
        _ => Some(program),
    }
}

/// None for a release (`LANDFALL_STANDALONE` was set when it was built) and for a package: the path means nothing on other
/// machines, and on the one that built it the release would be tested with the tree's files instead of its own.
fn compiled_tree() -> Option<&'static Path> {
    if option_env!("LANDFALL_STANDALONE").is_some() || PACKAGE_DIR.get().is_some() {
        return None;
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).parent()
}

/// The directory that cargo wrote this build's programs to; it may lie outside the tree.
fn profile_dir() -> Option<&'static Path> {
    option_env!("LANDFALL_PROFILE_DIR").map(Path::new)
}

fn is_in_place(program: &Path, tree: &Path, profile_dir: Option<&Path>) -> bool {
    let Ok(program) = program.canonicalize() else { return false };
    let is_in = |dir: &Path| dir.canonicalize().is_ok_and(|dir| program.starts_with(dir));
    // A tree that does not contain the program may have been deleted and created again by someone else.
    is_in(tree) || profile_dir.is_some_and(is_in) && has_same_owner(&program, tree)
}

#[cfg(unix)]
fn has_same_owner(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let owner = |path: &Path| Some(path.metadata().ok()?.uid());
    owner(a).is_some_and(|uid| owner(b) == Some(uid))
}

/// Owners are not compared on other systems.
#[cfg(not(unix))]
fn has_same_owner(_: &Path, _: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn tests_run_in_place() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
        assert_eq!(source_tree_in_place(), tree);
        assert_eq!(source_tree(), tree);
    }

    #[test]
    fn a_program_that_was_moved_is_not_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            file
        };
        let (tree, cache) = (dir.path().join("tree"), dir.path().join("cache/release"));
        let [built, elsewhere, moved] =
            ["tree/target/release/landfall", "cache/release/landfall", "bin/landfall"].map(at);
        assert!(is_in_place(&built, &tree, None));
        assert!(!is_in_place(&moved, &tree, None) && !is_in_place(&moved, &tree, Some(&cache)));
        // A target directory outside the tree counts where owners can be compared.
        assert_eq!(is_in_place(&elsewhere, &tree, Some(&cache)), cfg!(unix));
        assert!(!is_in_place(&elsewhere, &tree, None));
        // The tree, or the path it was compiled with, is gone.
        assert!(!is_in_place(&moved, &dir.path().join("gone"), Some(&dir.path().join("gone/too"))));
        assert!(!is_in_place(&elsewhere, &dir.path().join("gone"), Some(&cache)));
        // A name that only begins with the tree's is another directory.
        assert!(!is_in_place(&at("tree-2/landfall"), &tree, None));
    }

    #[cfg(unix)]
    #[test]
    fn data_of_a_package_is_in_share() {
        let dir = tempfile::tempdir().unwrap();
        for program in ["usr/bin/landfall", "downloads/landfall"] {
            fs::create_dir_all(dir.path().join(program).parent().unwrap()).unwrap();
            fs::write(dir.path().join(program), "").unwrap();
        }
        let of = |program: &str| shared_dir_of(&dir.path().join(program));
        assert_eq!(of("usr/bin/landfall"), None, "there is none");
        let shared = dir.path().join("usr/share/landfall");
        fs::create_dir_all(&shared).unwrap();
        fs::create_dir_all(dir.path().join("share/landfall")).unwrap();
        assert_eq!(of("usr/bin/landfall"), Some(shared.clone()));
        assert_eq!(of("downloads/landfall"), None);
        // Only root can give it to another user.
        if std::os::unix::fs::chown(&shared, Some(12_345), None).is_ok() {
            assert_eq!(of("usr/bin/landfall"), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_tree_of_another_user_is_not_trusted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(has_same_owner(file.path(), file.path()));
        // Every user's processes belong to that user, and the first to root; a test run by root has a file of another.
        use std::os::unix::fs::MetadataExt;
        let other = if file.path().metadata().unwrap().uid() == 0 {
            let Ok(()) = std::os::unix::fs::chown(file.path(), Some(12_345), None) else { return };
            Path::new("/proc/1")
        } else {
            Path::new("/")
        };
        assert!(!has_same_owner(file.path(), other));
    }
}
