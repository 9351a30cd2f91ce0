//! HTTP clients for WebDriver servers and debugging ports.

use std::time::Duration;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::http::client_builder;
use url::{Host, Url};

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a URL is on this computer.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

/// A client for this server. What is on this computer is never requested through a proxy.
///
/// # Errors
/// When the TLS of this computer does not work.
pub(super) fn http_client(server: &Url) -> Result<reqwest::Client> {
    let builder = client_builder().connect_timeout(CONNECT_TIMEOUT);
    let builder = if is_loopback(server) { builder.no_proxy() } else { builder };
    builder.build().with_context(|| environment_error("cannot create an HTTP client"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_computer_are_recognised() {
        for (url, expected) in [
            ("http://127.0.0.1:9515/", true),
            ("http://127.1.2.3/", true),
            ("http://[::1]:4444/wd/hub", true),
            ("http://localhost:4444", true),
            ("http://grid.localhost.:4444", true),
            ("http://192.168.1.7:4444", false),
            ("http://localhost.example.org:4444", false),
            ("data:text/plain,x", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
