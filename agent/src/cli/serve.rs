//! `serve`: says where the phone page is, for people as a code to point a phone at.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use landfall_common::text::eprint_sanitized;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::cli::output::{print_json, print_line, print_text};
use crate::server::phone::{PhoneServer, ServeOptions, ServerInfo};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall serve\n  landfall serve --listen 192.168.1.7:9000\n  landfall serve --http --listen 127.0.0.1:8080"
)]
pub(super) struct ServeArgs {
    /// Address and port to listen on; port 0 takes any free one [default: 0.0.0.0:8443, with --http 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Without HTTPS: for this computer alone, or behind a server that adds it
    #[arg(long)]
    http: bool,
    /// Folder of the built page [default: the one that set-up builds]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Print one JSON object with the addresses
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ServeArgs) -> Result<()> {
    let usual = if args.http { (Ipv4Addr::LOCALHOST, 8080) } else { (Ipv4Addr::UNSPECIFIED, 8443) };
    let listen = args.listen.unwrap_or(SocketAddr::from(usual));
    let server = PhoneServer::start(&ServeOptions { listen, https: !args.http, page: args.page }).await?;
    let about = &server.about;
    about.notes.iter().for_each(|note| eprint_sanitized(format!("serve: {note}")));
    if args.json {
        print_json(about)?;
    } else {
        show(about)?;
    }
    server.run().await // until Ctrl-C, which `main` waits for
}

fn show(about: &ServerInfo) -> Result<()> {
    about.addresses.iter().try_for_each(print_line)?;
    if std::io::stdout().is_terminal()
        && let Some(code) = about.for_phones().and_then(|address| QrCode::new(address).ok())
    {
        // In colours of its own: whatever the terminal's are, phones want dark on light.
        for line in code.render::<Dense1x2>().build().lines() {
            print_text(&format!("\x1b[30;107m{line}\x1b[0m"))?;
        }
    }
    eprint_sanitized(format!("Serving {}; Ctrl-C ends it.", about.bundles.join(" and ")));
    if let Some((address, certificate)) = about.for_phones().zip(about.certificate.as_ref()) {
        eprintln!(
            "The browser warns of the certificate, which this computer made itself (good until {}).",
            certificate.until
        );
        eprintln!("To install the page on a phone, have the phone trust {address}landfall.crt once.");
    }
    Ok(())
}
