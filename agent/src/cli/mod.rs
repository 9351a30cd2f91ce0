//! The command line: one file per command, with its options.

mod arena;
mod args;
mod doctor;
mod export;
mod games;
mod locate;
mod output;
mod parallel;
mod play;
mod probe;
mod replay;
mod report;
mod serve;
mod session;
mod stats;
#[cfg(feature = "screen")]
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use landfall_common::exit::Exit;
use landfall_common::text::eprint_sanitized;

use crate::browser::ChildProcesses;
use crate::error::{describe, exit_code};

#[derive(Parser)]
#[command(name = "landfall", version, about = "Knows where a photograph was taken, and proves it by playing")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play a game in a real browser
    Play(Box<play::PlayArgs>),
    /// Say where photographs were taken
    Locate(locate::LocateArgs),
    /// Answer saved rounds again, without a browser
    Replay(replay::ReplayArgs),
    /// Show recorded rounds as one page: what was seen, what was believed, what came of it
    Report(report::ReportArgs),
    /// Say what all recorded games say together
    Stats(stats::StatsArgs),
    /// Write recorded rounds as GeoJSON, CSV or KML
    Export(export::ExportArgs),
    /// Serve the practice game, for people and machines
    Arena(arena::ArenaArgs),
    /// Put the phone page on the local network
    Serve(serve::ServeArgs),
    /// Say where what is on the screen seems to be, whenever it changes
    #[cfg(feature = "screen")]
    Watch(watch::WatchArgs),
    /// Say what is found, what is missing and how to mend it
    Doctor(Box<doctor::DoctorArgs>),
    /// Find out how an unknown page is built by playing a game there, and write its site profile
    Probe(probe::ProbeArgs),
}

/// Runs the command that was typed.
async fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Play(args) => play::run(*args).await,
        // What computes without a pause goes off the thread that listens for Ctrl-C.
        Command::Locate(args) => tokio::task::spawn_blocking(move || locate::run(&args)).await?,
        Command::Replay(args) => tokio::task::spawn_blocking(move || replay::run(&args)).await?,
        Command::Report(args) => tokio::task::spawn_blocking(move || report::run(&args)).await?,
        Command::Export(args) => tokio::task::spawn_blocking(move || export::run(&args)).await?,
        Command::Stats(args) => tokio::task::spawn_blocking(move || stats::run(&args)).await?,
        Command::Arena(args) => arena::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        #[cfg(feature = "screen")]
        Command::Watch(args) => tokio::task::spawn_blocking(move || watch::run(&args)).await?,
        Command::Doctor(args) => doctor::run(*args).await,
        Command::Probe(args) => probe::run(args).await,
    }
}

/// Runs the program: the command that was typed, until it is done or Ctrl-C stops it.
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("landfall: cannot start: {error}");
            return Exit::Environment.into();
        }
    };
    let result = runtime.block_on(async {
        // Looked for while the command still runs: once it is dropped its drivers go, and leave their browsers behind.
        let stopped = async { tokio::signal::ctrl_c().await.map(|()| ChildProcesses::now()).unwrap_or_default() };
        tokio::select! {
            result = run() => Ok(result),
            browsers = stopped => Err(browsers),
        }
    });
    // The driver that a session started is stopped by its guard, which must run before the process ends.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprint_sanitized(format!("landfall: {}", describe(&error)));
            exit_code(&error).into()
        }
        Err(browsers) => {
            browsers.end();
            Exit::Interrupted.into() // what was recorded until then stays
        }
    }
}
