//! `finetune`: trains a small encoder on the pictures themselves, taught by a larger bundle.
//!
//! The student learns what the teacher's encoder says of a picture, and of each of its details, and what the teacher's
//! head makes of the whole. Its encoder is then used like any other: `embed`, `fit` and `export` make a bundle of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use landfall_model::Bundle;
use landfall_model::bundle::{EncoderFile, sha256_of};
use sha2::{Digest, Sha256};

use crate::checkpoint::{self, Checkpoints};
use crate::embed::EncoderSpec;
use crate::onnx::{self, Precision};
use crate::samples::{self, Sample};
use crate::{files, index, live};

mod course;
mod held_out;
mod learner;
mod lessons;
mod parity;
mod pictures;
mod recipe;
mod student;

use course::{Course, End};
use held_out::HeldOut;
use learner::Learner;
use lessons::Lessons;
use pictures::Cache;
use recipe::Recipe;
use student::Student;

/// Trains a small encoder on pictures, taught by a bundle.
///
/// Writes `encoder.onnx` and `encoder.json`, which `embed`, `fit` and `export` take. Ctrl-C keeps the last checkpoint.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train finetune --recipe trainer/recipes/pocket.toml --index index.csv --images photos --out runs/pocket"
)]
pub struct Args {
    /// Recipe file (TOML)
    #[arg(long)]
    recipe: PathBuf,
    /// Index of the pictures (csv)
    #[arg(long)]
    index: PathBuf,
    /// Folder that the index's file names are relative to
    #[arg(long)]
    images: PathBuf,
    /// Leave the first of so many parts of the pictures out, and measure on it
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..))]
    folds: Option<u64>,
    /// Stop after so many steps
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// What it is computed on
    #[arg(long, value_enum, default_value_t)]
    device: Where,
    /// How the encoder's weights are stored
    #[arg(long, value_enum, default_value_t = Precision::F16)]
    precision: Precision,
    /// Folder to write
    #[arg(long)]
    out: PathBuf,
    /// Go on from the checkpoint that an interrupted run left in --out
    #[arg(long)]
    resume: bool,
    /// Print the held-out quality as json, and a line of json an epoch on standard error
    #[arg(long)]
    json: bool,
}

/// What a network is computed on.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum Where {
    /// All cores of the processor.
    #[default]
    Cpu,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, a setting makes no sense, the loss stops being a number, or Ctrl-C was pressed.
pub fn run(args: &Args) -> Result<()> {
    let recipe = Recipe::read(&args.recipe)?;
    let teacher = Bundle::open(&recipe.teacher.bundle)?;
    let (spec, samples) = taught(args, &recipe, &teacher)?;
    live::catch_ctrl_c()?;
    let checkpoints = Checkpoints { dir: args.out.join("checkpoints"), resume: args.resume };
    if !args.resume {
        checkpoints.remove()?;
    }
    let is_out = |sample: &Sample| args.folds.is_some_and(|folds| samples::fold_of(&sample.row, folds as usize) == 0);
    let (out, rest): (Vec<Sample>, Vec<Sample>) = samples.into_iter().partition(is_out);
    let cache = |part: &str, samples: &[Sample]| {
        let pictures: Vec<&Path> = samples.iter().map(|sample| sample.row.file.as_path()).collect();
        Cache::open(&recipe.data.cache.join(part), &args.images, &pictures)
    };
    let (pictures, held) = (cache("train", &rest)?, cache("held-out", &out)?);
    let begin = EncoderSpec::read(&recipe.student.encoder)?;
    let preprocess = &begin.preprocess;
    let lessons = Lessons::new(&recipe, &teacher, &spec, &rest, &pictures, preprocess)?;
    let held_out = HeldOut { samples: &out, cache: &held, table: &teacher.cells, preprocess };
    let Where::Cpu = args.device;
    let device = Device::flex().autodiff();
    let cells = teacher.cells.cells.len();
    let pretrained = begin.encoder.locate(recipe.student.encoder.parent().unwrap_or(Path::new(".")))?;
    let cell_embeddings = recipe.student.cell_embeddings.as_deref();
    let student = Student::new(&pretrained, cell_embeddings, spec.encoder.dim, cells, recipe.train.seed, &device)?;
    let mut learner = Learner::new(&recipe, student, device);
    let course = Course {
        recipe: &recipe,
        lessons: &lessons,
        held_out: Some(&held_out).filter(|_| !out.is_empty()),
        checkpoints: &checkpoints,
        fingerprint: &fingerprint(&recipe, &teacher, &rest)?,
        most: args.steps.map(|steps| steps as usize),
        json: args.json,
    };
    if let End::Stopped { first, last } = course.run(&mut learner)? {
        eprintln!("loss {first} at first, {last} at last; --resume goes on from {}", checkpoints.dir.display());
        return Ok(());
    }
    let reports = held_out.reports(learner.averaged())?;
    for (views, report) in &reports {
        let quality = &report.quality;
        let (points, median, country, n) = (quality.geoscore, quality.median_km, quality.country, report.n);
        eprintln!(
            "held out, views {views}: {points:.0} points, median {median:.0} km, country {country:.1} %, n = {n}"
        );
    }
    if args.json {
        println!("{}", serde_json::json!({ "held_out": reports }));
    }
    write(args, &begin, learner.averaged())?;
    checkpoints.remove()
}

