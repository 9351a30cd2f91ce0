//! The command line of `landfall-train`. The options of each command are in its module.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use landfall_common::cli::{Verbosity, init_logging, print_completions, write_man_pages};
use landfall_common::exit::{self, Exit, exit_code};
use landfall_common::text::eprint_sanitized;

#[cfg(feature = "cluster")]
use crate::data::engine;
use crate::encoder::{distill_pool, finetune, quantise, shrink, truncate};
use crate::eval::{analyse, compare, evaluate};
use crate::features::{embed, gallery, merge};
use crate::head::{fit, lr_find};
use crate::{bundle, cells, collect, data};

#[derive(Parser)]
#[command(
    name = "landfall-train",
    version,
    about = "Train and evaluate Landfall's cell classifiers",
    after_long_help = ENVIRONMENT,
    after_help = exit::HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    verbosity: Verbosity,
}

const ENVIRONMENT: &str = "\
Environment variables:
  LANDFALL_BUNDLES            Directory that is searched first for bundles
  LANDFALL_CACHE              Cache directory, for encoders and ONNX Runtime [default: the platform's]
  LANDFALL_LOG                Log filter; overrides -v
  ORT_DYLIB_PATH              ONNX Runtime library to load
  GOOGLE_MAPS_SIGNING_SECRET  Secret that signs requests of `collect streetview`
  AWS_*, GOOGLE_*             Credentials for storage buckets, as for the providers' own tools
  The API key variables of `collect` are listed in the help of each source.

Exit codes: 0 success, 1 check failed, 2 usage error, 3 environment error, 129 hung up (SIGHUP), 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).";

// The help text of each command is the doc comment of its arguments.
#[derive(Subcommand)]
enum Command {
    Collect(Box<collect::Args>),
    Index(data::build::Args),
    Clean(data::build::clean::Args),
    Shard(data::build::shards::Args),
    Stats(data::build::stats::Args),
    Partition(cells::partition::Args),
    Embed(embed::Args),
    Merge(merge::Args),
    Gallery(gallery::Args),
    LrFind(lr_find::Args),
    Finetune(finetune::Args),
    #[command(alias = "cut")]
    TruncateEncoder(truncate::Args),
    #[command(alias = "pool")]
    DistillPooling(distill_pool::Args),
    Fit(Box<fit::Args>),
    Quantise(quantise::Args),
    Export(bundle::Args),
    Shrink(shrink::Args),
    Evaluate(evaluate::Args),
    Analyse(analyse::Args),
    Compare(compare::Args),
    /// Print a shell completion script
    Completions {
        /// Shell to complete in
        shell: Shell,
    },
    /// Write man pages
    Man {
        /// Directory to write to; created if missing
        dir: PathBuf,
    },
    /// Run a node of a cluster, for `index --scheduler`
    #[cfg(feature = "cluster")]
    #[command(subcommand)]
    Cluster(engine::Command),
}

/// Parses the command line, runs the command and prints its error, if any.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match init_logging(cli.verbosity).and_then(|()| run(cli.command)) {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            eprint_sanitized(format!("landfall-train: {error:#}"));
            if let Some(hint) = exit::hint(&error) {
                eprintln!("hint: {hint}");
            }
            exit_code(&error, |_| None).into()
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Collect(args) => collect::run(&args),
        Command::Index(args) => data::build::run(&args),
        Command::Clean(args) => data::build::clean::run(&args),
        Command::Stats(args) => data::build::stats::run(&args),
        Command::Shard(args) => data::build::shards::run(&args),
        Command::Partition(args) => cells::partition::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Gallery(args) => gallery::run(&args),
        Command::LrFind(args) => lr_find::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::TruncateEncoder(args) => truncate::run(&args),
        Command::DistillPooling(args) => distill_pool::run(&args),
        Command::Fit(args) => fit::run(&args),
        Command::Quantise(args) => quantise::run(&args),
        Command::Export(args) => bundle::run(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Analyse(args) => analyse::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Completions { shell } => {
            print_completions::<Cli>(shell);
            Ok(())
        }
        Command::Man { dir } => write_man_pages::<Cli>(&dir),
        #[cfg(feature = "cluster")]
        Command::Cluster(command) => engine::run(&command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent_and_old_command_names_still_work() {
        Cli::command().debug_assert();
        for (old, new) in [("cut", "truncate-encoder"), ("pool", "distill-pooling")] {
            assert_eq!(Cli::command().find_subcommand(old).map(clap::Command::get_name), Some(new));
        }
    }
}
