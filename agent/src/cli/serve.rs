//! `serve`: serves the phone page and prints its URLs, with a QR code in a terminal.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use axum::http::uri::Authority;
use clap::Args;
use landfall_common::text::eprint_sanitized;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::cli::output::{print_json, print_line, print_text};
use crate::server::phone::{Certificate, PhoneServer, ServeOptions, ServerInfo};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall serve\n  landfall serve --listen 192.168.1.7:9000\n  landfall serve --http --listen 127.0.0.1:8080"
)]
pub(super) struct ServeArgs {
    /// Address and port to listen on; port 0 picks a free one [default: 0.0.0.0:8443, or 127.0.0.1:8080 with --http]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Another host name that the server answers to, such as that of a reverse proxy (repeatable)
    ///
    /// Requests to any other name than localhost and the addresses of this computer are refused.
    #[arg(long, value_name = "NAME[:PORT]", value_parser = host)]
    host: Vec<String>,
    /// Serve plain HTTP, for this computer only or behind a reverse proxy
    #[arg(long)]
    http: bool,
    /// Directory of the built page [default: `web` beside the program, or in a checkout the one that `cargo xtask setup` builds, or that in the program]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Print one JSON object with the URLs
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ServeArgs) -> Result<()> {
    let usual = if args.http { (Ipv4Addr::LOCALHOST, 8080) } else { (Ipv4Addr::UNSPECIFIED, 8443) };
    let listen = args.listen.unwrap_or(SocketAddr::from(usual));
    let server =
        PhoneServer::start(&ServeOptions { listen, https: !args.http, hosts: args.host, page: args.page }).await?;
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
    if let Some((address, certificate)) = info.addresses.first().zip(info.certificate.as_ref()) {
        eprint_sanitized(phone_help(address, certificate));
    }
    Ok(())
}

/// How a phone comes to trust the certificate. iPhones need two steps, of which the second is easily missed; Android
/// installs certificates from its settings only.
fn phone_help(address: &str, certificate: &Certificate) -> String {
    let (file, until) = (format!("{address}landfall.crt"), certificate.until);
    format!(
        "\
Browsers warn about the certificate, which is this computer's own (valid until {until}): continue past the warning to use
the page. To install the page on a phone, let the phone trust the certificate first:
  iPhone   Open {file} in Safari and allow the download. In Settings, tap Profile Downloaded
  or iPad  (or General, VPN & Device Management) and install the profile. Then, in Settings, General, About, Certificate
           Trust Settings, switch it on.
  Android  Open {file} in Chrome and keep the file. In Settings, search for \"CA certificate\"
           (Security, Encryption & credentials, Install a certificate, CA certificate) and choose the file. Chrome then
           trusts it, Firefox does not; Android notes that the network may be monitored.
The certificate can vouch for addresses on private networks only. Remove it from the phone when you no longer need it."
    )
}

fn host(text: &str) -> Result<String, String> {
    let authority = text.parse::<Authority>().ok().filter(|_| !text.contains('@'));
    authority.map(|_| text.to_owned()).ok_or_else(|| format!("`{text}` is not a host name, as in map.example.org"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_the_steps_for_both_kinds_of_phones() {
        let certificate =
            Certificate { until: "2027-11-29".parse().unwrap(), names: Vec::new(), kept_in: PathBuf::new() };
        let help = phone_help("https://192.168.1.7:8443/", &certificate);
        for part in [
            "https://192.168.1.7:8443/landfall.crt",
            "2027-11-29",
            "iPhone",
            "General, About, Certificate\n           Trust Settings",
            "Android",
            "Install a certificate, CA certificate",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }

    #[test]
    fn hosts_are_names_with_or_without_a_port() {
        for good in ["map.example.org", "map.example.org:8443", "laptop.local", "[fd12::1]", "10.0.0.7"] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        for bad in ["https://map.example.org", "map.example.org/", "me@map.example.org", "", "a b"] {
            assert!(host(bad).unwrap_err().contains("is not a host name"), "{bad}");
        }
    }
}
