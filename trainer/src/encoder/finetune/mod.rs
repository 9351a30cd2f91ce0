//! `finetune`: trains a small encoder on pictures by distillation from a larger bundle.
//!
//! The student learns the embeddings of the teacher's encoder for each square of a picture, and the posterior of the
//! teacher's head for the picture. `export` makes a bundle of the trained encoder and its head.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::tensor::Device;
#[cfg(feature = "gpu")]
use landfall_common::exit::environment_error;
use landfall_common::fs::{write_atomic, write_json};
use landfall_model::Bundle;
use landfall_model::bundle::EncoderFile;
use landfall_model::preprocess::Preprocess;
use sha2::{Digest, Sha256};

use crate::data::images::Images;
use crate::data::index;
use crate::encoder::lite::onnx_writer::{self, Arithmetic};
use crate::features::encoder_spec::EncoderSpec;
use crate::features::samples::{self, Sample};
use crate::head::checkpoint::Checkpoints;
use crate::head::model::{Head, HeadDescription, Network};
use crate::io::hash;
use crate::io::interrupt;
use crate::onnx::{self, Precision};

mod batches;
mod held_out;
mod optimizer;
mod parity;
mod pictures;
mod recipe;
mod schedule;
mod student;

use batches::Batches;
use held_out::HeldOutSet;
use optimizer::StudentOptimizer;
use pictures::Cache;
use recipe::Recipe;
use schedule::{Outcome, Schedule};
use student::Student;

/// Train a small encoder by distillation from a bundle
///
/// Writes `encoder.onnx` and `encoder.json`, for use with `embed`, `fit` and `export`, and in `head` the head of the
/// student, for use with `export`. Ctrl-C keeps the last checkpoint.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train finetune --recipe trainer/recipes/pocket.toml --index index.csv --images photos --out runs/pocket"
)]
pub(crate) struct Args {
    /// Recipe file (TOML)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    recipe: PathBuf,
    /// Index of the pictures (CSV or Parquet)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    index: PathBuf,
    /// Folder that the file names in the index are relative to
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    images: PathBuf,
    /// Hold out the first of this number of folds and evaluate on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..), help_heading = "Training")]
    folds: Option<u64>,
    /// Stop after this number of steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    steps: Option<u64>,
    /// Device to train on
    #[arg(long, value_enum, default_value_t, help_heading = "Performance")]
    device: DeviceChoice,
    /// Storage format of the weights of the encoder
    #[arg(long, value_enum, default_value_t = Precision::F16, help_heading = "Output")]
    precision: Precision,
    /// Folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Resume from the checkpoint of an interrupted run in --out
    #[arg(long, help_heading = "Training")]
    resume: bool,
    /// Print the held-out quality as JSON, and one line of JSON per epoch on standard error
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// The device to train on.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(crate) enum DeviceChoice {
    /// All CPU cores.
    #[default]
    Cpu,
    /// GPU, through Vulkan, or Metal on macOS.
    #[cfg(feature = "gpu")]
    Gpu,
}

impl DeviceChoice {
    fn device(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "gpu")]
            Self::Gpu => {
                use burn::tensor::wgpu::WgpuBackend;
                // By default wgpu may fall back to software OpenGL, which hangs.
                let api = if cfg!(target_os = "macos") { WgpuBackend::Metal } else { WgpuBackend::Vulkan };
                let device = Device::wgpu_options().graphics_api(api).init();
                device.map_err(|e| {
                    let why = format!("no usable GPU ({e}); install its Vulkan driver or use --device cpu");
                    environment_error(why)
                })
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, a setting is invalid, the loss is not finite, or Ctrl-C was pressed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let recipe = Recipe::read(&args.recipe)?;
    let teacher = Bundle::open(&recipe.teacher.bundle)?;
    let (spec, samples) = teacher_samples(args, &recipe, &teacher)?;
    interrupt::listen()?;
    let checkpoints = Checkpoints { dir: args.out.join("checkpoints"), resume: args.resume };
    if !args.resume {
        checkpoints.remove()?;
    }
    let is_held_out =
        |sample: &Sample| args.folds.is_some_and(|folds| samples::fold_of(&sample.row, folds as usize) == 0);
    let (out, rest): (Vec<Sample>, Vec<Sample>) = samples.into_iter().partition(is_held_out);
    let images = Images::open(&args.images)?;
    let cache = |part: &str, samples: &[Sample]| {
        let pictures: Vec<&Path> = samples.iter().map(|sample| sample.row.file.as_path()).collect();
        Cache::open(&recipe.data.cache.join(part), &images, &pictures)
    };
    let (pictures, held_out_pictures) = (cache("train", &rest)?, cache("held-out", &out)?);
    let initial = EncoderSpec::read(&recipe.student.encoder)?;
    // The student uses the same squares as the teacher.
    let details = spec.preprocess.details.clone();
    let preprocess = &Preprocess { size: recipe.student.side, details, ..initial.preprocess.clone() };
    let batches = Batches::new(&recipe, &teacher, &spec, &rest, &pictures, preprocess)?;
    let held_out = HeldOutSet { samples: &out, cache: &held_out_pictures, table: &teacher.cells, preprocess };
    let device = args.device.device()?.autodiff();
    let cells = teacher.cells.cells.len();
    let pretrained = initial.encoder.locate(recipe.student.encoder.parent().unwrap_or(Path::new(".")))?.network;
    let cell_embeddings = recipe.student.cell_embeddings.as_deref();
    let dim = spec.encoder.dim;
    let student =
        Student::new(&pretrained, cell_embeddings, (dim, preprocess.squares()), cells, recipe.train.seed, &device)?;
    let mut optimizer = StudentOptimizer::new(&recipe, student, device);
    let schedule = Schedule {
        recipe: &recipe,
        batches: &batches,
        held_out: Some(&held_out).filter(|_| !out.is_empty()),
        checkpoints: &checkpoints,
        fingerprint: &fingerprint(&recipe, &teacher, &rest)?,
        max_steps: args.steps.map(|steps| steps as usize),
        json: args.json,
    };
    if let Outcome::Stopped { first, last } = schedule.run(&mut optimizer)? {
        eprintln!("first loss {first}, last loss {last}; continue with --resume from {}", checkpoints.dir.display());
        if args.json {
            println!("{}", serde_json::json!({ "first_loss": first, "last_loss": last }));
        }
        return Ok(());
    }
    let learned = optimizer.averaged();
    let reports = held_out.reports(&learned)?;
    for (views, (_, report)) in &reports {
        let quality = &report.quality;
        let (points, median, country, n) = (quality.geoscore, quality.median_km, quality.country, report.n);
        eprintln!(
            "held out, views {views}: {points:.0} points, median {median:.0} km, country {country:.1} %, n = {n}"
        );
    }
    let held_out: BTreeMap<_, _> = reports.iter().map(|(views, (_, report))| (views, report)).collect();
    let held_out = serde_json::to_value(held_out)?;
    if args.json {
        println!("{}", serde_json::json!({ "held_out": held_out }));
    }
    let student_spec = EncoderSpec { encoder: EncoderFile { dim, ..initial.encoder }, preprocess: preprocess.clone() };
    let encoder = write(args, student_spec, &learned)?;
    let (moments, layers) = learned.head()?;
    let description = HeadDescription {
        sizes: vec![moments.mean.len(), cells],
        cells_sha256: teacher.manifest.cells.sha256.clone(),
        temperature: reports.iter().map(|(views, (t, _))| (*views, *t)).collect(),
        settings: serde_json::to_value(&recipe)?,
        held_out,
        mean: moments.mean,
        deviation: moments.deviation,
        encoder,
    };
    let network = Network::new(layers, &Device::flex());
    Head { description, network }.save(&args.out.join("head"))?;
    checkpoints.remove()
}

