//! `shrink`: a bundle whose weights take fewer than 4 bits each, for phones.
//!
//! The method is that of [`landfall_model::onnx::shrink`], which computes the encoder again where the bundle is used. Here its
//! inputs are made: the factor models of the second moments of the layers' inputs, and the steps of the integers.

mod factors;
mod head;
mod moments;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use half::f16;
use image::RgbImage;
use landfall_common::exit::check_failed;
use landfall_common::fs::{write_atomic, write_json};
use landfall_model::Bundle;
use landfall_model::bundle::{AdapterFile, Derived, HeadFile, Manifest, gzip, read_network};
use landfall_model::classifier::{Encoder, Head};
use landfall_model::onnx::shrink::{FACTOR_SCALE, FACTORS, LinearLayer, RMS, STEP, linear_layers, shrink};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

use crate::bundle::evaluation;
use crate::data::images::Images;
use crate::data::index;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples;
use factors::Factors;
use moments::Calibration;
use steps::{Cost, Steps};

/// Bits at which the sensitivity of a layer is measured.
const PROBE_BITS: f64 = 3.0;

/// Shrink a bundle to fewer than 4 bits per weight
///
/// Writes a bundle with int8 weights of few distinct values, compressed with gzip; the files that its encoder is derived
/// from where it is used (`moments.safetensors` and `adapter.safetensors`); and `encoder.onnx.gz`, the result. The input
/// bundle must be installed beside the new one for that. Layers to which the embedding is more sensitive get more bits.
/// Fails with exit code 1 if the mean cosine similarity to the original embeddings is below --cosine.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train shrink --bundle desktop --index index.csv --images photos --split train --features features/train --name phone --version 2026.12.1 --out bundles/phone"
)]
pub(crate) struct Args {
    /// Bundle to shrink, by name or directory (./DIR)
    #[arg(long, value_name = "NAME|DIR", help_heading = "Input")]
    bundle: String,
    /// Index of the calibration pictures (CSV or Parquet)
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
    /// Number of further pictures on which embeddings are compared
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Input")]
    probes: u32,
    /// Features of the bundle's encoder, for calibrating the head (repeatable) [default: those of the pictures]
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    features: Vec<PathBuf>,
    /// Folder in which the second moments and sensitivities are kept, for another run with the same pictures
    ///
    /// Half a gigabyte for a ViT-B. They are used if they are there.
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    moments: Option<PathBuf>,
    /// Bits per weight of the encoder's linear layers, on average
    #[arg(long, default_value_t = 3.6, value_parser = bits, help_heading = "Precision")]
    bits: f64,
    /// Bits per weight of the head
    #[arg(long, default_value_t = 3.6, value_parser = bits, help_heading = "Precision")]
    head_bits: f64,
    /// Columns of the factor models; each takes a byte per input
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Precision")]
    rank: u32,
    /// Layer that keeps 8 bits (repeatable)
    #[arg(long, value_name = "LAYER", default_value = "visual_projection", help_heading = "Precision")]
    keep: Vec<String>,
    /// Give all layers the same number of bits
    #[arg(long, help_heading = "Precision")]
    uniform: bool,
    /// Minimum mean cosine similarity between the embeddings of both encoders
    #[arg(long, default_value_t = 0.9, help_heading = "Output")]
    cosine: f32,
    /// Name of the new bundle
    #[arg(long, help_heading = "Output")]
    name: String,
    /// Version of the new bundle, such as 2026.12.1
    #[arg(long, help_heading = "Output")]
    version: String,
    /// Add an evaluation to bundle.json, from a file with the output of `evaluate --json` (repeatable)
    #[arg(long, value_name = "NAME=FILE", help_heading = "Input")]
    evaluation: Vec<String>,
    /// Folder of the new bundle
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

fn bits(text: &str) -> Result<f64> {
    let bits: f64 = text.parse()?;
    if !(1.5..=6.5).contains(&bits) {
        bail!("must be a number from 1.5 to 6.5");
    }
    Ok(bits)
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, the encoder has no int8 layers, or the embeddings differ too much.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::find(&args.bundle)?;
    let source = Source::read(&bundle)?;
    let rows = index::read_splits(&args.index, &args.split)?;
    let images = Images::open(&args.images)?;
    let files: Vec<PathBuf> = rows.iter().map(|row| row.file.clone()).collect();
    let spaced = |count: u32, offset: f64| {
        let count = (count as usize).min(files.len());
        let step = files.len() as f64 / count.max(1) as f64;
        (0..count).map(|i| &files[((i as f64 + offset) * step) as usize]).collect::<Vec<_>>()
    };
    let probes =
        spaced(args.probes, 0.5).into_iter().map(|file| Ok(images.picture(file)?)).collect::<Result<Vec<_>>>()?;
    let pictures = spaced(args.pictures, 0.0);
    let probe = Probe::new(&source, &probes)?;

    let mut layers = linear_layers(&source.network, source.adapter.as_deref()).map_err(anyhow::Error::msg)?;
    layers.retain(|name, _| !args.keep.contains(name));
    if layers.is_empty() {
        bail!("the encoder of {} has no int8 linear layers to shrink", args.bundle);
    }
    let widths: BTreeMap<&str, usize> = layers.values().map(|layer| (layer.input.as_str(), layer.inputs)).collect();
    let calibration = Calibration {
        spec: source.spec.clone(),
        pictures: pictures.iter().map(|file| file.display().to_string()).collect(),
        tensors: widths.into_iter().map(|(name, width)| (name.to_owned(), width)).collect(),
    };
    let kept = args.moments.as_deref().map(|folder| moments::load(folder, &calibration)).transpose()?.flatten();
    let second_moments = match kept {
        Some(kept) => kept,
        None => {
            let pictures = pictures.iter().map(|file| Ok(images.picture(file)?));
            let network = source.as_run(source.network.clone(), source.adapter.as_deref())?;
            let measured = moments::measure(&network, &source.path, &calibration, pictures)?;
            args.moments.iter().try_for_each(|folder| moments::save(folder, &calibration, &measured))?;
            measured
        }
    };
    let rank = args.rank as usize;
    let of_inputs: BTreeMap<String, Factors> =
        second_moments.into_iter().map(|(name, moments)| Ok((name, moments.factors(rank)?))).collect::<Result<_>>()?;
    eprintln!("fitted {} factor models of rank {rank}", of_inputs.len());
    let losses = if args.uniform { None } else { Some(sensitivity(args, &source, &probe, &layers, &of_inputs)?) };
    let bits: BTreeMap<String, f64> = match &losses {
        Some(losses) => {
            let cost = |name: &String, layer: &LinearLayer| {
                let loss = losses.get(name).copied().unwrap_or_default();
                (name.clone(), Cost { weights: layer.weights.len(), loss })
            };
            steps::allocate(&layers.iter().map(|(name, layer)| cost(name, layer)).collect(), args.bits)
        }
        None => layers.keys().map(|name| (name.clone(), args.bits)).collect(),
    };
    let files = Files::new(&layers, &of_inputs, &bits)?;
    let encoder = files.derive(&source)?;
    let cosine = probe.cosine(&source, encoder.clone(), &files.adapter)?;
    eprintln!("mean cosine similarity to the embeddings of {} on {} pictures: {cosine:.4}", args.bundle, probes.len());
    if cosine.is_nan() || cosine < f64::from(args.cosine) {
        let why =
            format!("the mean cosine similarity of the embeddings, {cosine:.4}, is below --cosine {}", args.cosine);
        return Err(check_failed(why));
    }
    let embeddings = match args.features.is_empty() {
        true => probe.embeddings.clone(),
        false => {
            let (spec, samples) = samples::join(rows, &args.features)?;
            if !spec.is_compatible_with(&source.spec) {
                bail!("the features are of another encoder than that of {}", args.bundle);
            }
            samples.into_iter().flat_map(|sample| sample.variants).collect()
        }
    };
    let old_head = read_network(&bundle.head_path()?)?;
    let head = head::shrink(&old_head, &embeddings, args.head_bits)?;
    let sizes = write(args, &bundle, &files, &encoder, &head.onnx)?;
    let agreement = agreement(&bundle, &args.out, &embeddings)?;
    let summary = serde_json::json!({
        "bundle": format!("{}@{}", args.name, args.version),
        "out": args.out.display().to_string(),
        "bits": args.bits,
        "head_bits": head.bits,
        "cosine": cosine,
        "head_agreement": agreement,
        "bytes": sizes,
    });
    eprintln!(
        "wrote {}; files in bytes: {}; same most likely cell for {:.1} % of embeddings",
        args.out.display(),
        summary["bytes"],
        100.0 * agreement
    );
    if args.json {
        println!("{summary}");
    }
    Ok(())
}

/// The encoder to shrink.
struct Source {
    spec: EncoderSpec,
    path: PathBuf,
    network: Vec<u8>,
    adapter: Option<Vec<u8>>,
}

impl Source {
    fn read(bundle: &Bundle) -> Result<Self> {
        let paths = bundle.encoder_paths()?;
        let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        let adapter = paths.adapter.as_deref().map(read).transpose()?;
        Ok(Self { spec: EncoderSpec::of(bundle), network: read_network(&paths.network)?, path: paths.network, adapter })
    }

