//! Follows the addresses of this computer while the server runs: a network that is joined later must work without a
//! restart, with a certificate that names the new address.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum_server::tls_rustls::RustlsConfig;
use chrono::{NaiveDate, Utc};
use landfall_common::text::eprint_sanitized;

use crate::error::describe;
use crate::server::phone::{certificate, network};
use crate::server::security::OwnHosts;

const INTERVAL: Duration = Duration::from_secs(5);

/// What depends on the addresses of this computer.
pub(super) struct AddressWatch {
    at: SocketAddr,
    own: Arc<OwnHosts>,
    tls: Option<RustlsConfig>,
    known: Vec<IpAddr>,
    checked: NaiveDate,
}

impl AddressWatch {
    /// For a server at `at`, on a computer with the addresses `known`.
    pub(super) fn new(at: SocketAddr, own: Arc<OwnHosts>, tls: Option<RustlsConfig>, known: Vec<IpAddr>) -> Self {
        own.set_addresses(listening(at.ip(), &known));
        Self { at, own, tls, known, checked: Utc::now().date_naive() }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.update().await {
                eprint_sanitized(format!("serve: {}", describe(&error)));
            }
        }
    }

    /// Adapts to new addresses, and renews the certificate before it expires.
    async fn update(&mut self) -> Result<()> {
        let (now, today) = (tokio::task::spawn_blocking(network::addresses).await?, Utc::now().date_naive());
        if now == self.known && today == self.checked {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.known, now);
        self.checked = today;
        self.own.set_addresses(listening(self.at.ip(), &self.known));
        if let Some(tls) = &self.tls {
            let stored = certificate::load_or_create(&certified(self.at.ip(), &self.known))?;
            let (chain, key) = stored.site_pem();
            tls.reload_from_pem(chain, key).await?;
        }
        if self.at.ip().is_unspecified() {
            let new: Vec<IpAddr> = self.known.iter().copied().filter(|address| !before.contains(address)).collect();
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            for host in network::hosts(self.at.ip(), &network::private(&new)).0 {
                eprint_sanitized(format!("serve: now also at {scheme}://{host}:{}/", self.at.port()));
            }
        }
        Ok(())
    }
}

/// The addresses at which a server that listens on `at` is reached.
fn listening(at: IpAddr, addresses: &[IpAddr]) -> Vec<IpAddr> {
    if at.is_unspecified() { addresses.to_vec() } else { vec![at] }
}

/// The addresses that the certificate must name: those on private networks.
pub(super) fn certified(at: IpAddr, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut named = network::private(addresses);
    if network::is_private(at) && !at.is_unspecified() && !named.contains(&at) {
        named.push(at);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_depend_on_where_the_server_listens() {
        let addresses: Vec<IpAddr> = ["192.168.1.7", "203.0.113.5", "127.0.0.1"].map(|it| it.parse().unwrap()).to_vec();
        let strings = |addresses: Vec<IpAddr>| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(listening(at("0.0.0.0"), &addresses), addresses);
        assert_eq!(listening(at("192.168.1.7"), &addresses), [at("192.168.1.7")]);
        assert_eq!(strings(certified(at("0.0.0.0"), &addresses)), ["192.168.1.7"]);
        assert_eq!(strings(certified(at("127.0.0.2"), &addresses)), ["192.168.1.7", "127.0.0.2"]);
        assert_eq!(strings(certified(at("203.0.113.5"), &addresses)), ["192.168.1.7"]);
    }

    #[tokio::test]
    async fn addresses_that_come_later_are_own() {
        let own = Arc::new(OwnHosts::new("http", 8080, Vec::new()));
        let gone: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
        let mut watch = AddressWatch::new("0.0.0.0:8080".parse().unwrap(), Arc::clone(&own), None, gone.clone());
        assert_eq!(own.addresses(), gone);
        watch.update().await.unwrap();
        assert_eq!(own.addresses(), network::addresses());
    }
}
