//! `derive`: computes the encoders of bundles that are derived from other bundles, before they are needed.

use anyhow::Result;
use clap::Args;
use landfall_model::{Bundle, bundle};

use crate::cli::args::announce_derivation;

#[derive(Args)]
#[command(after_help = "Example:\n  landfall derive phone")]
pub(super) struct DeriveArgs {
    /// Bundles, by name or directory (./DIR) [default: all]
    #[arg(value_name = "NAME|DIR")]
    bundles: Vec<String>,
}

pub(super) fn run(args: &DeriveArgs) -> Result<()> {
    let names = if args.bundles.is_empty() { bundle::names() } else { args.bundles.clone() };
    for name in names {
        let bundle = Bundle::find(&name)?;
        if bundle.manifest.encoder.derived.is_some() {
            announce_derivation(&bundle);
            bundle.encoder_paths()?;
        }
    }
    Ok(())
}
