//! Addresses of this computer on private networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use sysinfo::Networks;

/// Private networks as address and prefix length. The root certificate is constrained to them.
pub(super) const PRIVATE_NETWORKS: [(IpAddr, u8); 8] = [
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];

/// Whether an address is on a private network or is a loopback address.
pub(super) fn is_private(address: IpAddr) -> bool {
    PRIVATE_NETWORKS.iter().any(|(network, prefix)| match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(*prefix)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(*prefix)
        }
        _ => false,
    })
}

/// Addresses of this computer on private networks, starting with that of the default route.
pub(super) fn private_addresses() -> Vec<IpAddr> {
    let networks = Networks::new_with_refreshed_list();
    let all = networks.values().flat_map(|network| network.ip_networks()).map(|network| network.addr);
    let mut private: Vec<IpAddr> = all.filter(|address| is_private(*address) && !address.is_loopback()).collect();
    let first = outbound_address();
    private.sort_by_key(|address| (Some(*address) != first, *address));
    private.dedup();
    private
}

/// The address of the default route. Nothing is sent: connecting a UDP socket only looks up the route.
fn outbound_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?; // TEST-NET-1, reserved for documentation
    Some(socket.local_addr().ok()?.ip())
}

/// URL hosts of a server that listens on `at`: those reachable from other machines, and those only from this computer.
pub(super) fn hosts(at: IpAddr, addresses: &[IpAddr]) -> (Vec<String>, Vec<String>) {
    let local = vec!["localhost".to_owned()];
    if at.is_loopback() {
        return (Vec::new(), vec![url_host(at)]);
    }
    if !at.is_unspecified() {
        return (vec![url_host(at)], Vec::new());
    }
    (
        addresses
            .iter()
            .filter(|address| at.is_ipv6() || address.is_ipv4())
            .map(|address| url_host(*address))
            .collect(),
        local,
    )
}

fn url_host(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_private_networks() {
        let private = |text: &str| is_private(text.parse().unwrap());
        for address in ["192.168.1.7", "10.200.0.1", "172.31.255.1", "100.127.0.1", "127.0.0.1", "::1", "fd12::1"] {
            assert!(private(address), "{address}");
        }
        for address in ["172.32.0.1", "100.128.0.1", "8.8.8.8", "192.169.0.1", "2001:db8::1", "fe80::1", "0.0.0.0"] {
            assert!(!private(address), "{address}");
        }
    }

    #[test]
    fn hosts_depend_on_the_listen_address() {
        let addresses: Vec<IpAddr> = ["192.168.1.7", "fd12::1"].map(|text| text.parse().unwrap()).to_vec();
        let hosts = |at: &str| hosts(at.parse().unwrap(), &addresses);
        assert_eq!(hosts("0.0.0.0"), (vec!["192.168.1.7".into()], vec!["localhost".into()]));
        assert_eq!(hosts("::"), (vec!["192.168.1.7".into(), "[fd12::1]".into()], vec!["localhost".into()]));
        assert_eq!(hosts("127.0.0.1"), (vec![], vec!["127.0.0.1".into()]));
        assert_eq!(hosts("fd12::1"), (vec!["[fd12::1]".into()], vec![]));
    }
}