/// The pictures in the teacher's feature folders, with unit-length embeddings of their squares. A picture that is in
/// several folders is taken from the first.
fn teacher_samples(args: &Args, recipe: &Recipe, teacher: &Bundle) -> Result<(EncoderSpec, Vec<Sample>)> {
    let all = EncoderSpec::of(teacher);
    let without_details =
        EncoderSpec { preprocess: Preprocess { details: Vec::new(), ..all.preprocess.clone() }, ..all.clone() };
    let mut rows = index::read_splits(&args.index, &recipe.data.split)?;
    let mut samples: Vec<Sample> = Vec::new();
    for (i, folder) in recipe.teacher.features.iter().enumerate() {
        let (spec, found) = samples::join(rows.clone(), std::slice::from_ref(folder))?;
        let (features, bundle) = (folder.display(), recipe.teacher.bundle.display());
        if !spec.is_compatible_with(if i == 0 { &all } else { &without_details }) {
            let squares = if i == 0 { "all squares" } else { "the central square (`embed --whole`)" };
            bail!(
                "{features} does not contain features of {squares} from the encoder of {bundle}; \
                run `landfall-train embed` again"
            );
        }
        let known: HashSet<&Path> = found.iter().map(|sample| sample.row.file.as_path()).collect();
        rows.retain(|row| !known.contains(row.file.as_path()));
        samples.extend(found);
    }
    for embedding in samples.iter_mut().flat_map(|sample| &mut sample.variants) {
        *embedding = embedding.chunks_exact(all.encoder.dim).flat_map(samples::unit_vector).collect();
    }
    Ok((all, samples))
}

/// Fingerprint of the recipe and the data of a run.
fn fingerprint(recipe: &Recipe, teacher: &Bundle, samples: &[Sample]) -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(&(recipe, &teacher.manifest.head.sha256))?);
    for sample in samples {
        digest.update(format!("{:?}", sample.row.file));
        sample.variants.iter().flatten().for_each(|x| digest.update(x.to_le_bytes()));
    }
    Ok(hash::hex(digest))
}

/// Writes the encoder, checks it against burn, and writes its description.
fn write(args: &Args, spec: EncoderSpec, student: &Student) -> Result<EncoderSpec> {
    let side = spec.preprocess.size as usize;
    let bytes = onnx_writer::write_encoder(
        &student.trunk.fold_batch_norm()?,
        student.projection()?,
        side,
        Arithmetic::Float(args.precision),
    );
    let file = args.out.join("encoder.onnx");
    write_atomic(&file, &bytes)?;
    let encoder = EncoderFile { input: onnx::PIXELS.into(), output: onnx::EMBEDDING.into(), ..spec.encoder };
    let spec = EncoderSpec { encoder, ..spec }.of_file(&file)?;
    let difference = parity::check(&file, &spec, student, args.precision)?;
    write_json(&args.out.join("encoder.json"), &spec)?;
    eprintln!("wrote {}; maximum difference between ONNX Runtime and burn: {difference:.1e}", args.out.display());
    Ok(spec)
}
