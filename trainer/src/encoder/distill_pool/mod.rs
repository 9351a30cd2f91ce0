//! `distill-pooling`: trains a pooling layer that maps the tokens of a truncated encoder to the embeddings of the full
//! encoder.
//!
//! Learned queries attend to the tokens of a square, followed by a linear layer (attention pooling on a frozen vision
//! transformer). The targets are the embeddings of the full encoder for the same squares, so no labels are needed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use landfall_common::exit::check_failed;
use landfall_model::bundle::{Activations, EncoderFile, EncoderPaths};
use landfall_model::classifier::Encoder;
use landfall_model::preprocess::Preprocess;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::data::index;
use crate::encoder::truncate;
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples::{self, Sample, unit_vector};
use crate::features::store::{self, FeatureFolder};
use crate::head::model::{self, Moments, to_vec};
use crate::head::recipe::Training;
use crate::head::schedule::rate_at;
use crate::io::args::parse_fraction;
use crate::io::interrupt;
use crate::io::progress::Progress;
use crate::onnx::{self, Precision};

mod network;
mod onnx_writer;

use network::AttentionPooling;

/// Train a pooling layer for an encoder truncated by `truncate-encoder`
///
/// Writes `encoder.onnx` and `encoder.json`, for use with `embed`, `fit` and `export`, and in `features` the embeddings
/// of the tokens in each folder.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train distill-pooling --encoder runs/cut-6/encoder.json --tokens features/cut-6-train --teacher features/train --index index.csv --split train --out runs/pool-6"
)]
pub(crate) struct Args {
    /// Description of the encoder, written by `truncate-encoder`
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    encoder: PathBuf,
    /// Feature folder of that encoder (repeatable)
    #[arg(long, value_name = "DIR", required = true, help_heading = "Input")]
    tokens: Vec<PathBuf>,
    /// Feature folder of the full encoder for the same pictures
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    teacher: PathBuf,
    /// Index of the pictures (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: PathBuf,
    /// Split of the index to train on (repeatable) [default: all]
    #[arg(long, help_heading = "Input")]
    split: Vec<String>,
    /// Number of values per token
    #[arg(long, value_name = "N", default_value_t = 768, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Input")]
    width: u32,
    /// Number of learned queries
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Training")]
    queries: u32,
    /// Number of epochs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(help_heading = "Training")]
    epochs: u32,
    /// Dropout rate of the pooled tokens
    #[arg(long, value_name = "RATE", default_value_t = 0.5, value_parser = parse_fraction, help_heading = "Training")]
    dropout: f64,
    /// Hold out the first of this number of folds and evaluate on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..), help_heading = "Training")]
    folds: Option<u64>,
    /// Storage format of the weights of the pooling layer
    #[arg(long, value_enum, default_value_t = Precision::Int8, help_heading = "Output")]
    precision: Precision,
    /// Folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Print the result as JSON, and one line of JSON per epoch on standard error
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Batch size, in squares.
const BATCH: usize = 64;

/// The standardised tokens of a square, and the target embedding, standardised and of unit length.
struct Example {
    tokens: Vec<f32>,
    target: Vec<f32>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, folders do not match, the loss is not finite, Ctrl-C was pressed, or ONNX Runtime and
/// burn disagree.
pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = EncoderSpec::read(&args.encoder)?;
    let source = spec.encoder.locate(args.encoder.parent().unwrap_or(Path::new(".")))?;
    if std::path::absolute(&source.network)? == std::path::absolute(args.out.join("encoder.onnx"))? {
        bail!("{} contains the input encoder; choose another --out", args.out.display());
    }
    let network = source.read(Activations::AsWritten)?;
    let width = args.width as usize;
    if !spec.encoder.dim.is_multiple_of(width) {
        bail!(
            "{} outputs {} values per square, which is not a multiple of --width {}",
            args.encoder.display(),
            spec.encoder.dim,
            width
        );
    }
    interrupt::listen()?;
    let device = Device::flex().autodiff();
    let DistillationData { preprocess_seen, moments, examples, held_out } = load_data(args, &spec)?;
    let pool = train(args, &examples, &device)?;
    let mut held_out_result = serde_json::Value::Null;
    if !held_out.is_empty() {
        let (cosine, n) = (cosine(&pool, &held_out, width)?, held_out.len());
        eprintln!("held out: mean cosine similarity {cosine:.4}, n = {n}");
        held_out_result = serde_json::json!({ "cosine": cosine, "n": n });
    }
    drop((examples, held_out));

