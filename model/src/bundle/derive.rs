//! Encoders that are computed from the encoder of another bundle instead of being downloaded; see [`shrink`].
//!
//! The result is kept in the user's cache directory, compressed, so that this happens once.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::network_file::read_network;
use super::{AdapterFile, Derived, EncoderFile, MAX_MANIFEST_BYTES, Manifest, gzip, read, read_limited};
use crate::error::{Error, Result};
use crate::onnx::shrink::shrink;

impl EncoderFile {
    /// Whether [`EncoderFile::locate`] will compute the encoder from that of another bundle, which takes some seconds.
    pub fn will_be_derived(&self, dir: &Path) -> bool {
        self.derived.is_some() && self.is_absent(dir)
    }

    /// Computes the encoder from that of another bundle, which must be installed, and keeps it in the user's cache
    /// directory. Processes that do so at the same time do not disturb each other: each writes its own file and moves it
    /// into place.
    pub(super) fn derive(&self, derived: &Derived, dir: &Path) -> Result<PathBuf> {
        let failed = |source| Error::Derivation { bundle: derived.bundle.clone(), source };
        let source_dir = dir.join("..").join(&derived.bundle);
        let file = source_dir.join("bundle.json");
        let manifest = Manifest::parse(&read_limited(&file, MAX_MANIFEST_BYTES)?);
        let source = manifest.map_err(|reason| Error::Manifest { file, source: reason.into() })?.encoder;
        let adapter = source.adapter.as_ref().map(|adapter| &adapter.sha256);
        if source.sha256 != derived.encoder || adapter != derived.adapter.as_ref() {
            return Err(failed("it is of another version".into()));
        }
        let paths = source.locate(&source_dir)?;
        let scales = self.adapter.as_ref().ok_or_else(|| failed("no input scales are named".into()))?;
        let beside = |file: &AdapterFile| read(&super::checked(&dir.join(&file.file), &file.sha256)?);
        let (moments, scales) = (beside(&derived.moments)?, beside(scales)?);
        let adapter = paths.adapter.as_deref().map(read).transpose()?;
        let network = shrink(&read_network(&paths.network)?, adapter.as_deref(), &moments, &scales)
            .map_err(|reason| failed(reason.into()))?;
        let found: String = Sha256::digest(&network).iter().map(|byte| format!("{byte:02x}")).collect();
        if found != self.sha256 {
            return Err(failed(format!("the result has sha256 {found}, expected {}", self.sha256).into()));
        }
        let target = self.cached().ok_or_else(|| failed("there is no cache directory; set LANDFALL_CACHE".into()))?;
        write(&target, &gzip::compress(&network)).map_err(|source| Error::Write { file: target.clone(), source })?;
        Ok(target)
    }
}

fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // A temporary file is private; this one is like those that set-up downloads.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.persist(target)?;
    Ok(())
}
