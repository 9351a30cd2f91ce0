//! Checkpoints: after every epoch a run saves the state it needs to resume to a bit-identical result.
//!
//! A checkpoint is one file: a line of JSON, then the bytes of the network, its optimizers and the best weights so far.
//! The state of the random number generator is not saved, because it is derived from the seed and the epoch.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::fs::{f32_from_le_bytes, write_atomic};
use landfall_model::CellTable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::features::samples::Sample;
use crate::head::model::{Layers, Moments};
use crate::head::recipe::{Recipe, is_unset};
use crate::io::hash;

/// Maximum length of the first line.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Where a command stores its checkpoints, and whether to resume from them.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    /// Folder with one file per run.
    pub(crate) dir: PathBuf,
    /// Whether to resume from existing checkpoints; otherwise they are overwritten.
    pub(crate) resume: bool,
}

/// The state of a run at the end of an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrainingState {
    /// Completed epochs; for `finetune`, completed steps.
    pub(crate) epoch: usize,
    /// Serialised network, optimizers and other training state.
    pub(crate) bytes: Vec<Vec<u8>>,
    /// With early stopping, the epoch with the most points on the held-out fold.
    pub(crate) best: Option<BestEpoch>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BestEpoch {
    /// Epoch number, counted from 1.
    pub(crate) epoch: usize,
    /// Mean points on the held-out fold.
    pub(crate) points: f64,
    /// The folded layers.
    pub(crate) layers: Layers,
}

#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    epoch: usize,
    lengths: Vec<usize>,
    best: Option<BestEpochHeader>,
}

#[derive(Serialize, Deserialize)]
struct BestEpochHeader {
    epoch: usize,
    points: f64,
    /// Number of weights and number of biases of each layer.
    sizes: Vec<(usize, usize)>,
}

impl Header {
    /// Length of what follows the header; `None` if it is not a possible one.
    fn body_bytes(&self) -> Option<u64> {
        let sizes = self.best.iter().flat_map(|best| &best.sizes).flat_map(|(weights, bias)| [*weights, *bias]);
        let numbers = sizes.map(|n| n.checked_mul(4));
        let lengths = self.lengths.iter().map(|n| Some(*n)).chain(numbers);
        lengths.map(|n| u64::try_from(n?).ok()).try_fold(0u64, |sum, n| sum.checked_add(n?))
    }
}

impl Checkpoints {
    /// The checkpoint file of a run.
    pub(crate) fn file(&self, run: &str) -> PathBuf {
        self.dir.join(format!("{}.checkpoint", run.replace(' ', "-")))
    }

    /// Loads the state to resume from; `None` to start from scratch.
    ///
    /// # Errors
    /// When the file is damaged, or belongs to a different recipe or different data.
    pub(crate) fn load(&self, run: &str, fingerprint: &str) -> Result<Option<TrainingState>> {
        let file = self.file(run);
        if self.resume && file.exists() { read(&file, fingerprint).map(Some) } else { Ok(None) }
    }

    /// Saves the state of a run, replacing the previous one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, run: &str, fingerprint: &str, state: &TrainingState) -> Result<()> {
        let best = state.best.as_ref().map(|best| BestEpochHeader {
            epoch: best.epoch,
            points: best.points,
            sizes: best.layers.iter().map(|(weights, bias)| (weights.len(), bias.len())).collect(),
        });
        let lengths = state.bytes.iter().map(Vec::len).collect();
        let header = Header { fingerprint: fingerprint.into(), epoch: state.epoch, lengths, best };
        let mut bytes = serde_json::to_vec(&header)?;
        bytes.push(b'\n');
        state.bytes.iter().for_each(|part| bytes.extend(part));
        let layers = state.best.iter().flat_map(|best| &best.layers);
        bytes.extend(layers.flat_map(|(weights, bias)| weights.iter().chain(bias)).flat_map(|x| x.to_le_bytes()));
        write_atomic(&self.file(run), &bytes)
    }

    /// Whether any run has a checkpoint.
    pub(crate) fn has_any(&self) -> bool {
        std::fs::read_dir(&self.dir).is_ok_and(|mut files| files.next().is_some())
    }

    /// Removes the folder: after the command has succeeded, or to start from scratch.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove(&self) -> Result<()> {
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))?;
        }
        Ok(())
    }
}

fn read(file: &Path, fingerprint: &str) -> Result<TrainingState> {
    let read_failed = || format!("cannot read {}", file.display());
    let damaged =
        || format!("{} is not a valid checkpoint; delete it and start again without --resume", file.display());
    let mut reader = BufReader::new(File::open(file).with_context(read_failed)?);
    let mut line = Vec::new();
    (&mut reader).take(MAX_HEADER_BYTES).read_until(b'\n', &mut line).with_context(read_failed)?;
    let header: Option<Header> = serde_json::from_slice(&line).ok();
    let header = header.with_context(damaged)?;
    if header.fingerprint != fingerprint {
        bail!("{} belongs to a different recipe or different data; start again without --resume", file.display());
    }
    // The rest is read only if its length is the stated one.
    let bytes = header.body_bytes().with_context(damaged)?;
    let mut rest = Vec::new();
    reader.take(bytes.saturating_add(1)).read_to_end(&mut rest).with_context(read_failed)?;
    if rest.len() as u64 != bytes {
        bail!(damaged());
    }
    let mut rest = rest.as_slice();
    let mut take = |n: usize| {
        let (taken, left) = rest.split_at_checked(n)?;
        rest = left;
        Some(taken.to_vec())
    };
    let parts = header.lengths.iter().map(|n| take(*n)).collect::<Option<Vec<_>>>().with_context(damaged)?;
    let mut floats = |n: usize| take(4 * n).map(|bytes| f32_from_le_bytes(&bytes));
    let mut best = None;
    if let Some(BestEpochHeader { epoch, points, sizes }) = header.best {
        let layers = sizes.into_iter().map(|(weights, bias)| Some((floats(weights)?, floats(bias)?)));
        best = Some(BestEpoch { epoch, points, layers: layers.collect::<Option<_>>().with_context(damaged)? });
    }
    Ok(TrainingState { epoch: header.epoch, bytes: parts, best })
}