    let weights = pool.fold_standardisation(&moments)?;
    let onnx = onnx_writer::append_pooling(&network, &weights, args.precision)
        .with_context(|| source.network.display().to_string())?;
    let encoder = EncoderFile { output: onnx::EMBEDDING.into(), ..spec.encoder.clone() };
    let (pooled, loaded) =
        truncate::write(&args.out, &onnx, EncoderSpec { encoder, preprocess: spec.preprocess.clone() })?;
    check((&source, &spec), &loaded, &pool, &moments)?;
    let pooled = EncoderSpec { preprocess: preprocess_seen, ..pooled };
    for folder in &args.tokens {
        let name = folder.file_name().with_context(|| format!("{} has no folder name", folder.display()))?;
        let mut features = FeatureFolder::open(&args.out.join("features").join(name), &pooled)?;
        for (file, tokens) in store::load(folder)?.1 {
            if !features.done.contains(&file) {
                let squares: Vec<_> =
                    tokens.chunks_exact(spec.encoder.dim).map(|square| standardise_square(square, &moments)).collect();
                let squares: Vec<&[f32]> = squares.iter().map(Vec::as_slice).collect();
                features.append(&file, &embeddings(&pool, &squares, width)?.concat())?;
            }
        }
    }
    eprintln!("wrote {}, {} bytes", args.out.display(), onnx.len());
    if args.json {
        let out = args.out.display().to_string();
        println!("{}", serde_json::json!({ "out": out, "bytes": onnx.len(), "held_out": held_out_result }));
    }
    Ok(())
}

/// Training data of the pooling layer.
struct DistillationData {
    /// Preprocessing of the token features, including their squares.
    preprocess_seen: Preprocess,
    /// Moments of the centred tokens.
    moments: Moments,
    examples: Vec<Example>,
    held_out: Vec<Example>,
}

fn load_data(args: &Args, spec: &EncoderSpec) -> Result<DistillationData> {
    let width = args.width as usize;
    let rows = index::read_splits(&args.index, &args.split)?;
    let (EncoderSpec { encoder: teacher_encoder, preprocess: teacher_preprocess }, teacher_samples) =
        samples::join(rows, std::slice::from_ref(&args.teacher))?;
    let rows = teacher_samples.iter().map(|sample| sample.row.clone()).collect();
    let (EncoderSpec { encoder, preprocess: preprocess_seen }, mut samples) = samples::join(rows, &args.tokens)?;
    if encoder != spec.encoder {
        bail!("{} contains features of a different encoder than {}", args.tokens[0].display(), args.encoder.display());
    }
    // Token features of only the central square are allowed; the teacher's other squares are then unused.
    let without_details = |preprocess: &Preprocess| Preprocess { details: Vec::new(), ..preprocess.clone() };
    if without_details(&preprocess_seen) != without_details(&teacher_preprocess)
        || without_details(&preprocess_seen) != without_details(&spec.preprocess)
        || !teacher_preprocess.details.starts_with(&preprocess_seen.details)
    {
        bail!(
            "{} and {} have different preprocessing; embed the pictures again",
            args.teacher.display(),
            args.tokens[0].display()
        );
    }
    let dim = teacher_encoder.dim;
    let embeddings = teacher_samples.iter().flat_map(|sample| sample.variants[0].chunks_exact(dim));
    let teacher_moments = Moments::of(embeddings, dim);
    let mut embedding_of: HashMap<PathBuf, Vec<f32>> =
        teacher_samples.into_iter().map(|mut sample| (sample.row.file, sample.variants.swap_remove(0))).collect();
    for sample in &mut samples {
        sample.variants[0].par_chunks_exact_mut(width).for_each(centre);
    }
    let tokens = samples.iter().flat_map(|sample| sample.variants[0].chunks_exact(width));
    let mut data = DistillationData {
        preprocess_seen,
        moments: Moments::of(tokens, width),
        examples: Vec::new(),
        held_out: Vec::new(),
    };
    for Sample { row, mut variants } in samples {
        let (tokens, embedding) = (variants.swap_remove(0), embedding_of.remove(&row.file).unwrap_or_default());
        let is_held_out = args.folds.is_some_and(|folds| samples::fold_of(&row, folds as usize) == 0);
        let to = if is_held_out { &mut data.held_out } else { &mut data.examples };
        for (tokens, embedding) in tokens.chunks_exact(encoder.dim).zip(embedding.chunks_exact(dim)) {
            let target = unit_vector(&model::standardise(embedding, &teacher_moments));
            to.push(Example { tokens: standardise_tokens(tokens, &data.moments), target });
        }
    }
    if data.examples.is_empty() {
        bail!("{}: no pictures are left to train on; check --split and --folds", args.index.display());
    }
    Ok(data)
}

/// Subtracts the mean of a token from its values.
fn centre(token: &mut [f32]) {
    let mean = token.iter().sum::<f32>() / token.len() as f32;
    token.iter_mut().for_each(|x| *x -= mean);
}

/// Centres and standardises the tokens of a square.
fn standardise_square(square: &[f32], moments: &Moments) -> Vec<f32> {
    let mut square = square.to_vec();
    square.par_chunks_exact_mut(moments.mean.len()).for_each(centre);
    standardise_tokens(&square, moments)
}

/// Standardises centred tokens.
fn standardise_tokens(square: &[f32], moments: &Moments) -> Vec<f32> {
    square.par_chunks_exact(moments.mean.len()).flat_map_iter(|token| model::standardise(token, moments)).collect()
}

fn train(args: &Args, examples: &[Example], device: &Device) -> Result<AttentionPooling> {
    let (width, dim) = (args.width as usize, examples[0].target.len());
    let settings = Training {
        epochs: args.epochs as usize,
        dropout: args.dropout as f32,
        lr: 1e-3,
        warm_up: 0.1,
        weight_decay: 0.1,
        seed: 1,
        ..Training::default()
    };
    let mut random = StdRng::seed_from_u64(settings.seed);
    device.seed(settings.seed);
    let mut pool = AttentionPooling::new((width, args.queries as usize, dim), &mut random, device);
    let mut optimizer: ModuleOptimizer = AdamWConfig::new().with_weight_decay(settings.weight_decay).init();
    let steps_per_epoch = examples.len().div_ceil(BATCH);
    let steps = steps_per_epoch * settings.epochs;
    let mut progress = Progress::new("pool", settings.epochs, (0, steps), args.json)?.with_pictures(BATCH);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..settings.epochs {
        order.shuffle(&mut random);
        for (i, batch) in order.chunks(BATCH).enumerate() {
            if interrupt::is_stopped() {
                return Err(interrupt::stopped("stopped; nothing was written"));
            }
            let chosen: Vec<&Example> = batch.iter().map(|i| &examples[*i]).collect();
            let target = chosen.iter().flat_map(|example| &example.target).copied().collect();
            let target = Tensor::<2>::from_data(TensorData::new::<f32, _>(target, [batch.len(), dim]), device);
            let tokens =
                token_tensor(&chosen.iter().map(|example| &example.tokens[..]).collect::<Vec<_>>(), width, device);
            let output = pool.forward(tokens, args.dropout);
            let length = output.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(1e-6);
            let loss = ((output / length * target).sum_dim(1).neg() + 1.0).mean();
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                bail!("the loss is {value} in epoch {}; nothing was written", epoch + 1);
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &pool);
            pool = optimizer.step(rate_at(epoch * steps_per_epoch + i, steps, &settings), pool, gradients);
            progress.step(value);
        }
        progress.epoch(epoch + 1, None);
    }
    Ok(pool.valid())
}

