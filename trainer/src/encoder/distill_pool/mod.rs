//! `pool`: learns to make a whole encoder's embeddings of the tokens of its first blocks.
//!
//! Learned queries attend to the tokens of a square, and a linear layer reads what they gather: an attention-pooling
//! probe, as of a frozen vision transformer. It is taught by the whole encoder's embeddings of the same squares and
//! needs no labels.

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

/// Learns to gather the tokens of an encoder that `cut` made.
///
/// Writes `encoder.onnx` and `encoder.json`, which `embed`, `fit` and `export` take, and in `features` what it makes of
/// the tokens in each folder.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train pool --encoder runs/cut-6/encoder.json --tokens features/cut-6-train --teacher features/train --index index.csv --split train --out runs/pool-6"
)]
pub(crate) struct Args {
    /// Description of the encoder, as `cut` wrote it
    #[arg(long)]
    encoder: PathBuf,
    /// Folder of its features of pictures, or folders (repeat the option)
    #[arg(long, required = true)]
    tokens: Vec<PathBuf>,
    /// Folder of the whole encoder's features of the same pictures
    #[arg(long)]
    teacher: PathBuf,
    /// Index of the pictures (csv or parquet)
    #[arg(long)]
    index: PathBuf,
    /// Learn from this split, or these (repeat the option)
    #[arg(long)]
    split: Vec<String>,
    /// Numbers of a token
    #[arg(long, default_value_t = 768, value_parser = clap::value_parser!(u32).range(1..))]
    width: u32,
    /// Queries
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    queries: u32,
    /// Passes over the squares
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Share of what the queries gather that is dropped out
    #[arg(long, default_value_t = 0.5, value_parser = parse_fraction)]
    dropout: f64,
    /// Hold out the first of this number of folds and measure on it
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..))]
    folds: Option<u64>,
    /// How the pooling's weights are stored
    #[arg(long, value_enum, default_value_t = Precision::Int8)]
    precision: Precision,
    /// Folder to write
    #[arg(long)]
    out: PathBuf,
    /// A line of json an epoch on standard error
    #[arg(long)]
    json: bool,
}

/// Squares a step.
const BATCH: usize = 64;

/// A square's tokens, standardised, and the embedding to make of them, standardised and of length 1.
struct Example {
    tokens: Vec<f32>,
    target: Vec<f32>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, folders do not belong together, the loss stops being a number, Ctrl-C was pressed, or ONNX
/// Runtime answers otherwise than burn.
pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = EncoderSpec::read(&args.encoder)?;
    let source = spec.encoder.locate(args.encoder.parent().unwrap_or(Path::new(".")))?;
    if std::path::absolute(&source.network)? == std::path::absolute(args.out.join("encoder.onnx"))? {
        bail!("{} holds the encoder that is read; choose another --out", args.out.display());
    }
    let network = source.read(Activations::AsWritten)?;
    let width = args.width as usize;
    if !spec.encoder.dim.is_multiple_of(width) {
        bail!(
            "{} outputs {} numbers per square, which are not tokens of {}",
            args.encoder.display(),
            spec.encoder.dim,
            width
        );
    }
    interrupt::listen()?;
    let device = Device::flex().autodiff();
    let DistillationData { preprocess_seen, moments, examples, held_out } = load_data(args, &spec)?;
    let pool = train(args, &examples, &device)?;
    if !held_out.is_empty() {
        eprintln!("held out: a mean cosine of {:.4}, n = {}", cosine(&pool, &held_out, width)?, held_out.len());
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
        let name = folder.file_name().with_context(|| format!("{} is no folder", folder.display()))?;
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
    Ok(())
}

/// What there is to learn from.
struct DistillationData {
    /// What was looked at of each picture.
    preprocess_seen: Preprocess,
    /// Of centred tokens.
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
        bail!("{} holds features of another encoder than {}", args.tokens[0].display(), args.encoder.display());
    }
    // Where the whole of pictures alone was looked at, the teacher's details have nobody to learn from.
    let without_details = |preprocess: &Preprocess| Preprocess { details: Vec::new(), ..preprocess.clone() };
    if without_details(&preprocess_seen) != without_details(&teacher_preprocess)
        || without_details(&preprocess_seen) != without_details(&spec.preprocess)
        || !teacher_preprocess.details.starts_with(&preprocess_seen.details)
    {
        bail!("{} and {} look at pictures in different ways", args.teacher.display(), args.tokens[0].display());
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
        bail!("{}: no picture is left to learn from; see --split and --folds", args.index.display());
    }
    Ok(data)
}

/// A token less the mean of its numbers.
fn centre(token: &mut [f32]) {
    let mean = token.iter().sum::<f32>() / token.len() as f32;
    token.iter_mut().for_each(|x| *x -= mean);
}

/// A square's tokens as the network has them.
fn standardise_square(square: &[f32], moments: &Moments) -> Vec<f32> {
    let mut square = square.to_vec();
    square.par_chunks_exact_mut(moments.mean.len()).for_each(centre);
    standardise_tokens(&square, moments)
}

/// The same of tokens that are centred.
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
    let mut optimiser: ModuleOptimizer = AdamWConfig::new().with_weight_decay(settings.weight_decay).init();
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
                bail!("the loss is no number any more in epoch {}; nothing was written", epoch + 1);
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &pool);
            pool = optimiser.step(rate_at(epoch * steps_per_epoch + i, steps, &settings), pool, gradients);
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

/// Embeddings of squares' standardised tokens, each of length 1.
fn embeddings(pool: &AttentionPooling, squares: &[&[f32]], width: usize) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(squares.len());
    for block in squares.chunks(BATCH) {
        let tokens = token_tensor(block, width, &Device::flex());
        let output = to_vec(pool.forward(tokens, 0.0).into_data())?;
        all.extend(output.chunks_exact(output.len() / block.len()).map(unit_vector));
    }
    Ok(all)
}

/// Mean cosine to what should be made of examples.
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

/// Lowest cosine between what ONNX Runtime and burn may make of the same tokens; weights of 8 bits turn embeddings a
/// little.
const MIN_COSINE: f32 = 0.999;

/// Holds the written network against burn on a made-up square.
fn check(
    cut: (&EncoderPaths, &EncoderSpec),
    pooled: &Encoder,
    pool: &AttentionPooling,
    moments: &Moments,
) -> Result<()> {
    let (paths, spec) = cut;
    let tokens = Encoder::load(paths, spec.encoder.clone(), spec.preprocess.clone(), 1)?;
    let side = spec.preprocess.size as usize;
    let square: Vec<f32> = (0..3 * side * side).map(|i| (i as f32 * 0.013).sin()).collect();
    let ours =
        embeddings(pool, &[&standardise_square(&tokens.embed_tensor(0, &square)?, moments)], moments.mean.len())?;
    let cosine = dot(&ours[0], &unit_vector(&pooled.embed_tensor(0, &square)?));
    if cosine.is_nan() || cosine < MIN_COSINE {
        return Err(check_failed(format!("ONNX Runtime and burn make different embeddings: a cosine of {cosine}")));
    }
    Ok(())
}
