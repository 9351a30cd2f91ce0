//! `merge`: combines the feature folders of several `embed --part` runs.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::features::store::{self, FeatureFolder};

/// Combine several feature directories, such as those that `embed --part` writes on several machines
#[derive(clap::Args)]
#[command(after_help = "Example:\n  landfall-train merge features/part-* --out features/train")]
pub(crate) struct Args {
    /// Feature directories of the same encoder
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Feature directory to write or to add to
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Print the summary as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If a folder is damaged or of another encoder, or the merged one cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut merged: Option<FeatureFolder> = None;
    for dir in &args.folders {
        if std::path::absolute(dir)? == std::path::absolute(&args.out)? {
            bail!("{} cannot be merged into itself", dir.display());
        }
        let (spec, features) = store::load(dir)?;
        let merged = match &mut merged {
            Some(merged) => merged,
            None => merged.insert(FeatureFolder::open(&args.out, &spec)?),
        };
        if merged.spec != spec {
            bail!("{} and {} contain features of different encoders", args.folders[0].display(), dir.display());
        }
        let mut features: Vec<_> = features.into_iter().filter(|(file, _)| !merged.done.contains(file)).collect();
        features.sort_by(|a, b| a.0.cmp(&b.0));
        for (file, embedding) in features {
            merged.append(&file, &embedding)?;
            merged.done.insert(file);
        }
    }
    let count = merged.map_or(0, |merged| merged.done.len());
    if args.json {
        println!("{}", serde_json::json!({ "pictures": count }));
    }
    eprintln!("wrote {}: {count} images", args.out.display());
    Ok(())
}