    /// A network with this adapter as ONNX Runtime runs it.
    fn as_run(&self, network: Vec<u8>, adapter: Option<&[u8]>) -> Result<Vec<u8>> {
        self.spec.encoder.activations.of(network, adapter).map_err(anyhow::Error::msg)
    }
}

/// Pictures on which embeddings are compared.
struct Probe<'a> {
    pictures: &'a [RgbImage],
    /// Of the original encoder.
    embeddings: Vec<Vec<f32>>,
}

impl<'a> Probe<'a> {
    fn new(source: &Source, pictures: &'a [RgbImage]) -> Result<Self> {
        let network = source.as_run(source.network.clone(), source.adapter.as_deref())?;
        Ok(Self { pictures, embeddings: Self::embed(source, &network, pictures)? })
    }

    fn embed(source: &Source, network: &[u8], pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        let EncoderSpec { encoder, preprocess } = source.spec.clone();
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let encoder = Encoder::of_network(&source.path, network, encoder, preprocess, workers)?;
        Ok(encoder.embed_all(pictures)?)
    }

    /// Mean cosine similarity between the embeddings of the squares and those of this network.
    fn cosine(&self, source: &Source, network: Vec<u8>, adapter: &[u8]) -> Result<f64> {
        let found = Self::embed(source, &source.as_run(network, Some(adapter))?, self.pictures)?;
        let dim = source.spec.encoder.dim;
        let squares = self.embeddings.iter().zip(&found).flat_map(|(a, b)| a.chunks(dim).zip(b.chunks(dim)));
        // Both have unit length.
        let cosines: Vec<f64> =
            squares.map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()).collect();
        Ok(cosines.iter().sum::<f64>() / cosines.len() as f64)
    }
}