fn token_tensor(squares: &[&[f32]], width: usize, device: &Device) -> Tensor<3> {
    let shape = [squares.len(), squares[0].len() / width, width];
    Tensor::from_data(TensorData::new(squares.concat(), shape), device)
}

/// Unit-length embeddings of squares, given as standardised tokens.
fn embeddings(pool: &AttentionPooling, squares: &[&[f32]], width: usize) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(squares.len());
    for block in squares.chunks(BATCH) {
        let tokens = token_tensor(block, width, &Device::flex());
        let output = to_vec(pool.forward(tokens, 0.0).into_data())?;
        all.extend(output.chunks_exact(output.len() / block.len()).map(unit_vector));
    }
    Ok(all)
}

/// Mean cosine similarity to the targets of examples.
fn cosine(pool: &AttentionPooling, examples: &[Example], width: usize) -> Result<f64> {
    let mut sum = 0.0;
    for block in examples.chunks(BATCH) {
        let squares: Vec<&[f32]> = block.iter().map(|example| &example.tokens[..]).collect();
        let output = embeddings(pool, &squares, width)?;
        sum += output.iter().zip(block).map(|(a, example)| f64::from(dot(a, &example.target))).sum::<f64>();
    }
    Ok(sum / examples.len() as f64)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Minimum cosine similarity between the embeddings of ONNX Runtime and burn; 8-bit weights cause small differences.
const MIN_COSINE: f32 = 0.999;

/// Compares the exported network with burn on a synthetic square.
fn check(
    truncated: (&EncoderPaths, &EncoderSpec),
    pooled: &Encoder,
    pool: &AttentionPooling,
    moments: &Moments,
) -> Result<()> {
    let (paths, spec) = truncated;
    let tokens = Encoder::load(paths, spec.encoder.clone(), spec.preprocess.clone(), 1)?;
    let side = spec.preprocess.size as usize;
    let square: Vec<f32> = (0..3 * side * side).map(|i| (i as f32 * 0.013).sin()).collect();
    let ours =
        embeddings(pool, &[&standardise_square(&tokens.embed_tensor(0, &square)?, moments)], moments.mean.len())?;
    let cosine = dot(&ours[0], &unit_vector(&pooled.embed_tensor(0, &square)?));
    if cosine.is_nan() || cosine < MIN_COSINE {
        return Err(check_failed(format!(
            "ONNX Runtime and burn give different embeddings: cosine similarity {cosine}, must be at least {MIN_COSINE}"
        )));
    }
    Ok(())
}