/// The pictures that the teacher has seen, with its embeddings of their squares, each of length 1.
fn taught(args: &Args, recipe: &Recipe, teacher: &Bundle) -> Result<(EncoderSpec, Vec<Sample>)> {
    let rows = index::read_splits(&args.index, &recipe.data.split)?;
    let (spec, mut samples) = samples::join(rows, std::slice::from_ref(&recipe.teacher.features))?;
    if !spec.agrees(&EncoderSpec::of(teacher)) {
        let (features, bundle) = (recipe.teacher.features.display(), recipe.teacher.bundle.display());
        bail!("{features} holds features of another encoder than that of {bundle}; embed the pictures again");
    }
    for embedding in samples.iter_mut().flat_map(|sample| &mut sample.variants) {
        *embedding = embedding.chunks_exact(spec.encoder.dim).flat_map(samples::unit).collect();
    }
    Ok((spec, samples))
}

/// Tells runs of different recipes and data apart.
fn fingerprint(recipe: &Recipe, teacher: &Bundle, samples: &[Sample]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&(recipe, &teacher.manifest.head.sha256))?);
    for sample in samples {
        hash.update(format!("{:?}", sample.row.file));
        sample.variants.iter().flatten().for_each(|x| hash.update(x.to_le_bytes()));
    }
    Ok(checkpoint::hex(hash))
}

/// Writes the encoder and its description, once ONNX Runtime answers as burn does.
fn write(args: &Args, begin: &EncoderSpec, student: &Student) -> Result<()> {
    let preprocess = begin.preprocess.clone();
    let bytes = onnx::encoder(&student.trunk.plain()?, preprocess.size as usize, args.precision);
    let file = args.out.join("encoder.onnx");
    files::write(&file, &bytes)?;
    let encoder = EncoderFile {
        file: "encoder.onnx".into(),
        sha256: sha256_of(&file).with_context(|| format!("cannot read {}", file.display()))?,
        bytes: bytes.len() as u64,
        input: onnx::PIXELS.into(),
        output: onnx::FEATURES.into(),
        from: None,
        ..begin.encoder.clone()
    };
    let spec = EncoderSpec { encoder, preprocess };
    let difference = parity::check(&file, &spec, &student.trunk, args.precision)?;
    files::write_json(&args.out.join("encoder.json"), &spec)?;
    eprintln!("wrote {}; ONNX Runtime and burn differ by {difference:.1e} at most", args.out.display());
    Ok(())
}
