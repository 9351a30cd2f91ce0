//! What keeps web pages of others away from our servers: the names by which a server may be called, the origins that may
//! send it requests, and headers.
//!
//! A server on this computer or the local network can be reached by every page that the user visits. By DNS rebinding (a
//! name of the attacker's that suddenly resolves to 127.0.0.1) such a page even has the same origin as the server, but its
//! requests still carry the attacker's name in `Host`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use tower_http::set_header::SetResponseHeaderLayer;

/// Maximum size of a request body. Guesses and rules of games have some hundred bytes.
const MAX_BODY_BYTES: usize = 16 << 10;

/// Headers of every response, besides the content security policy.
const HEADERS: [(HeaderName, &str); 2] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The names by which a server may be called.
#[derive(Debug)]
pub(super) struct OwnHosts {
    scheme: &'static str,
    port: u16,
    /// Other names that the user allows, with or without a port: those of a reverse proxy.
    names: Vec<String>,
    addresses: RwLock<Vec<IpAddr>>,
}

impl OwnHosts {
    /// `localhost` and the loopback addresses, and what [`OwnHosts::set_addresses`] and `names` add.
    pub(super) fn new(scheme: &'static str, port: u16, names: Vec<String>) -> Self {
        Self { scheme, port, names, addresses: RwLock::default() }
    }

    /// Replaces the addresses of this computer.
    pub(super) fn set_addresses(&self, addresses: Vec<IpAddr>) {
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `HOST[:PORT]`, as in `Host`, names this server.
    fn is_own(&self, host_and_port: &str) -> bool {
        self.is_named(host_and_port) || self.is_address(host_and_port).unwrap_or(false)
    }

    fn is_named(&self, host_and_port: &str) -> bool {
        let host = host_and_port.rsplit_once(':').map_or(host_and_port, |(host, _)| host);
        self.names.iter().any(|name| [host_and_port, host].iter().any(|it| it.eq_ignore_ascii_case(name)))
    }

    fn is_address(&self, host_and_port: &str) -> Option<bool> {
        let authority: Authority = host_and_port.parse().ok()?;
        let usual_port = if self.scheme == "https" { 443 } else { 80 };
        if authority.as_str().contains('@') || authority.port_u16().unwrap_or(usual_port) != self.port {
            return Some(false);
        }
        let host = authority.host();
        if host.eq_ignore_ascii_case("localhost") {
            return Some(true);
        }
        let address: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let own = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        Some([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].contains(&address) || own.contains(&address))
    }

    /// Why a request is refused, if it is.
    fn refusal(&self, request: &Request) -> Option<(StatusCode, String)> {
        let headers = request.headers();
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        // HTTP/2 has the host in the URL; HTTP/1 may have it there as well.
        let in_url = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let hosts: Vec<String> = headers.get_all(header::HOST).iter().map(text).chain(in_url).collect();
        if hosts.is_empty() || !hosts.iter().all(|host| self.is_own(host)) {
            let (scheme, port) = (self.scheme, self.port);
            let why = format!(
                "This server does not answer to this name, only to {scheme}://localhost:{port}/ and its own addresses.\n"
            );
            return Some((StatusCode::MISDIRECTED_REQUEST, why));
        }
        // Pages send their origin with everything but plain links and images, which cannot read or change anything.
        let is_own_origin = |origin: &str| match origin.split_once("://") {
            Some((scheme, host)) => (scheme == self.scheme && self.is_own(host)) || self.is_named(host),
            None => false, // `null`: a sandboxed frame, a file, a redirect from elsewhere
        };
        if !headers.get_all(header::ORIGIN).iter().map(text).all(|origin| is_own_origin(&origin)) {
            return Some((StatusCode::FORBIDDEN, "This server answers only to its own pages.\n".to_owned()));
        }
        None
    }
}

/// Refuses requests with other hosts and origins, limits the size of bodies and the time that a response takes, and sets
/// headers, on all responses.
pub(super) fn protect(router: Router, own: Arc<OwnHosts>, policy: &'static str, time: Duration) -> Router {
    let check = async |State(own): State<Arc<OwnHosts>>, request: Request, next: Next| match own.refusal(&request) {
        None => next.run(request).await,
        Some(refusal) => refusal.into_response(),
    };
    let limit = move |request: Request, next: Next| async move {
        let response = tokio::time::timeout(time, next.run(request)).await;
        response.unwrap_or_else(|_| (StatusCode::REQUEST_TIMEOUT, "The request took too long.\n").into_response())
    };
    let router = router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(limit))
        .layer(middleware::from_fn_with_state(own, check));
    with_headers(router, HEADERS.into_iter().chain([(header::CONTENT_SECURITY_POLICY, policy)]))
}

