//! The command line: all commands of `landfall-train`. The options of each stand beside its code.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use landfall_common::exit::{Exit, exit_code};

#[cfg(feature = "cluster")]
use crate::data::engine;
use crate::encoder::{distill_pool, finetune, quantise, truncate};
use crate::eval::{analyse, compare, evaluate};
use crate::features::{embed, merge};
use crate::head::{fit, lr_find};
use crate::{bundle, cells, collect, data};

#[derive(Parser)]
#[command(name = "landfall-train", version, about = "Trains and evaluates Landfall's cell classifiers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// The help text of each command stands with its options.
#[derive(Subcommand)]
enum Command {
    Collect(Box<collect::Args>),
    Index(data::build::Args),
    Shard(data::build::shards::Args),
    Stats(data::build::stats::Args),
    Partition(cells::partition::Args),
    Embed(embed::Args),
    Merge(merge::Args),
    LrFind(lr_find::Args),
    Finetune(finetune::Args),
    #[command(alias = "cut")]
    TruncateEncoder(truncate::Args),
    #[command(alias = "pool")]
    DistillPooling(distill_pool::Args),
    Fit(Box<fit::Args>),
    Quantise(quantise::Args),
    Export(bundle::Args),
    Evaluate(evaluate::Args),
    Analyse(analyse::Args),
    Compare(compare::Args),
    /// Runs a machine of a cluster, for `index --scheduler`
    #[cfg(feature = "cluster")]
    #[command(subcommand)]
    Cluster(engine::Command),
}

/// Parses the command line, runs the command and prints its error, if any.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            eprintln!("landfall-train: {error:#}");
            exit_code(&error, |_| None).into()
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Collect(args) => collect::run(&args),
        Command::Index(args) => data::build::run(&args),
        Command::Stats(args) => data::build::stats::run(&args),
        Command::Shard(args) => data::build::shards::run(&args),
        Command::Partition(args) => cells::partition::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::LrFind(args) => lr_find::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::TruncateEncoder(args) => truncate::run(&args),
        Command::DistillPooling(args) => distill_pool::run(&args),
        Command::Fit(args) => fit::run(&args),
        Command::Quantise(args) => quantise::run(&args),
        Command::Export(args) => bundle::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Analyse(args) => analyse::run(&args),
        Command::Compare(args) => compare::run(&args),
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
