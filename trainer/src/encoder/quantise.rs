//! `quantise`: an encoder that computes with bytes, from one that `finetune` made.
//!
//! What the maps between convolutions reach is measured on training pictures; weights get a scale an output.
//! (The scheme is that of Jacob et al., arXiv:1712.05877, in ONNX's pairs of QuantizeLinear and DequantizeLinear.)

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

/// Makes an encoder compute with bytes, as measured on some pictures.
///
/// Writes `encoder.onnx` and `encoder.json`, which `embed`, `fit` and `export` take, and in `head` the given head for this
/// encoder. An encoder whose embeddings turn by more than --cosine allows is refused (exit 1).
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train quantise --encoder runs/pocket/encoder.json --head runs/pocket/head --index index.csv --images photos --split train --out runs/pocket-bytes"
)]
pub(crate) struct Args {
    /// Description of the encoder, as `finetune` or `export` wrote it
    #[arg(long)]
    encoder: PathBuf,
    /// Folder of the head that belongs to it
    #[arg(long)]
    head: Option<PathBuf>,
    /// Index of the pictures (csv or parquet)
    #[arg(long)]
    index: PathBuf,
    /// Folder that the index's file names are relative to
    #[arg(long)]
    images: PathBuf,
    /// Only this split of the index, or these (repeat the option)
    #[arg(long)]
    split: Vec<String>,
    /// Number of calibration images, taken evenly from the index
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pictures: u32,
    /// Lowest mean cosine between embeddings of both encoders
    #[arg(long, default_value_t = 0.97)]
    cosine: f32,
    /// Folder to write
    #[arg(long)]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, the head is another encoder's, or the embeddings turn too far.
pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = EncoderSpec::read(&args.encoder)?;
    let encoder_dir = args.encoder.parent().unwrap_or(Path::new("."));
    if std::path::absolute(encoder_dir)? == std::path::absolute(&args.out)? {
        bail!("{} holds the encoder that is read; choose another --out", args.out.display());
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
    let wanted = (args.pictures as usize).min(rows.len());
    let images = Images::open(&args.images)?;
    let chosen = (0..wanted).map(|i| Ok(images.picture(&rows[i * rows.len() / wanted].file)?));
    let chosen: Vec<RgbImage> = chosen.collect::<Result<_>>()?;

    let ranges = ranges(&network, &spec, &chosen)?;
    let bytes = onnx_writer::write_encoder(
        &network.fold_batch_norm()?,
        projection,
        spec.preprocess.size as usize,
        Arithmetic::Int8(&ranges),
    );
    // Under another name until it is found good enough.
    let file = args.out.join("candidate.onnx");
    write_atomic(&file, &bytes)?;
    let mut quantised_spec = spec.clone().of_file(&file)?;
    quantised_spec.encoder.activations = Activations::ExactConv;
    let cosine = cosine((&source, &spec), (&file, &quantised_spec), &chosen)?;
    eprintln!("embeddings of {wanted} pictures have a mean cosine of {cosine:.4} to those of {}", source.display());
    if cosine.is_nan() || cosine < args.cosine {
        let _ = std::fs::remove_file(&file); // what is said below is what matters
        let why = format!("the embeddings turn too far: a mean cosine of {cosine:.4} is less than {}", args.cosine);
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
    Ok(())
}

/// What the maps of an encoder reach on some pictures.
fn ranges(network: &Lite, spec: &EncoderSpec, pictures: &[RgbImage]) -> Result<Vec<ActivationRange>> {
    let (squares, side) = (spec.preprocess.squares(), spec.preprocess.size as usize);
    let shape = lite::patches_shape(squares, side);
    let mut ranges: Vec<ActivationRange> = Vec::new();
    for picture in progress("measuring", pictures)?.wrap_iter(pictures.iter()) {
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

/// Mean cosine between the embeddings that two encoders make of the same squares.
fn cosine(a: (&Path, &EncoderSpec), b: (&Path, &EncoderSpec), pictures: &[RgbImage]) -> Result<f32> {
    let load = |(file, spec): (&Path, &EncoderSpec)| {
        Encoder::load(&file.into(), spec.encoder.clone(), spec.preprocess.clone(), 1)
    };
    let ([a, b], dim) = ([load(a)?, load(b)?], a.1.encoder.dim);
    let mut cosines = Vec::new();
    for picture in progress("comparing", pictures)?.wrap_iter(pictures.iter()) {
        let (a, b) = (a.embed(0, picture)?, b.embed(0, picture)?);
        let squares = a.chunks_exact(dim).zip(b.chunks_exact(dim));
        // Both are of length 1.
        cosines.extend(squares.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()));
    }
    Ok(cosines.iter().sum::<f32>() / cosines.len() as f32)
}

fn progress(what: &str, pictures: &[RgbImage]) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template(&format!("{what}: {{wide_bar}} {{pos}}/{{len}} pictures, {{eta}} left"))?;
    Ok(ProgressBar::new(pictures.len() as u64).with_style(style))
}
