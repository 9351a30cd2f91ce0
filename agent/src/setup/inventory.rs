//! The files of installed bundles: where they are, whether they are as described, and removing those in the cache directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_model::bundle::{self, sha256_of};
use landfall_model::{Bundle, Error};
use serde::Serialize;

use super::plan::is_network;

/// A bundle with its files.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Directory of `bundle.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<PathBuf>,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// Whether all files are there; their contents are not checked.
    pub(crate) complete: bool,
    pub(crate) files: Vec<BundleFile>,
    /// Why the bundle cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct BundleFile {
    pub(crate) file: String,
    /// Where it is, or will be.
    pub(crate) path: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) present: bool,
}

/// Where a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// It is distributed with `bundle.json`.
    Bundle,
    /// It is fetched from a package.
    Download,
    /// It is computed from the encoder of another bundle.
    Computed,
}

/// Whether a file is as `bundle.json` describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) bundle: String,
    pub(crate) file: String,
    pub(crate) ok: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// What was removed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Removed {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) bytes: u64,
    /// Files that stay, and why.
    pub(crate) kept: Vec<String>,
}

/// The bundle with this name and the files that it consists of.
pub(crate) fn entry(name: &str) -> Entry {
    match Bundle::find(name) {
        Ok(bundle) => {
            let files = files(&bundle);
            let bytes = match bundle.files_in_memory() {
                Some(files) => files.values().map(|contents| contents.len() as u64).sum(),
                None => files.iter().filter_map(|file| Some(file.path.metadata().ok()?.len())).sum(),
            };
            let complete = files.iter().all(|file| file.present);
            let version = Some(bundle.manifest.version);
            Entry { name: name.to_owned(), version, dir: Some(bundle.dir), bytes, complete, files, error: None }
        }
        Err(error) => {
            let error = Some(format!("{:#}", anyhow::Error::from(error)));
            Entry { name: name.to_owned(), version: None, dir: None, bytes: 0, complete: false, files: vec![], error }
        }
    }
}

fn files(bundle: &Bundle) -> Vec<BundleFile> {
    let manifest = &bundle.manifest;
    let encoder = &manifest.encoder;
    let moments = encoder.derived.as_ref().map(|derived| &derived.moments);
    let tensors = encoder.adapter.iter().chain(moments).map(|tensors| &tensors.file);
    let names = ["bundle.json".to_owned(), manifest.cells.file.clone(), manifest.head.file.clone()];
    let shipped = names.iter().chain(tensors).map(|name| (name.clone(), bundle.dir.join(name), Origin::Bundle));
    let beside = bundle.dir.join(&encoder.file);
    let origin = match (&encoder.from, &encoder.derived) {
        _ if beside.exists() => Origin::Bundle,
        (Some(_), _) => Origin::Download,
        (None, Some(_)) => Origin::Computed,
        (None, None) => Origin::Bundle,
    };
    let path = encoder.cached().filter(|_| !beside.exists()).unwrap_or(beside);
    let files = shipped.chain([(encoder.file.clone(), path, origin)]);
    let present = |path: &Path| bundle.files_in_memory().is_some() || path.is_file();
    files.map(|(file, path, origin)| BundleFile { present: present(&path), file, path, origin }).collect()
}

