//! `bundle`: lists, fetches, checks and removes the files of bundles.

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::DecimalBytes;
use landfall_common::exit::check_failed;
use landfall_model::bundle;

use crate::cli::output::{print_json, print_line};
use crate::cli::setup::{self, FetchArgs};
use crate::setup::inventory::{self, Entry};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall bundle list\n  landfall bundle pull desktop\n  landfall bundle verify\n  landfall bundle remove phone"
)]
pub(super) struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Subcommand)]
enum BundleCommand {
    /// List the installed bundles, and which of their files are missing
    List(ListArgs),
    /// Fetch what bundles need, as `landfall setup --bundle NAME` does
    Pull(PullArgs),
    /// Check every file by SHA-256
    Verify(VerifyArgs),
    /// Delete cached files of bundles, except those that other bundles need
    Remove(RemoveArgs),
}

#[derive(Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Args)]
struct PullArgs {
    /// Bundles, by name or directory (./DIR)
    #[arg(value_name = "NAME|DIR", required = true)]
    bundles: Vec<String>,
    #[command(flatten)]
    fetching: FetchArgs,
}

#[derive(Args)]
struct VerifyArgs {
    /// Bundles, by name or directory (./DIR) [default: all that are installed]
    #[arg(value_name = "NAME|DIR")]
    bundles: Vec<String>,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Args)]
struct RemoveArgs {
    /// Bundles, by name or directory (./DIR)
    #[arg(value_name = "NAME|DIR", required = true)]
    bundles: Vec<String>,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) async fn run(args: BundleArgs) -> Result<()> {
    match args.command {
        BundleCommand::Pull(args) => setup::fetch(args.bundles, args.fetching, false).await,
        BundleCommand::List(args) => tokio::task::spawn_blocking(move || list(&args)).await?,
        BundleCommand::Verify(args) => tokio::task::spawn_blocking(move || verify(&args)).await?,
        BundleCommand::Remove(args) => tokio::task::spawn_blocking(move || remove(&args)).await?,
    }
}

fn list(args: &ListArgs) -> Result<()> {
    let entries: Vec<Entry> = bundle::names().iter().map(|name| inventory::entry(name)).collect();
    if args.json {
        return print_json(&entries);
    }
    for entry in &entries {
        let missing: Vec<_> = entry.files.iter().filter(|file| !file.present).map(|file| file.file.as_str()).collect();
        let state = match (&entry.error, missing.is_empty()) {
            (Some(error), _) => error.clone(),
            (None, true) => "complete".into(),
            (None, false) => {
                format!("missing: {} (`landfall bundle pull {}` fetches it)", missing.join(", "), entry.name)
            }
        };
        let version = entry.version.as_deref().unwrap_or("?");
        let dir = entry.dir.as_ref().map(|dir| format!(", {}", dir.display())).unwrap_or_default();
        print_line(format!("{}@{version}: {}, {state}{dir}", entry.name, DecimalBytes(entry.bytes)))?;
    }
    if entries.is_empty() {
        print_line("no bundle found; unpack the bundles of the release beside the program, as bundles/NAME")?;
    }
    Ok(())
}

fn verify(args: &VerifyArgs) -> Result<()> {
    let names = if args.bundles.is_empty() { bundle::names() } else { args.bundles.clone() };
    let mut checks = Vec::new();
    for name in &names {
        checks.extend(inventory::verify(name)?);
    }
    if args.json {
        print_json(&checks)?;
    } else {
        for check in &checks {
            let state = check.detail.as_deref().unwrap_or("ok");
            print_line(format!("{} {}: {state}", check.bundle, check.file))?;
        }
    }
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        n => Err(check_failed(format!("{n} of {} files of bundles are damaged or missing", checks.len()))),
    }
}

fn remove(args: &RemoveArgs) -> Result<()> {
    let removed = inventory::remove(&args.bundles)?;
    if args.json {
        return print_json(&removed);
    }
    removed.kept.iter().try_for_each(|kept| print_line(format!("kept: {kept}")))?;
    removed.files.iter().try_for_each(|file| print_line(format!("deleted: {}", file.display())))?;
    print_line(format!("{} freed", DecimalBytes(removed.bytes)))
}