/// Sets headers on every response of a router.
pub(super) fn with_headers(router: Router, headers: impl IntoIterator<Item = (HeaderName, &'static str)>) -> Router {
    headers.into_iter().fold(router, |router, (name, value)| {
        router.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn arena() -> OwnHosts {
        OwnHosts::new("http", 8014, Vec::new())
    }

    fn status(own: &OwnHosts, url: &str, hosts: &[&str], origin: Option<&str>) -> u16 {
        let mut request = axum::http::Request::builder().uri(url);
        for host in hosts {
            request = request.header("host", *host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        own.refusal(&request.body(Body::empty()).unwrap()).map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn only_own_hosts_are_answered() {
        let own = arena();
        for host in ["localhost:8014", "LocalHost:8014", "127.0.0.1:8014", "[::1]:8014", "[0:0:0:0:0:0:0:1]:8014"] {
            assert_eq!(status(&own, "/", &[host], None), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8014",
            "localhost",
            "localhost:80",
            "localhost:8015",
            "localhost.:8014",
            "localhost.evil.example:8014",
            "127.0.0.1.evil.example:8014",
            "127.0.0.1",
            "127.0.0.2:8014",
            "2130706433:8014",
            "0.0.0.0:8014",
            "[::]:8014",
            "[::ffff:127.0.0.1]:8014",
            "192.168.1.7:8014",
            "localhost@evil.example:8014",
            "evil.example@localhost:8014",
            "localhost:8014@evil.example",
            "localhost:8014, evil.example",
            "http://localhost:8014",
            "localhost:8014/",
            "localhost:99999",
            "",
            " ",
        ] {
            assert_eq!(status(&own, "/", &[host], None), 421, "{host}");
        }
        assert_eq!(status(&own, "/", &[], None), 421);
        assert_eq!(status(&own, "/", &["localhost:8014", "evil.example"], None), 421);
        // The host in the URL counts as well.
        assert_eq!(status(&own, "http://localhost:8014/", &[], None), 200);
        assert_eq!(status(&own, "http://evil.example:8014/", &["localhost:8014"], None), 421);
    }

    #[test]
    fn only_own_origins_are_answered() {
        let own = arena();
        for origin in ["http://localhost:8014", "http://127.0.0.1:8014", "http://[::1]:8014"] {
            assert_eq!(status(&own, "/", &["127.0.0.1:8014"], Some(origin)), 200, "{origin}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "http://evil.example:8014",
            "https://localhost:8014",
            "http://localhost",
            "http://localhost:8015",
            "http://localhost:8014.evil.example",
            "file://",
            "chrome-extension://abcdefghijklmnop",
            "",
        ] {
            assert_eq!(status(&own, "/", &["127.0.0.1:8014"], Some(origin)), 403, "{origin}");
        }
    }

    #[test]
    fn addresses_and_allowed_names_are_own() {
        let own = OwnHosts::new("https", 443, vec!["map.example.org".into(), "proxy.example.org:9000".into()]);
        assert_eq!(status(&own, "/", &["192.168.1.7"], None), 421);
        own.set_addresses(["192.168.1.7", "fd12::1"].map(|text| text.parse().unwrap()).to_vec());
        for host in ["192.168.1.7", "192.168.1.7:443", "[fd12::1]", "map.example.org", "Map.Example.org:8443"] {
            assert_eq!(status(&own, "/", &[host], None), 200, "{host}");
        }
        for host in ["192.168.1.7:8443", "192.168.1.8", "proxy.example.org", "x.map.example.org", "[fd12::2]"] {
            assert_eq!(status(&own, "/", &[host], None), 421, "{host}");
        }
        assert_eq!(status(&own, "/", &["proxy.example.org:9000"], Some("http://map.example.org")), 200);
        assert_eq!(status(&own, "/", &["192.168.1.7"], Some("https://192.168.1.7")), 200);
        assert_eq!(status(&own, "/", &["192.168.1.7"], Some("http://192.168.1.7")), 403);
    }
}
