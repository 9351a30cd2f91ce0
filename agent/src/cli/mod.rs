//! The command line: one file per command, with its options.

mod archive;
mod arena;
mod args;
mod bench;
mod bundle;
mod completions;
mod derive;
mod doctor;
mod export;
mod games;
mod geotag;
mod hints;
mod locate;
mod mcp;
mod output;
mod parallel;
mod play;
mod probe;
mod replay;
mod report;
mod review;
mod serve;
mod session;
mod setup;
mod signals;
mod stats;
mod verify;
#[cfg(feature = "screen")]
mod watch;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use landfall_common::cli::{Verbosity, init_logging};
use landfall_common::exit::{self, Exit, environment_error};
use landfall_common::text::eprint_sanitized;
use tokio::sync::oneshot;

use crate::browser;
use crate::error::{describe, exit_code};

#[derive(Parser)]
#[command(
    name = "landfall",
    version,
    about = "Geolocate photos and play geolocation games",
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
  LANDFALL_BUNDLES  Directory that is searched first for bundles
  LANDFALL_CACHE    Cache directory, for downloaded encoders and ONNX Runtime [default: the platform's]
  LANDFALL_CONFIG   Configuration directory, for site profiles and certificates [default: the platform's]
  LANDFALL_LOG      Log filter; overrides -v
  LANDFALL_PYTHON   Python interpreter whose pip `setup` downloads with [default: python3, on Windows python]
  PIP_INDEX_URL     Package index that `setup` downloads from where neither pip nor npm can, as pip names it
  ORT_DYLIB_PATH    The ONNX Runtime library to load
  NO_COLOR          Draw no maps in the terminal and use no colours
  TERM, COLORTERM, TERM_PROGRAM, KITTY_WINDOW_ID and similar  Detect the terminal's graphics support

Exit codes: 0 success, 1 check failed, 2 usage error, 3 environment error, 129 hung up (SIGHUP), 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).";

#[derive(Subcommand)]
enum Command {
    /// Play a game in a real browser
    Play(Box<play::PlayArgs>),
    /// Predict where photos were taken
    Locate(Box<locate::LocateArgs>),
    /// Check the answers of `locate --manifest` on a map, and write those that are right
    Review(review::ReviewArgs),
    /// Test a claim of where photos were taken
    Verify(verify::VerifyArgs),
    /// Predict recorded rounds again, without a browser
    Replay(replay::ReplayArgs),
    /// Write an HTML report on recorded rounds
    Report(report::ReportArgs),
    /// Print statistics over all recorded games
    Stats(stats::StatsArgs),
    /// Export recorded rounds as GeoJSON, CSV or KML
    Export(export::ExportArgs),
    /// Measure a player on a fixed set of rounds
    Bench(Box<bench::BenchArgs>),
    /// Serve the practice game
    Arena(arena::ArenaArgs),
    /// Serve the phone page on the local network, or an API for other programs
    Serve(serve::ServeArgs),
    /// Serve tools for programs that speak the Model Context Protocol: locate, verify, and the practice game
    Mcp(Box<mcp::McpArgs>),
    /// Watch a window or a part of the screen and locate what it shows
    #[cfg(feature = "screen")]
    Watch(watch::WatchArgs),
    /// Fetch ONNX Runtime and the encoders of bundles
    Setup(setup::SetupArgs),
    /// List, fetch, check and remove the files of bundles
    Bundle(bundle::BundleArgs),
    /// Check the installation, or a site profile against its page
    Doctor(Box<doctor::DoctorArgs>),
    /// Compute encoders that are derived from those of other bundles (otherwise done on first use)
    Derive(derive::DeriveArgs),
    /// Play an unknown game page to write a site profile for it
    Probe(probe::ProbeArgs),
    /// Print a shell completion script
    Completions(completions::CompletionsArgs),
    /// Write man pages
    Man(completions::ManArgs),
}

/// Serves until it ends, or until a signal stops it, whose exit code is the error.
async fn until<F: Future<Output = Result<()>>>(
    stopped: oneshot::Receiver<Exit>,
    serve: impl FnOnce(Stop) -> F,
) -> Result<Result<()>, Exit> {
    let (stop, stopping) = oneshot::channel();
    let stopping: Stop = Box::pin(async { _ = stopping.await });
    let serving = serve(stopping);
    tokio::pin!(serving);
    tokio::select! {
        biased;
        exit = stopped => {
            _ = stop.send(());
            serving.await.map_or_else(|error| Ok(Err(error)), |()| Err(exit.unwrap_or(Exit::Interrupted)))
        }
        result = &mut serving => Ok(result),
    }
}

/// Ends when the program shall stop.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes what the program contains usable.
#[cfg(feature = "embed")]
fn provide(command: &Command) -> Result<()> {
    match command {
        Command::Completions(_) | Command::Man(_) => Ok(()),
        _ => crate::setup::embedded::provide(),
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Play(args) => play::run(*args).await,
        // Commands that only compute must not block the thread that listens for signals.
        Command::Locate(args) => tokio::task::spawn_blocking(move || locate::run(&args)).await?,
        Command::Review(args) => review::run(args).await,
        Command::Verify(args) => tokio::task::spawn_blocking(move || verify::run(&args)).await?,
        Command::Replay(args) => tokio::task::spawn_blocking(move || replay::run(&args)).await?,
        Command::Report(args) => tokio::task::spawn_blocking(move || report::run(&args)).await?,
        Command::Export(args) => tokio::task::spawn_blocking(move || export::run(&args)).await?,
        Command::Stats(args) => tokio::task::spawn_blocking(move || stats::run(&args)).await?,
        Command::Bench(args) => bench::run(*args).await,
        Command::Arena(args) => arena::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Mcp(args) => mcp::run(*args, std::future::pending()).await,
        #[cfg(feature = "screen")]
        Command::Watch(args) => tokio::task::spawn_blocking(move || watch::run(&args)).await?,
        Command::Setup(args) => setup::run(args).await,
        Command::Bundle(args) => bundle::run(args).await,
        Command::Doctor(args) => doctor::run(*args).await,
        Command::Derive(args) => tokio::task::spawn_blocking(move || derive::run(&args)).await?,
        Command::Probe(args) => probe::run(args).await,
        Command::Completions(args) => completions::run::<Cli>(&args),
        Command::Man(args) => completions::write_man_pages::<Cli>(&args),
    }
}

/// Parses the command line and runs the command until it ends or a signal stops it.
pub fn main() -> ExitCode {
    main_with(std::env::args_os()).into()
}

/// As [`main`], with this command line, which begins with the program's name. Usage errors and `--help` end the process.
pub fn main_with(command_line: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = Cli::parse_from(command_line);
    if let Err(error) = init_logging(cli.verbosity) {
        eprint_sanitized(format!("landfall: {}", describe(&error)));
        return exit_code(&error);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("landfall: cannot start: {error}");
            return Exit::Environment;
        }
    };
    let result = runtime.block_on(async {
        let stopped = match signals::listen() {
            Ok(stopped) => stopped,
            Err(error) => return Ok(Err(environment_error(format!("cannot listen for signals: {error}")))),
        };
        #[cfg(feature = "embed")]
        if let Err(error) = provide(&cli.command) {
            return Ok(Err(error));
        }
        match cli.command {
            // These answer the requests that have begun.
            Command::Serve(args) if args.api => until(stopped, |stop| serve::run_api(args, stop)).await,
            Command::Mcp(args) => match until(stopped, |stop| mcp::run(*args, stop)).await {
                // That is how clients end their servers.
                Err(Exit::Terminated) => Ok(Ok(())),
                ended => ended,
            },
            command => tokio::select! {
                biased;
                exit = stopped => Err(exit.unwrap_or(Exit::Interrupted)),
                result = run(command) => Ok(result),
            },
        }
    });
    // Guards end the drivers of open sessions, and must run before the process ends.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    browser::end_all();
    match result {
        Ok(Ok(())) => Exit::Success,
        Ok(Err(error)) if error.is::<output::OutputClosed>() => Exit::Success,
        Ok(Err(error)) => {
            eprint_sanitized(format!("landfall: {}", describe(&error)));
            if let Some(hint) = exit::hint(&error) {
                eprintln!("hint: {hint}");
            }
            exit_code(&error)
        }
        Err(exit) => exit, // what was recorded stays
    }
}