/// What rounding each layer alone to [`PROBE_BITS`] costs: one minus the mean cosine similarity to the original embeddings.
fn sensitivity(
    args: &Args,
    source: &Source,
    probe: &Probe<'_>,
    layers: &BTreeMap<String, LinearLayer>,
    of_inputs: &BTreeMap<String, Factors>,
) -> Result<BTreeMap<String, f64>> {
    if let Some(kept) = args.moments.as_deref().map(moments::load_sensitivity).transpose()?.flatten() {
        return Ok(kept);
    }
    let progress = moments::progress("measuring sensitivity", layers.len(), "layers")?;
    let mut losses = BTreeMap::new();
    for (name, layer) in layers {
        let one = BTreeMap::from([(name.clone(), layer.clone())]);
        let files = Files::new(&one, of_inputs, &BTreeMap::from([(name.clone(), PROBE_BITS)]))?;
        let cosine = probe.cosine(source, files.derive(source)?, &files.adapter)?;
        losses.insert(name.clone(), (1.0 - cosine).max(0.0));
        progress.inc(1);
    }
    progress.finish_and_clear();
    args.moments.iter().try_for_each(|folder| moments::save_sensitivity(folder, &losses))?;
    Ok(losses)
}

/// The files that the encoder is derived from, besides those of the original one.
struct Files {
    moments: Vec<u8>,
    adapter: Vec<u8>,
}