/// Checks every file of a bundle by SHA-256.
///
/// # Errors
/// When there is no such bundle.
pub(crate) fn verify(name: &str) -> Result<Vec<Check>> {
    let check = |file: &str, problem: Option<String>| Check {
        bundle: name.to_owned(),
        file: file.to_owned(),
        ok: problem.is_none(),
        detail: problem,
    };
    let bundle = match Bundle::find(name) {
        Ok(bundle) => bundle,
        Err(error @ Error::UnknownBundle { .. }) => return Err(error.into()),
        Err(error) => {
            let problem = format!("{:#}; {}", anyhow::Error::from(error), repair(name, Origin::Bundle));
            return Ok(vec![check("bundle.json and cells", Some(problem))]);
        }
    };
    if bundle.files_in_memory().is_some() {
        return Ok(vec![check("the files in the program", None)]);
    }
    let manifest = &bundle.manifest;
    // The bundle was opened: both are as described.
    let mut checks = vec![check("bundle.json", None), check(&manifest.cells.file, None)];
    let head = bundle.head_path().err().map(|error| format!("{error}; {}", repair(name, Origin::Bundle)));
    checks.push(check(&manifest.head.file, head));
    let moments = manifest.encoder.derived.as_ref().map(|derived| &derived.moments);
    for tensors in manifest.encoder.adapter.iter().chain(moments) {
        let problem = match sha256_of(&bundle.dir.join(&tensors.file)) {
            Ok(found) if found == tensors.sha256 => None,
            Ok(found) => Some(format!("is damaged: sha256 {found}, expected {}", tensors.sha256)),
            Err(error) => Some(error.to_string()),
        };
        checks.push(check(&tensors.file, problem.map(|why| format!("{why}; {}", repair(name, Origin::Bundle)))));
    }
    let encoder = files(&bundle).pop();
    checks.extend(encoder.map(|file| {
        let problem = match (file.present, is_network(&file.path, &manifest.encoder)) {
            (true, true) => None,
            (true, false) => Some("is damaged"),
            (false, _) => Some("is not installed"),
        };
        let problem = problem.map(|why| format!("{why}; {}", repair(name, file.origin)));
        check(&file.path.display().to_string(), problem)
    }));
    Ok(checks)
}

fn repair(name: &str, origin: Origin) -> String {
    #[cfg(feature = "embed")]
    let origin =
        match bundle::cache_dir().is_some_and(|cache| super::embedded::is_ours(&cache.join("bundles").join(name))) {
            true => Origin::Download,
            false => origin,
        };
    match origin {
        Origin::Bundle => "restore it from the release, or in a checkout with `git checkout model/bundles`".into(),
        Origin::Download | Origin::Computed => format!("`landfall bundle pull {name}` installs it"),
    }
}

/// Removes the files of bundles that set-up has put into the cache directory and that no other installed bundle needs.
///
/// # Errors
/// When there is no such bundle, or a file cannot be removed.
pub(crate) fn remove(names: &[String]) -> Result<Removed> {
    let cache = bundle::cache_dir().map(|cache| cache.join("bundles"));
    let chosen = names.iter().map(|name| Bundle::find(name)).collect::<Result<Vec<_>, _>>()?;
    let dirs: BTreeSet<_> = chosen.iter().map(|bundle| bundle.dir.clone()).collect();
    let others: Vec<Bundle> = bundle::names().iter().filter_map(|name| Bundle::find(name).ok()).collect();
    let others: Vec<Bundle> = others.into_iter().filter(|other| !dirs.contains(&other.dir)).collect();
    let mut removed = Removed::default();
    for bundle in &chosen {
        #[cfg(feature = "embed")]
        if bundle.dir.parent() == cache.as_deref() && super::embedded::is_ours(&bundle.dir) {
            let (files, bytes) = super::embedded::remove(&bundle.dir)?;
            removed.files.extend(files);
            removed.bytes += bytes;
            continue;
        }
        let encoder = &bundle.manifest.encoder;
        // What lies beside bundle.json was not put there by set-up.
        let Some(file) = encoder.cached().filter(|file| file.parent() == cache.as_deref() && is_regular(file)) else {
            continue;
        };
        if let Some(other) = others.iter().find(|other| needs(other, &encoder.sha256)) {
            removed.kept.push(format!("{}: {} needs it", file.display(), other.manifest.name));
            continue;
        }
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let failed = || environment_error(format!("cannot delete {}", file.display()));
        std::fs::remove_file(&file).with_context(failed)?;
        // Written by set-up of earlier versions.
        _ = std::fs::remove_file(file.with_extension("checked"));
        removed.bytes += bytes;
        removed.files.push(file);
    }
    Ok(removed)
}

/// Whether a bundle has this encoder, or will compute its own from it.
fn needs(bundle: &Bundle, sha256: &str) -> bool {
    let encoder = &bundle.manifest.encoder;
    let derives = encoder.derived.as_ref().is_some_and(|from| from.encoder == sha256);
    encoder.sha256 == sha256 && encoder.cached().is_some() || derives && encoder.is_absent(&bundle.dir)
}

fn is_regular(file: &Path) -> bool {
    file.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}
