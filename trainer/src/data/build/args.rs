//! The options of `index`.

use std::path::PathBuf;

use super::split::SplitArgs;

/// Makes an index of collected pictures.
///
/// Looks at every picture once (what it saw is kept beside the index, so that a run that was broken off goes on), leaves out
/// what is of no use, and says how many for which reason.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train index collected/flickr collected/mapillary --images collected --out index.csv"
)]
pub(crate) struct Args {
    /// Folders that `collect` wrote
    #[arg(required = true)]
    pub(super) folders: Vec<PathBuf>,
    /// Folder that the index's file names are relative to; all others must lie in it
    #[arg(long, default_value = ".")]
    pub(super) images: PathBuf,
    /// Shortest side in pixels that is of use
    #[arg(long, default_value_t = 200)]
    pub(super) min_side: u32,
    /// Maximum number of differing bits, of 64, between perceptual hashes of duplicates: 0 to 3
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(super) same_bits: u8,
    /// Do not look at the pictures: their sizes are the manifest's, and what shows nothing or repeats stays in
    #[arg(long)]
    pub(super) trust: bool,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub(super) engine: crate::data::engine::EngineArgs,
    #[command(flatten)]
    pub(super) splits: SplitArgs,
    /// Maximum number of images per exact coordinate, which is often that of a town; 0 for all
    #[arg(long, default_value_t = 5)]
    pub(super) cap_per_coordinate: usize,
    /// Maximum number of images per S2 cell of --cap-level; 0 for all
    #[arg(long, default_value_t = 0)]
    pub(super) cap_per_cell: usize,
    /// S2 level of the cells that --cap-per-cell counts in
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=30))]
    pub(super) cap_level: u64,
    /// Index to write: csv, or parquet for large ones
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Print the report as json
    #[arg(long)]
    pub(super) json: bool,
}
