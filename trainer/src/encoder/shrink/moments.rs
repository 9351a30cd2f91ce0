//! Second moments of the activations that the linear layers multiply, and how sensitive the embedding is to each layer.
//! Both take minutes and are kept in a folder, so that other settings can be tried.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::{f32_from_le_bytes, read_json, write_atomic, write_json};
use landfall_model::classifier::Encoder;
use serde::{Deserialize, Serialize};

use super::factors::SecondMoments;
use crate::features::encoder_spec::EncoderSpec;
use crate::onnx;

/// Description of the folder.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Calibration {
    /// The encoder and its preprocessing.
    pub(super) spec: EncoderSpec,
    /// Names of the pictures in the index.
    pub(super) pictures: Vec<String>,
    /// The tensors, in the order of the files `0.f32`, `1.f32`, …, and their widths.
    pub(super) tensors: Vec<(String, usize)>,
}

const DESCRIPTION: &str = "calibration.json";
const SENSITIVITY: &str = "sensitivity.json";

/// The moments in `folder`, if it has those of this calibration, as [`SecondMoments`] by name of the tensor.
pub(super) fn load(folder: &Path, calibration: &Calibration) -> Result<Option<BTreeMap<String, SecondMoments>>> {
    let description = folder.join(DESCRIPTION);
    if !description.exists() {
        return Ok(None);
    }
    if read_json::<Calibration>(&description, "a calibration")? != *calibration {
        bail!(
            "{} holds the moments of another encoder or of other pictures; choose another --moments",
            folder.display()
        );
    }
    let read = |(i, (name, inputs)): (usize, &(String, usize))| {
        let file = folder.join(format!("{i}.f32"));
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // The number of vectors, then their sums.
        let mut numbers = f32_from_le_bytes(&bytes);
        if numbers.len() != 1 + inputs * inputs {
            bail!("{} is damaged; delete the folder", file.display());
        }
        let count = numbers.remove(0) as usize;
        Ok((name.clone(), SecondMoments::from_sums(*inputs, numbers, count)))
    };
    calibration.tensors.iter().enumerate().map(read).collect::<Result<_>>().map(Some)
}

/// Writes the moments, the description last.
pub(super) fn save(folder: &Path, calibration: &Calibration, moments: &BTreeMap<String, SecondMoments>) -> Result<()> {
    for (i, (name, _)) in calibration.tensors.iter().enumerate() {
        let Some(SecondMoments { sums, count, .. }) = moments.get(name) else { continue };
        let numbers = std::iter::once(*count as f32).chain(sums.iter().copied());
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        write_atomic(&folder.join(format!("{i}.f32")), &bytes)?;
    }
    write_json(&folder.join(DESCRIPTION), calibration)
}

/// The second moments of these tensors of a network on one square of each picture, the squares in turn.
///
/// # Errors
/// When the network fails.
pub(super) fn measure(
    network: &[u8],
    path: &Path,
    calibration: &Calibration,
    pictures: impl ExactSizeIterator<Item = Result<RgbImage>>,
) -> Result<BTreeMap<String, SecondMoments>> {
    let Calibration { spec, tensors, .. } = calibration;
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let network = onnx::with_outputs(network, &names)?;
    let encoder = Encoder::of_network(path, &network, spec.encoder.clone(), spec.preprocess.clone(), 1)?;
    let mut moments: Vec<SecondMoments> = tensors.iter().map(|(_, inputs)| SecondMoments::new(*inputs)).collect();
    let progress = progress("calibrating", pictures.len(), "pictures")?;
    for (i, picture) in pictures.enumerate() {
        let squares = spec.preprocess.squares();
        let Some(square) = spec.preprocess.tensors(&picture?).nth(i % squares) else { continue };
        for (moments, values) in moments.iter_mut().zip(encoder.outputs(0, &square, &names)?) {
            moments.add(&values)?;
        }
        progress.inc(1);
    }
    moments.iter_mut().try_for_each(SecondMoments::add_pending)?;
    progress.finish_and_clear();
    Ok(names.into_iter().map(str::to_owned).zip(moments).collect())
}

/// The sensitivities in `folder`, if they are there.
pub(super) fn load_sensitivity(folder: &Path) -> Result<Option<BTreeMap<String, f64>>> {
    let file = folder.join(SENSITIVITY);
    file.exists().then(|| read_json(&file, "sensitivities of layers")).transpose()
}

pub(super) fn save_sensitivity(folder: &Path, losses: &BTreeMap<String, f64>) -> Result<()> {
    write_json(&folder.join(SENSITIVITY), losses)
}

/// A progress bar on standard error.
pub(super) fn progress(what: &str, total: usize, unit: &str) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template(&format!("{what}: {{wide_bar}} {{pos}}/{{len}} {unit}, {{eta}} left"))?;
    Ok(ProgressBar::new(total as u64).with_style(style))
}
