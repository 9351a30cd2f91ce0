//! `mcp`: serves tools for programs that speak the Model Context Protocol.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use landfall_common::exit::usage_error;
use landfall_common::text::eprint_sanitized;
use landfall_model::Bundle;

use crate::cli::args::{ModelArgs, fixtures};
use crate::cli::output::{check_output_dir, print_json, print_line};
use crate::cli::serve::read_token;
use crate::server::arena::RoundSource;
use crate::server::mcp::{HttpServer, McpOptions, McpServer, serve_stdio};

#[derive(Args)]
#[command(
    after_help = "A client starts `landfall mcp` itself: docs/mcp.md has its configuration. The end of the input and SIGTERM end the server, with exit code 0.\n\nExamples:\n  landfall mcp --runs runs\n  landfall mcp --allow-dir ~/photos --bundle pocket\n  landfall mcp --http 8095 --token-file token"
)]
pub(super) struct McpArgs {
    /// Serve over HTTP on this port of 127.0.0.1, instead of on standard input and output; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    http: Option<u16>,
    /// File with a token that clients must send, as in `Authorization: Bearer TOKEN`
    #[arg(long, value_name = "FILE", requires = "http")]
    token_file: Option<PathBuf>,
    /// Print one JSON object with the URL
    #[arg(long, requires = "http")]
    json: bool,
    /// Let clients name picture files below this directory (repeatable); by default they send pictures in the call
    #[arg(long, value_name = "DIR")]
    allow_dir: Vec<PathBuf>,
    /// Directory of recorded games, which clients may read; games of the arena are recorded there
    ///
    /// Without it, nothing is recorded, and there are no resources.
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Directory of recorded rounds to play [default: the fixtures]
    #[arg(long, value_name = "DIR", conflicts_with = "photos", help_heading = "Arena")]
    fixtures: Option<PathBuf>,
    /// Directory of photos with GPS positions to play
    #[arg(long, value_name = "DIR", help_heading = "Arena")]
    photos: Option<PathBuf>,
}

/// Serves until the input ends or `stop` does, and then answers the calls that have begun.
pub(super) async fn run(args: McpArgs, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    if let Some(name) = args.model.bundle.clone() {
        // An early message, although it is loaded for the first call that needs it.
        tokio::task::spawn_blocking(move || Bundle::find(&name)).await??;
    }
    args.runs.as_deref().map_or(Ok(()), check_output_dir)?;
    let rounds = match (args.fixtures, args.photos) {
        (None, None) => fixtures().ok(), // without any, the other tools work
        (Some(dir), _) => Some(RoundSource::Fixtures(checked(dir)?)),
        (None, Some(dir)) => Some(RoundSource::Photos(checked(dir)?)),
    };
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    let model = args.model;
    let load = Box::new(move || model.load_for_games(usize::MAX));
    let server = McpServer::new(McpOptions { load, allowed_dirs: args.allow_dir, rounds, runs: args.runs })?;
    let Some(port) = args.http else { return serve_stdio(server, stop).await };
    let server = HttpServer::bind(server, port, token.as_deref())?;
    let url = server.url()?;
    if args.json {
        print_json(&serde_json::json!({ "url": url }))?;
    } else {
        print_line(&url)?;
        eprint_sanitized("Ctrl-C stops the server.");
    }
    server.run(stop).await
}

fn checked(dir: PathBuf) -> Result<PathBuf> {
    if dir.is_dir() { Ok(dir) } else { Err(usage_error(format!("{}: not a directory", dir.display()))) }
}
