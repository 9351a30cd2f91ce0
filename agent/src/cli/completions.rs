//! `completions` and `man`: generated from the definitions of the command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use landfall_common::cli;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall completions bash > ~/.local/share/bash-completion/completions/landfall\n  landfall completions zsh > ~/.zfunc/_landfall"
)]
pub(super) struct CompletionsArgs {
    /// Shell to generate completions for
    shell: Shell,
}

#[derive(Args)]
#[command(after_help = "Example:\n  landfall man ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Directory to write to; created if missing
    dir: PathBuf,
}

pub(super) fn run<C: CommandFactory>(args: &CompletionsArgs) -> Result<()> {
    cli::print_completions::<C>(args.shell);
    Ok(())
}

pub(super) fn write_man_pages<C: CommandFactory>(args: &ManArgs) -> Result<()> {
    cli::write_man_pages::<C>(&args.dir)
}
