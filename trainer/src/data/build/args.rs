//! The options of `index`.

use std::path::PathBuf;

use super::split::SplitArgs;

/// Build an index of collected images
///
/// Checks every image once, excludes unusable images and duplicates, assigns splits, and reports the number of excluded
/// images by reason. The results of the checks are cached next to the index, so that an interrupted run continues.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train index collected/flickr collected/mapillary --images collected --out index.csv"
)]
pub(crate) struct Args {
    /// Directories written by `collect`
    #[arg(required = true, value_name = "DIR")]
    pub(super) folders: Vec<PathBuf>,
    /// Directory that file names in the index are relative to; must contain all others
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Input")]
    pub(super) images: PathBuf,
    /// Minimum length of the shorter side in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 200, help_heading = "Input")]
    pub(super) min_side: u32,
    /// Maximum number of differing bits, of 64, between perceptual hashes of duplicates: 0 to 3
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(0..=3),
        help_heading = "Input"
    )]
    pub(super) same_bits: u8,
    /// Do not open the images: use the sizes from the manifests, and keep blank images and duplicates
    #[arg(long, help_heading = "Input")]
    pub(super) trust: bool,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub(super) engine: crate::data::engine::EngineArgs,
    #[command(flatten)]
    pub(super) splits: SplitArgs,
    /// Maximum number of images per exact coordinate, which is often that of a town; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Input")]
    pub(super) cap_per_coordinate: usize,
    /// Maximum number of images per S2 cell of --cap-level; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Input")]
    pub(super) cap_per_cell: usize,
    /// S2 level of the cells of --cap-per-cell
    #[arg(
        long,
        value_name = "LEVEL",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(0..=30),
        help_heading = "Input"
    )]
    pub(super) cap_level: u64,
    /// Index to write: CSV, or Parquet if the name ends in .parquet
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) out: PathBuf,
    /// Print the report as JSON
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}
