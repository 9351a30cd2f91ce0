//! `landfall-train`: from geotagged photographs to a bundle.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use landfall_trainer::{
    analyse, collect, compare, cut, dataset, embed, evaluate, exit_code, export, finetune, fit, lr_find, merge,
    partition, pool, quantise,
};

// A step of training makes and drops large tensors: with the system's allocator half of its time goes into asking for
// their pages and giving them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "landfall-train", version, about = "Trains and evaluates Landfall's cell classifiers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Each command says what it does where its arguments are.
#[derive(Subcommand)]
enum Command {
    Collect(Box<collect::Args>),
    Index(dataset::Args),
    Shard(dataset::shards::Args),
    Stats(dataset::stats::Args),
    Partition(partition::Args),
    Embed(embed::Args),
    Merge(merge::Args),
    LrFind(lr_find::Args),
    Finetune(finetune::Args),
    Cut(cut::Args),
    Pool(pool::Args),
    Fit(Box<fit::Args>),
    Quantise(quantise::Args),
    Export(export::Args),
    Evaluate(evaluate::Args),
    Analyse(analyse::Args),
    Compare(compare::Args),
    /// Runs a machine of a cluster, for `index --scheduler`
    #[cfg(feature = "cluster")]
    #[command(subcommand)]
    Cluster(landfall_trainer::cluster::Command),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Collect(args) => collect::run(&args),
        Command::Index(args) => dataset::run(&args),
        Command::Stats(args) => dataset::stats::run(&args),
        Command::Shard(args) => dataset::shards::run(&args),
        Command::Partition(args) => partition::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::LrFind(args) => lr_find::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::Cut(args) => cut::run(&args),
        Command::Pool(args) => pool::run(&args),
        Command::Fit(args) => fit::run(&args),
        Command::Quantise(args) => quantise::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Analyse(args) => analyse::run(&args),
        Command::Compare(args) => compare::run(&args),
        #[cfg(feature = "cluster")]
        Command::Cluster(command) => landfall_trainer::cluster::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("landfall-train: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}
