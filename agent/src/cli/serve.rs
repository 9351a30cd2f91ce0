//! `serve`: serves the phone page and prints its URLs, with a QR code in a terminal.

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
    /// Address and port to listen on; port 0 picks a free one [default: 0.0.0.0:8443, or 127.0.0.1:8080 with --http]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Serve plain HTTP, for this computer only or behind a reverse proxy
    #[arg(long)]
    http: bool,
    /// Directory of the built page [default: the one that `cargo xtask setup` builds]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Print one JSON object with the URLs
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ServeArgs) -> Result<()> {
    let usual = if args.http { (Ipv4Addr::LOCALHOST, 8080) } else { (Ipv4Addr::UNSPECIFIED, 8443) };
    let listen = args.listen.unwrap_or(SocketAddr::from(usual));
    let server = PhoneServer::start(&ServeOptions { listen, https: !args.http, page: args.page }).await?;
    let info = &server.about;
    info.notes.iter().for_each(|note| eprint_sanitized(format!("serve: {note}")));
    if args.json {
        print_json(info)?;
    } else {
        show(info)?;
    }
    server.run().await // until a signal, for which `main` waits
}

fn show(info: &ServerInfo) -> Result<()> {
    info.addresses.iter().try_for_each(print_line)?;
    if std::io::stdout().is_terminal()
        && let Some(code) = info.for_phones().and_then(|address| QrCode::new(address).ok())
    {
        // Fixed colours: QR codes must be dark on light, whatever the colours of the terminal.
        for line in code.render::<Dense1x2>().build().lines() {
            print_text(&format!("\x1b[30;107m{line}\x1b[0m"))?;
        }
    }
    eprint_sanitized(format!("Serving {}. Ctrl-C stops the server.", info.bundles.join(" and ")));
    if let Some((address, certificate)) = info.for_phones().zip(info.certificate.as_ref()) {
        eprintln!("Browsers warn info the certificate, which is self-signed (valid until {}).", certificate.until);
        eprintln!(
            "To install the page on a phone, install {address}landfall.crt as a trusted certificate there first."
        );
    }
    Ok(())
}
