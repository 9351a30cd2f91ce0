//! Feature folders: embeddings of images on disk.
//!
//! A folder contains `encoder.json` (the encoder and preprocessing), `files.txt` (one image per line) and `rows.f32`
//! (one embedding per line of `files.txt`, little-endian). Both are appended to; a partial record left by an
//! interrupted run is truncated when the folder is opened again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::fs::{f32_from_le_bytes, open_append, write_json};

use crate::features::encoder_spec::EncoderSpec;

/// A feature folder open for writing.
pub(crate) struct FeatureFolder {
    /// The encoder and preprocessing of its features.
    pub(crate) spec: EncoderSpec,
    /// Images in the folder when it was opened; [`FeatureFolder::append`] does not update it.
    pub(crate) done: HashSet<PathBuf>,
    files: File,
    rows: File,
}

impl FeatureFolder {
    /// Opens a folder for appending and truncates partial records; creates it if missing.
    ///
    /// # Errors
    /// If it cannot be written or contains features of another encoder.
    pub(crate) fn open(dir: &Path, spec: &EncoderSpec) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let description = dir.join("encoder.json");
        if description.exists() {
            if EncoderSpec::read(&description)? != *spec {
                bail!("{} contains features of another encoder or preprocessing; choose another --out", dir.display());
            }
        } else {
            write_json(&description, spec)?;
        }
        let append = |name: &str| {
            let path = dir.join(name);
            open_append(&path).with_context(|| format!("cannot write {}", path.display()))
        };
        let (files, rows) = (append("files.txt")?, append("rows.f32")?);
        // Keep the records that are complete in both files.
        let mut lines: Vec<String> = Vec::new();
        let mut reader = BufReader::new(File::open(dir.join("files.txt"))?);
        let mut line = Vec::new();
        // Read bytes: the last line may end within a UTF-8 character.
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            lines.push(String::from_utf8(std::mem::take(&mut line)).context("files.txt is not valid UTF-8")?);
        }
        let row_bytes = spec.width() as u64 * 4;
        let complete = lines.len().min(usize::try_from(rows.metadata()?.len() / row_bytes)?);
        lines.truncate(complete);
        files.set_len(lines.iter().map(|line| line.len() as u64).sum())?;
        rows.set_len(complete as u64 * row_bytes)?;
        let done = lines.iter().map(|line| PathBuf::from(line.trim_end_matches('\n'))).collect();
        Ok(Self { spec: spec.clone(), done, files, rows })
    }

    /// Appends the embedding of an image.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn append(&mut self, file: &Path, embedding: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = embedding.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.rows.write_all(&bytes)?;
        self.files.write_all(format!("{}\n", file.display()).as_bytes())?;
        Ok(())
    }
}

/// Loads a feature folder: the encoder description, and the embedding of each image by its file name.
///
/// # Errors
/// If the folder is not a feature folder, or is truncated (running `embed` again repairs it).
pub fn load(dir: &Path) -> Result<(EncoderSpec, HashMap<PathBuf, Vec<f32>>)> {
    let spec = EncoderSpec::read(&dir.join("encoder.json"))?;
    let files =
        fs::read_to_string(dir.join("files.txt")).with_context(|| format!("no features in {}", dir.display()))?;
    let rows = fs::read(dir.join("rows.f32")).with_context(|| format!("no features in {}", dir.display()))?;
    if Some(rows.len()) != files.lines().count().checked_mul(spec.width() * 4) {
        bail!(
            "{}: files.txt and rows.f32 do not match; run `landfall-train embed` again to repair them",
            dir.display()
        );
    }
    let rows = rows.chunks_exact(spec.width() * 4).map(f32_from_le_bytes);
    Ok((spec, files.lines().map(PathBuf::from).zip(rows).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::bundle::EncoderFile;
    use std::fs::OpenOptions;

    #[test]
    fn a_truncated_feature_folder_is_repaired_and_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let spec: EncoderSpec = serde_json::from_str(
            r#"{"encoder":{"file":"e","sha256":"","bytes":0,"input":"i","output":"o","dim":2},
                "preprocess":{"size":4,"resize":"bicubic","crop":"center","mean":[0,0,0],"std":[1,1,1]}}"#,
        )
        .unwrap();
        let mut folder = FeatureFolder::open(dir.path(), &spec).unwrap();
        for (file, embedding) in [("a.jpg", [1.0, 2.0]), ("b.jpg", [3.0, 4.0]), ("c.jpg", [5.0, 6.0])] {
            folder.append(Path::new(file), &embedding).unwrap();
        }
        drop(folder);
        // As after a crash: the third row is partial, and the fourth name lacks its line end.
        let rows = OpenOptions::new().write(true).open(dir.path().join("rows.f32")).unwrap();
        rows.set_len(2 * 8 + 5).unwrap();
        let mut names = OpenOptions::new().append(true).open(dir.path().join("files.txt")).unwrap();
        names.write_all("d-é".as_bytes().split_last().unwrap().1).unwrap();
        assert!(load(dir.path()).is_err());

        let mut folder = FeatureFolder::open(dir.path(), &spec).unwrap();
        assert_eq!(folder.done, ["a.jpg", "b.jpg"].map(PathBuf::from).into());
        folder.append(Path::new("c.jpg"), &[7.0, 8.0]).unwrap();
        let (_, features) = load(dir.path()).unwrap();
        assert_eq!(features[Path::new("b.jpg")], [3.0, 4.0]);
        assert_eq!(features[Path::new("c.jpg")], [7.0, 8.0]);
        assert_eq!(features.len(), 3);

        let other = EncoderSpec { encoder: EncoderFile { sha256: "other".into(), ..spec.encoder.clone() }, ..spec };
        assert!(FeatureFolder::open(dir.path(), &other).is_err());
    }
}
