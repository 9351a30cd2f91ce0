//! Finds the built web pages.

use std::path::{Path, PathBuf};

use anyhow::Result;
use landfall_common::exit::{environment_error, usage_error};
use landfall_model::installation;

/// The directory with the built `page` (`arena.html` or `index.html`): `folder`, or next to the executable, or in the
/// source tree that it was built from.
///
/// # Errors
/// When the page is not found.
pub(crate) fn find_page(page: &str, folder: Option<&Path>) -> Result<PathBuf> {
    let built = |dir: &Path| dir.join(page).is_file();
    if let Some(dir) = folder {
        if !built(dir) {
            return Err(usage_error(format!(
                "{} does not contain {page}: give the directory of the built pages",
                dir.display()
            )));
        }
        return Ok(dir.to_owned());
    }
    let beside = installation::program_dir().map(|dir| dir.join("web"));
    let in_tree = installation::source_tree().map(|tree| tree.join("web-demo/dist"));
    [beside, in_tree]
        .into_iter()
        .flatten()
        .find(|dir| built(dir))
        .ok_or_else(|| environment_error(format!("the page {page} is not built: put the release's directory `web` beside the program, or run `cargo xtask setup` in a checkout")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_page_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = find_page("arena.html", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        std::fs::write(dir.path().join("arena.html"), "").unwrap();
        assert_eq!(find_page("arena.html", Some(dir.path())).unwrap(), dir.path());
    }
}