/// Fingerprint of the recipe and the data of a run. The learning rate is excluded, so that a diverged run can resume
/// from its last good checkpoint with a lower one.
///
/// # Errors
/// When a file named in the recipe cannot be read.
pub(crate) fn fingerprint(
    recipe: &Recipe,
    seed: u64,
    samples: &[&Sample],
    table: &CellTable,
    moments: &Moments,
) -> Result<String> {
    let mut recipe = recipe.clone();
    recipe.train.lr = 1.0;
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(&(recipe.settings()?, seed, samples.len(), &table.cells))?);
    for row in samples.iter().map(|sample| &sample.row) {
        digest.update(format!("{:?}", (&row.file, &row.at, &row.iso2, &row.group)));
    }
    let embeddings = [&recipe.cell_embeddings.file, &recipe.cell_embeddings.start];
    let embeddings = embeddings.into_iter().filter(|file| !is_unset(file));
    for file in recipe.staggered.cells.iter().chain(embeddings) {
        digest.update(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    moments.mean.iter().chain(&moments.deviation).for_each(|x| digest.update(x.to_le_bytes()));
    Ok(hash::hex(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::index::Row;
    use landfall_model::LatLng;
    use landfall_model::cells::{Cell, leaf};

    #[test]
    fn a_checkpoint_is_restored_only_for_the_same_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints { dir: dir.path().join("new"), resume: true };
        let best =
            BestEpoch { epoch: 2, points: 1234.5, layers: vec![(vec![1.0, 2.0], vec![3.0]), (vec![4.0], vec![5.0])] };
        let state = TrainingState { epoch: 3, bytes: vec![vec![1, 10, 3], vec![], vec![b'\n'; 4]], best: Some(best) };
        assert_eq!(checkpoints.load("a run", "f").unwrap(), None);
        checkpoints.save("a run", "f", &state).unwrap();
        assert_eq!(checkpoints.load("a run", "f").unwrap(), Some(state));
        assert!(checkpoints.load("a run", "g").unwrap_err().to_string().contains("different recipe"));
        let fresh = Checkpoints { resume: false, ..checkpoints.clone() };
        assert_eq!(fresh.load("a run", "f").unwrap(), None);
        let file = checkpoints.file("a run");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
        assert!(checkpoints.load("a run", "f").unwrap_err().to_string().contains("is not a valid checkpoint"));
        for header in [
            "",
            "[",
            r#"{"fingerprint":"f","epoch":1,"lengths":[18446744073709551615,2],"best":null}"#,
            r#"{"fingerprint":"f","epoch":1,"lengths":[4],"best":{"epoch":1,"points":1,"sizes":[[4611686018427387905,1]]}}"#,
            r#"{"fingerprint":"f","epoch":1,"lengths":[1000000000000],"best":null}"#,
            &"x".repeat(3 << 20),
        ] {
            std::fs::write(&file, format!("{header}\nsome bytes")).unwrap();
            assert!(checkpoints.load("a run", "f").unwrap_err().to_string().contains("is not a valid checkpoint"));
        }
        checkpoints.remove().unwrap();
        assert!(!checkpoints.dir.exists());
    }

    #[test]
    fn the_fingerprint_ignores_only_the_learning_rate() {
        let moments = Moments { mean: vec![0.0], deviation: vec![1.0] };
        let table = |lat: f64| {
            let at = LatLng::new(lat, 2.0).unwrap();
            let token = leaf(at).parent(6).to_token();
            CellTable::new(vec![Cell { token, level: 6, at, spread_m: 1.0, count: 1, country: None }]).unwrap()
        };
        let sample = |lat: f64| Sample {
            row: Row { at: LatLng::new(lat, 2.0).ok(), ..Row::default() },
            variants: vec![vec![0.0]],
        };
        let fingerprint_at = |recipe: &Recipe, picture: f64, cell: f64| {
            fingerprint(recipe, 1, &[&sample(picture)], &table(cell), &moments).unwrap()
        };
        let fingerprint_of = |recipe: &Recipe| fingerprint_at(recipe, 48.0, 48.0);
        let (mut slower, mut longer) = (Recipe::default(), Recipe::default());
        slower.train.lr = 1e-5;
        longer.train.epochs = 99;
        assert_eq!(fingerprint_of(&slower), fingerprint_of(&Recipe::default()));
        assert_ne!(fingerprint_of(&longer), fingerprint_of(&Recipe::default()));
        assert_ne!(fingerprint_at(&slower, 48.1, 48.0), fingerprint_of(&slower), "the location of a picture matters");
        assert_ne!(fingerprint_at(&slower, 48.0, 48.1), fingerprint_of(&slower), "the location of a cell matters");
    }
}
