//! `serve`: serves the phone page and prints its URLs, with a QR code in a terminal; or locates images for other programs.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use axum::http::uri::Authority;
use clap::Args;
use landfall_common::exit::usage_error;
use landfall_common::text::eprint_sanitized;
use landfall_model::Classifier;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;

use crate::cli::args::ModelArgs;
use crate::cli::output::{print_json, print_line, print_text};
use crate::server::api::{ApiOptions, ApiServer};
use crate::server::phone::{Certificate, PhoneServer, ServeOptions, ServerInfo};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall serve\n  landfall serve --listen 192.168.1.7:9000\n  landfall serve --http --listen 127.0.0.1:8080\n  landfall serve --api --bundle pocket --listen 127.0.0.1:8090"
)]
pub(super) struct ServeArgs {
    /// Address and port to listen on; port 0 picks a free one [default: 0.0.0.0:8443, 127.0.0.1:8080 with --http, or 127.0.0.1:8090 with --api]
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
    /// Locate images for other programs over HTTP, instead of serving the page
    ///
    /// `POST /v1/locate` takes images as JSON or as a form; `/openapi.json` describes it. `/healthz` tells whether the
    /// service answers, and `/metrics` has counters for Prometheus.
    #[arg(long, conflicts_with_all = ["http", "page"])]
    pub(super) api: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Service (--api)")]
struct ServiceArgs {
    /// Bundle, by name or directory (./DIR); repeatable, the first one is the default [default: desktop, or pocket if desktop's encoder is not installed]
    #[arg(long, value_name = "NAME|DIR", requires = "api")]
    bundle: Vec<String>,
    /// File with a token that clients must send, as in `Authorization: Bearer TOKEN`
    ///
    /// Required if other computers can reach the service.
    #[arg(long, value_name = "FILE", requires = "api")]
    token_file: Option<PathBuf>,
    /// Maximum size of a request in megabytes
    #[arg(long, value_name = "MB", default_value_t = 32, requires = "api", value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_body: u16,
    /// Maximum number of requests that are answered or wait at the same time; others get the status 503
    #[arg(long, value_name = "N", default_value_t = 128, requires = "api", value_parser = clap::value_parser!(u16).range(1..))]
    max_requests: u16,
}

/// What `--api --json` prints.
#[derive(Serialize)]
struct ApiInfo {
    url: String,
    bundles: Vec<String>,
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

/// Serves the API until `stop` ends, and then answers the requests that have begun.
pub(super) async fn run_api(args: ServeArgs, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let ServiceArgs { bundle, token_file, max_body, max_requests } = args.service;
    let listen = args.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)));
    if token_file.is_none() && !listen.ip().is_loopback() {
        return Err(usage_error(format!("other computers can reach {listen}: give a token with --token-file")));
    }
    let token = token_file.as_deref().map(read_token).transpose()?;
    let classifiers = tokio::task::spawn_blocking(move || load(bundle)).await??;
    let bundles = classifiers.iter().map(|classifier| classifier.bundle.manifest.id()).collect();
    let (max_body, max_requests) = (usize::from(max_body) << 20, max_requests.into());
    let server =
        ApiServer::start(ApiOptions { listen, hosts: args.host, classifiers, token, max_body, max_requests }).await?;
    let info = ApiInfo { url: format!("http://{}/", server.address()?), bundles };
    if args.json {
        print_json(&info)?;
    } else {
        print_line(&info.url)?;
        eprint_sanitized(format!("Locating images with {}. Ctrl-C stops the service.", info.bundles.join(" and ")));
    }
    server.run(stop).await
}

/// The bundles, each with an encoder session per processor core.
fn load(names: Vec<String>) -> Result<Vec<Classifier>> {
    let names: Vec<_> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    names.into_iter().map(|bundle| ModelArgs { bundle }.load_for_games(usize::MAX)).collect()
}

pub(super) fn read_token(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|why| usage_error(format!("{}: cannot be read: {why}", file.display())))?;
    let token = text.trim();
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        let why = "a token consists of one or more ASCII characters without spaces";
        return Err(usage_error(format!("{}: {why}", file.display())));
    }
    Ok(token.to_owned())
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
