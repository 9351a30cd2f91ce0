//! A bundle whose files are in memory: one that is a part of a program, on a system where nothing can be written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Bundle;
use super::manifest::Manifest;
use crate::error::{Error, Result};

/// The files of a bundle by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

static PROVIDED: OnceLock<Bundle> = OnceLock::new();

/// Makes [`Bundle::find`] find this bundle where no directory has one of its name. The first one counts.
pub fn provide(bundle: Bundle) {
    _ = PROVIDED.set(bundle);
}

pub(super) fn provided() -> Option<&'static Bundle> {
    PROVIDED.get()
}

impl Bundle {
    /// A bundle of these files, by name. Messages name `dir` as their directory, which need not exist.
    ///
    /// # Errors
    /// When `bundle.json` or the cell table is missing or invalid.
    pub fn in_memory(files: BTreeMap<String, Vec<u8>>, dir: &Path) -> Result<Self> {
        let file = dir.join("bundle.json");
        let manifest = Manifest::parse(get(&files, dir, "bundle.json")?);
        let manifest = manifest.map_err(|reason| Error::Manifest { file, source: reason.into() })?;
        let file = dir.join(&manifest.cells.file);
        let cells = manifest.parse_cells(get(&files, dir, &manifest.cells.file)?);
        let cells = cells.map_err(|reason| Error::Cells { file, source: reason.into() })?;
        Ok(Self { manifest, cells, dir: dir.to_owned(), files: Some(Arc::new(files)) })
    }

    /// The files by name, if they are in memory. Then [`Bundle::encoder_paths`] and [`Bundle::head_path`] fail.
    pub fn files_in_memory(&self) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.files.as_deref()
    }

    /// The encoder as it is run: the bytes of an ONNX file, and its path for messages.
    pub(crate) fn encoder_network(&self) -> Result<(PathBuf, Vec<u8>)> {
        let encoder = &self.manifest.encoder;
        let Some(files) = &self.files else {
            let paths = self.encoder_paths()?;
            return Ok((paths.network.clone(), paths.read(encoder.activations)?));
        };
        let path = self.dir.join(&encoder.file);
        let adapter = encoder.adapter.as_ref().map(|adapter| get(files, &self.dir, &adapter.file)).transpose()?;
        let network = encoder.activations.of(get(files, &self.dir, &encoder.file)?.to_owned(), adapter);
        Ok((path.clone(), network.map_err(|reason| Error::Network { file: path, source: reason.into() })?))
    }

    /// The head: the bytes of an ONNX file, and its path for messages.
    pub(crate) fn head_network(&self) -> Result<(PathBuf, Vec<u8>)> {
        let Some(files) = &self.files else {
            let path = self.head_path()?;
            let network = super::read_network(&path)?;
            return Ok((path, network));
        };
        let file = &self.manifest.head.file;
        Ok((self.dir.join(file), get(files, &self.dir, file)?.to_owned()))
    }
}

fn get<'a>(files: &'a Files, dir: &Path, name: &str) -> Result<&'a [u8]> {
    let absent = || Error::Read { file: dir.join(name), source: std::io::ErrorKind::NotFound.into() };
    files.get(name).map(Vec::as_slice).ok_or_else(absent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::Classifier;

    #[test]
    fn a_bundle_in_memory_answers_as_on_disk() {
        let on_disk = Bundle::find("pocket").unwrap();
        let files = on_disk.dir.read_dir().unwrap().map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
        });
        let files: Files = files.collect();
        let dir = Path::new("(program)");
        let in_memory = Bundle::in_memory(files.clone(), dir).unwrap();
        assert!(on_disk.files_in_memory().is_none() && in_memory.head_path().is_err());
        assert_eq!(in_memory.files_in_memory(), Some(&files));
        let image = [image::RgbImage::from_pixel(256, 256, image::Rgb([90, 120, 60]))];
        let [a, b] =
            [on_disk, in_memory].map(|bundle| Classifier::with_workers(bundle, 1).unwrap().logits(&image).unwrap());
        assert_eq!(a, b);
        for name in ["bundle.json", "cells.json"] {
            let mut lacks = files.clone();
            lacks.remove(name);
            let error = Bundle::in_memory(lacks, dir).unwrap_err().to_string();
            assert!(error.contains(&format!("(program)/{name}")), "{error}");
        }
        for name in ["encoder.onnx", "head.onnx"] {
            let mut lacks = files.clone();
            lacks.remove(name);
            let error = Classifier::with_workers(Bundle::in_memory(lacks, dir).unwrap(), 1).err().unwrap();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
