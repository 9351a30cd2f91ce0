//! `quantise`: post-training static quantisation of an encoder that `finetune` trained.
//!
//! Activation ranges are calibrated on training pictures; weights have one scale per output. (The scheme is that of
//! Jacob et al., arXiv:1712.05877, expressed as pairs of QuantizeLinear and DequantizeLinear.)

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::exit::check_failed;
use landfall_common::fs::{write_atomic, write_json};
use landfall_model::bundle::Activations;
use landfall_model::classifier::Encoder;

use crate::data::images::Images;
use crate::data::index;
use crate::encoder::lite::onnx_writer::{self, ActivationRange, Arithmetic};
use crate::encoder::lite::{self, Lite};
use crate::features::encoder_spec::EncoderSpec;
use crate::head::model::Head;

/// Quantise an encoder to 8-bit integer arithmetic
///
/// Writes `encoder.onnx` and `encoder.json`, for use with `embed`, `fit` and `export`, and in `head` a copy of the head
/// for this encoder. Fails with exit code 1 if the mean cosine similarity to the original embeddings is below --cosine.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train quantise --encoder runs/pocket/encoder.json --head runs/pocket/head --index index.csv --images photos --split train --out runs/pocket-bytes"
)]
pub(crate) struct Args {
    /// Description of the encoder, written by `finetune` or `export`
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    encoder: PathBuf,
    /// Folder of the head for this encoder
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    head: Option<PathBuf>,
    /// Index of the pictures (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: PathBuf,
    /// Folder that the file names in the index are relative to
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    images: PathBuf,
    /// Split of the index to use (repeatable) [default: all]
    #[arg(long, help_heading = "Input")]
    split: Vec<String>,
    /// Number of calibration pictures, evenly spaced in the index
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Input")]
    pictures: u32,
    /// Minimum mean cosine similarity between the embeddings of both encoders
    #[arg(long, default_value_t = 0.97, help_heading = "Output")]
    cosine: f32,
    /// Folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, the head is for a different encoder, or the embeddings differ too much.
pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = EncoderSpec::read(&args.encoder)?;
    let encoder_dir = args.encoder.parent().unwrap_or(Path::new("."));
    if std::path::absolute(encoder_dir)? == std::path::absolute(&args.out)? {
        bail!("{} contains the input encoder; choose another --out", args.out.display());
    }
    let head = args.head.as_ref().map(|folder| Head::load(folder)).transpose()?;
    if let (Some(folder), Some(head)) = (&args.head, &head)
        && head.description.encoder != spec
    {
        bail!("{} was not trained on features of {}", folder.display(), args.encoder.display());
    }
    let source = spec.encoder.locate(encoder_dir)?.network;
    let network = Lite::read(&source, &Device::flex())?;
    let projection = lite::projection(&source)?;
    let projection = projection.with_context(|| format!("{} was not written by finetune", source.display()))?;
    let rows = index::read_splits(&args.index, &args.split)?;
    let count = (args.pictures as usize).min(rows.len());
    let images = Images::open(&args.images)?;
    let chosen = (0..count).map(|i| {
        let row = &rows[i * rows.len() / count];
        images.picture(&row.file).with_context(|| format!("index line {}", row.line))
    });
    let chosen: Vec<RgbImage> = chosen.collect::<Result<_>>()?;

    let ranges = ranges(&network, &spec, &chosen)?;
    let bytes = onnx_writer::write_encoder(
        &network.fold_batch_norm()?,
        projection,
        spec.preprocess.size as usize,
        Arithmetic::Int8(&ranges),
    );
    // Written under another name until the check has passed.
    let file = args.out.join("candidate.onnx");
    write_atomic(&file, &bytes)?;
    let mut quantised_spec = spec.clone().of_file(&file)?;
    quantised_spec.encoder.activations = Activations::ExactConv;
    let cosine = cosine((&source, &spec), (&file, &quantised_spec), &chosen)?;
    eprintln!("mean cosine similarity to {} on {count} pictures: {cosine:.4}", source.display());
    if cosine.is_nan() || cosine < args.cosine {
        let _ = std::fs::remove_file(&file); // the error below is more important
        let why =
            format!("the mean cosine similarity of the embeddings, {cosine:.4}, is below --cosine {}", args.cosine);
        return Err(check_failed(why));
    }
    let accepted = args.out.join("encoder.onnx");
    std::fs::rename(&file, &accepted).with_context(|| format!("cannot write {}", accepted.display()))?;
    write_json(&args.out.join("encoder.json"), &quantised_spec)?;
    if let Some(mut head) = head {
        head.description.encoder = quantised_spec;
        head.save(&args.out.join("head"))?;
    }
    eprintln!("wrote {}, {} bytes", args.out.display(), bytes.len());
    if args.json {
        let out = args.out.display().to_string();
        let summary = serde_json::json!({ "out": out, "bytes": bytes.len(), "pictures": count, "cosine": cosine });
        println!("{summary}");
    }
    Ok(())
}

/// Activation ranges of an encoder on these pictures.
fn ranges(network: &Lite, spec: &EncoderSpec, pictures: &[RgbImage]) -> Result<Vec<ActivationRange>> {
    let (squares, side) = (spec.preprocess.squares(), spec.preprocess.size as usize);
    let shape = lite::patches_shape(squares, side);
    let mut ranges: Vec<ActivationRange> = Vec::new();
    for picture in progress("calibrating", pictures)?.wrap_iter(pictures.iter()) {
        let patches = lite::patches_of(picture, &spec.preprocess);
        let mut maps = 0;
        network.forward_observed(Tensor::from_data(TensorData::new(patches, shape), &Device::flex()), &mut |map| {
            let (low, high) = (map.clone().min().into_scalar::<f32>(), map.clone().max().into_scalar::<f32>());
            if maps == ranges.len() {
                ranges.push(ActivationRange::ZERO);
            }
            let ActivationRange { low: lowest, high: highest } = ranges[maps];
            ranges[maps] = ActivationRange { low: lowest.min(low), high: highest.max(high) };
            maps += 1;
        });
    }
    Ok(ranges)
}

/// Mean cosine similarity between the embeddings of two encoders for the same squares.
fn cosine(a: (&Path, &EncoderSpec), b: (&Path, &EncoderSpec), pictures: &[RgbImage]) -> Result<f32> {
    let load = |(file, spec): (&Path, &EncoderSpec)| {
        Encoder::load(&file.into(), spec.encoder.clone(), spec.preprocess.clone(), 1)
    };
    let ([a, b], dim) = ([load(a)?, load(b)?], a.1.encoder.dim);
    let mut cosines = Vec::new();
    for picture in progress("comparing", pictures)?.wrap_iter(pictures.iter()) {
        let (a, b) = (a.embed(0, picture)?, b.embed(0, picture)?);
        let squares = a.chunks_exact(dim).zip(b.chunks_exact(dim));
        // Both have unit length.
        cosines.extend(squares.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()));
    }
    Ok(cosines.iter().sum::<f32>() / cosines.len() as f32)
}

fn progress(name: &str, pictures: &[RgbImage]) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template(&format!("{name}: {{wide_bar}} {{pos}}/{{len}} pictures, {{eta}} left"))?;
    Ok(ProgressBar::new(pictures.len() as u64).with_style(style))
}
