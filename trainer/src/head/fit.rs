//! `fit`: trains a head on cached features.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use landfall_model::bundle::sha256_of;

use crate::features::samples::Sample;
use crate::head::checkpoint::Checkpoints;
use crate::head::cross_validate::{self, Validation};
use crate::head::loss::Objective;
use crate::head::model::{Head, HeadDescription, Moments, Network};
use crate::head::overfit;
use crate::head::recipe::{Recipe, RecipeArgs};
use crate::head::train::{self, CheckpointConfig};
use crate::head::training_data::TrainingData;
use crate::io::interrupt;

/// Train a head on cached features
///
/// Rows with only a country are trained with a label over all cells of that country. A picture that is in several
/// feature folders is read from one of them, chosen at random in each epoch. Ctrl-C keeps the last checkpoint.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train fit --recipe trainer/recipes/desktop.toml --index index.csv --folds 5 --out head"
)]
pub(crate) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Cross-validate over this number of folds first, and fit the temperatures on them
    #[arg(long, value_name = "N", help_heading = "Training", value_parser = clap::value_parser!(u64).range(2..))]
    folds: Option<u64>,
    /// Stop after the cross-validation, to compare settings
    #[arg(long, requires = "folds", help_heading = "Training")]
    only_validate: bool,
    /// Run only the first N of the folds
    #[arg(long, value_name = "N", requires = "folds", help_heading = "Training")]
    first_folds: Option<usize>,
    /// Folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    #[arg(required_unless_present_any = ["only_validate", "overfit"])]
    out: Option<PathBuf>,
    /// Check the training setup: overfit this number of pictures per cell; exit with 1 if that fails
    #[arg(long, value_name = "PICTURES", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["folds", "out"], help_heading = "Training")]
    overfit: Option<u64>,
    /// Resume from the checkpoints of an interrupted run in --out
    #[arg(long, requires = "out", help_heading = "Training")]
    resume: bool,
    /// Print the held-out quality as JSON, and one line of JSON per epoch on standard error
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be used, a setting is invalid, the loss is not finite, or Ctrl-C was pressed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.read()?;
    let data = TrainingData::load(&recipe)?;
    interrupt::listen()?;
    if let Some(per_cell) = args.overfit {
        return check_overfit(&data, &recipe, per_cell as usize, args.json);
    }
    let objective = Objective::new(&data, &recipe)?;
    let checkpoints = |out: &PathBuf| Checkpoints { dir: out.join("checkpoints"), resume: args.resume };
    let checkpointing = CheckpointConfig { checkpoints: args.out.as_ref().map(checkpoints), json: args.json };
    if !args.resume {
        // Checkpoints of another run would make a later --resume of this one fail.
        checkpointing.checkpoints.iter().try_for_each(Checkpoints::remove)?;
    }
    let (mut temperature, mut held_out) = (BTreeMap::new(), serde_json::Value::Null);
    if let Some(folds) = args.folds {
        let validation = cross_validate::cross_validate(
            &data,
            &objective,
            &recipe,
            folds as usize,
            args.first_folds,
            &checkpointing,
        )?;
        print_summary(&validation, &recipe.data.features);
        held_out = serde_json::to_value(&validation.reports)?;
        temperature = validation.temperature;
    }
    if args.json {
        println!("{}", serde_json::json!({ "temperature": temperature, "held_out": held_out }));
    }
    let Some(out) = args.out.as_ref().filter(|_| !args.only_validate) else { return Ok(()) };
    let all: Vec<&Sample> = data.samples.iter().collect();
    let moments = Moments::of_samples(&all);
    let layers = train::train("training", &all, &objective, &recipe, &moments, None, &checkpointing)?;
    let outputs = layers.iter().map(|(_, bias)| bias.len());
    let description = HeadDescription {
        encoder: data.encoder.clone(),
        sizes: std::iter::once(moments.mean.len()).chain(outputs).collect(),
        cells_sha256: sha256_of(&recipe.data.cells)?,
        temperature,
        settings: recipe.settings()?,
        held_out,
        mean: moments.mean,
        deviation: moments.deviation,
    };
    Head { description, network: Network::new(layers, &Device::flex()) }.save(out)?;
    checkpointing.checkpoints.iter().try_for_each(Checkpoints::remove)?;
    eprintln!("wrote {}", out.display());
    Ok(())
}

fn check_overfit(data: &TrainingData, recipe: &Recipe, per_cell: usize, json: bool) -> Result<()> {
    let outcome = overfit::check(data, recipe, per_cell, &CheckpointConfig { checkpoints: None, json })?;
    if json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        let overfit::Outcome { cells, pictures, learned, .. } = outcome;
        println!("overfit check passed: {learned} of {pictures} pictures in {cells} cells were memorised");
    }
    Ok(())
}

fn print_summary(validation: &Validation, folders: &[PathBuf]) {
    for (views, reports) in &validation.reports {
        for (i, (report, folder)) in reports.iter().zip(folders).enumerate() {
            let quality = &report.quality;
            let spread =
                validation.spread.get(views).filter(|_| i == 0).map_or_else(String::new, |s| format!(" ± {s:.0}"));
            eprintln!(
                "held out, views {views}, {}: {:.0}{spread} points, median {:.0} km, country {:.1} %, n = {}",
                folder.display(),
                quality.geoscore,
                quality.median_km,
                quality.country,
                report.n
            );
        }
    }
}
