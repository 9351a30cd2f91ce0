//! `serve`: says where the phone page is, for people as a code to point a phone at.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use landfall_agent::plain::say;
use landfall_agent::serve::{About, ServeOptions, Server};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::Serve;
use super::print::{print_json, print_line, print_text};

pub(super) async fn serve(args: Serve) -> Result<()> {
    let usual = if args.http { (Ipv4Addr::LOCALHOST, 8080) } else { (Ipv4Addr::UNSPECIFIED, 8443) };
    let listen = args.listen.unwrap_or(SocketAddr::from(usual));
    let server = Server::start(&ServeOptions { listen, https: !args.http, page: args.page }).await?;
    let about = &server.about;
    about.notes.iter().for_each(|note| say(format!("serve: {note}")));
    if args.json {
        print_json(about)?;
    } else {
        show(about)?;
    }
    server.run().await // until Ctrl-C, which `main` waits for
}

fn show(about: &About) -> Result<()> {
    about.addresses.iter().try_for_each(print_line)?;
    if std::io::stdout().is_terminal()
        && let Some(code) = about.for_phones().and_then(|address| QrCode::new(address).ok())
    {
        // In colours of its own: whatever the terminal's are, phones want dark on light.
        for line in code.render::<Dense1x2>().build().lines() {
            print_text(&format!("\x1b[30;107m{line}\x1b[0m"))?;
        }
    }
    say(format!("Serving {}; Ctrl-C ends it.", about.bundles.join(" and ")));
    if let Some((address, certificate)) = about.for_phones().zip(about.certificate.as_ref()) {
        eprintln!(
            "The browser warns of the certificate, which this computer made itself (good until {}).",
            certificate.until
        );
        eprintln!("To install the page on a phone, have the phone trust {address}landfall.crt once.");
    }
    Ok(())
}
