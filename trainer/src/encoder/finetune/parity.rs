//! Check of the exported encoder: ONNX Runtime against burn.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use landfall_common::exit::check_failed;
use landfall_model::classifier::Encoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::student::Student;
use crate::encoder::lite;
use crate::features::encoder_spec::EncoderSpec;
use crate::head::model;
use crate::onnx::Precision;

/// Compares the embeddings of a few synthetic pictures and returns the largest difference, relative to the largest
/// value.
///
/// # Errors
/// When the difference exceeds the tolerance of the precision (exit code 1), or ONNX Runtime is missing or cannot load
/// the network.
pub(super) fn check(file: &Path, spec: &EncoderSpec, student: &Student, precision: Precision) -> Result<f32> {
    let (side, mut random) = (spec.preprocess.size as usize, StdRng::seed_from_u64(7));
    let encoder = Encoder::load(&file.into(), spec.encoder.clone(), spec.preprocess.clone(), 1)?;
    let mut largest = 0.0f32;
    for softness in [1, 8, 32] {
        // Block noise, from fine to coarse.
        let wide = side.div_ceil(softness);
        let blocks: Vec<u8> = (0..wide * wide * 3).map(|_| random.random()).collect();
        let pixel = |i: usize| ((i / 3 / side / softness) * wide + i / 3 % side / softness) * 3 + i % 3;
        let view: Vec<u8> = (0..side * side * 3).map(|i| blocks[pixel(i)]).collect();
        let picture = image::RgbImage::from_raw(side as u32, side as u32, view);
        let picture = picture.context("a picture has three bytes per pixel")?;
        let squares = spec.preprocess.squares();
        let mut theirs = Vec::new();
        for tensor in spec.preprocess.tensors(&picture) {
            theirs.extend(encoder.embed_tensor(0, &tensor)?);
        }
        let patches = TensorData::new(lite::patches_of(&picture, &spec.preprocess), lite::patches_shape(squares, side));
        let ours = model::to_vec(student.embed(Tensor::from_data(patches, &Device::flex())).into_data())?;
        let max = ours.iter().copied().map(f32::abs).fold(0.0, f32::max);
        // The comparison is written so that NaN counts as a difference.
        let differences = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / max);
        largest = differences.fold(largest, |largest, x| if x <= largest { largest } else { x });
    }
    let tolerance = precision.tolerance();
    if largest <= tolerance {
        return Ok(largest);
    }
    let why = format!(
        "ONNX Runtime and burn differ by {largest:.1e} on the exported encoder; the tolerance is {tolerance:.0e}"
    );
    Err(check_failed(why))
}