impl Files {
    fn new(
        layers: &BTreeMap<String, LinearLayer>,
        of_inputs: &BTreeMap<String, Factors>,
        bits: &BTreeMap<String, f64>,
    ) -> Result<Self> {
        let steps: Vec<(&String, Steps)> = layers
            .par_iter()
            .map(|(name, layer)| {
                let moments = of_inputs.get(&layer.input).with_context(|| format!("no moments of {}", layer.input))?;
                let bits = bits.get(name).copied().unwrap_or(PROBE_BITS);
                Ok((name, steps::steps(&layer.weights, layer.outputs, &moments.moments(), bits)))
            })
            .collect::<Result<_>>()?;
        let mut moments = Vec::new();
        let mut scales = Vec::new();
        for (name, Steps { step, input_scale }) in &steps {
            moments.push((format!("{name}{STEP}"), Dtype::F32, vec![1], step.to_le_bytes().to_vec()));
            let halves = input_scale.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
            scales.push((format!("{name}.input_scale"), Dtype::F16, vec![input_scale.len()], halves));
        }
        let used = |name: &String| layers.values().any(|layer| layer.input == *name);
        for (name, Factors { rms, factors, scale }) in of_inputs.iter().filter(|(name, _)| used(name)) {
            let halves = rms.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
            moments.push((format!("{name}{RMS}"), Dtype::F16, vec![rms.len()], halves));
            let bytes = factors.iter().map(|x| x.cast_unsigned()).collect();
            moments.push((format!("{name}{FACTORS}"), Dtype::I8, vec![rms.len(), scale.len()], bytes));
            let floats = scale.iter().flat_map(|x| x.to_le_bytes()).collect();
            moments.push((format!("{name}{FACTOR_SCALE}"), Dtype::F32, vec![scale.len()], floats));
        }
        Ok(Self { moments: safetensors_file(moments)?, adapter: safetensors_file(scales)? })
    }

    /// The encoder, as it is computed where the bundle is used.
    fn derive(&self, source: &Source) -> Result<Vec<u8>> {
        shrink(&source.network, source.adapter.as_deref(), &self.moments, &self.adapter).map_err(anyhow::Error::msg)
    }
}

fn safetensors_file(tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>) -> Result<Vec<u8>> {
    let views =
        tensors.iter().map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)));
    Ok(safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None)?)
}

/// Writes the bundle, `bundle.json` last. Returns the sizes of the files in bytes.
fn write(args: &Args, source: &Bundle, files: &Files, encoder: &[u8], head: &[u8]) -> Result<BTreeMap<String, usize>> {
    let sha256 = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut manifest: Manifest = source.manifest.clone();
    let file = |name: &str, bytes: &[u8]| AdapterFile { file: name.to_owned(), sha256: sha256(bytes) };
    manifest.encoder.derived = Some(Derived {
        bundle: source.manifest.name.clone(),
        encoder: source.manifest.encoder.sha256.clone(),
        adapter: source.manifest.encoder.adapter.as_ref().map(|adapter| adapter.sha256.clone()),
        moments: file("moments.safetensors", &files.moments),
    });
    manifest.encoder.adapter = Some(file("adapter.safetensors", &files.adapter));
    manifest.encoder.from = None;
    manifest.encoder.file = "encoder.onnx.gz".into();
    manifest.encoder.sha256 = sha256(encoder);
    manifest.encoder.bytes = encoder.len() as u64;
    let outputs = manifest.head.outputs;
    let bytes = Some(head.len() as u64);
    manifest.head = HeadFile { file: "head.onnx.gz".into(), sha256: sha256(head), bytes, outputs };
    (manifest.name, manifest.version) = (args.name.clone(), args.version.clone());
    manifest.evaluation = evaluation(&args.evaluation)?;
    let cells = std::fs::read(source.dir.join(&manifest.cells.file)).context("cannot read the cell table")?;
    let mut sizes = BTreeMap::new();
    for (name, bytes) in [
        ("moments.safetensors", files.moments.clone()),
        ("adapter.safetensors", files.adapter.clone()),
        ("encoder.onnx.gz", gzip::compress(encoder)),
        ("head.onnx.gz", gzip::compress(head)),
        (manifest.cells.file.as_str(), cells),
    ] {
        write_atomic(&args.out.join(name), &bytes)?;
        sizes.insert(name.to_owned(), bytes.len());
    }
    write_json(&args.out.join("bundle.json"), &manifest)?;
    Ok(sizes)
}

/// The share of these embeddings for which both bundles' heads have the same most likely cell.
fn agreement(source: &Bundle, out: &Path, embeddings: &[Vec<f32>]) -> Result<f64> {
    let heads = [Head::of(source)?, Head::of(&Bundle::open(out)?)?];
    let best = |head: &Head, embedding: &[f32]| -> Result<Option<usize>> {
        let logits = head.logits(embedding)?;
        Ok((0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])))
    };
    let sampled = embeddings.iter().step_by(embeddings.len().div_ceil(256).max(1));
    let same: Vec<bool> = sampled
        .map(|embedding| Ok(best(&heads[0], embedding)? == best(&heads[1], embedding)?))
        .collect::<Result<_>>()?;
    Ok(same.iter().filter(|same| **same).count() as f64 / same.len().max(1) as f64)
}
