//! `merge`: feature folders that parts of an index were embedded into become one.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::features::store::{self, FeatureFolder};

/// Makes one feature folder of several, as `embed --part` writes them on many machines.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  landfall-train merge features/part-* --out features/train")]
pub(crate) struct Args {
    /// Folders of the same encoder
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Feature folder to write or to add to
    #[arg(long)]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a folder is damaged or of another encoder, or the new one cannot be written.
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
            bail!("{} and {} hold features of different encoders", args.folders[0].display(), dir.display());
        }
        let mut features: Vec<_> = features.into_iter().filter(|(file, _)| !merged.done.contains(file)).collect();
        features.sort_by(|a, b| a.0.cmp(&b.0));
        for (file, embedding) in features {
            merged.append(&file, &embedding)?;
            merged.done.insert(file);
        }
    }
    let count = merged.map_or(0, |merged| merged.done.len());
    eprintln!("wrote {}: {count} pictures", args.out.display());
    Ok(())
}
