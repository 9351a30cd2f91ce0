//! Addresses of this computer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Private networks as address and prefix length. The root certificate is constrained to them.
pub(super) const PRIVATE_NETWORKS: [(IpAddr, u8); 8] = [
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (SHARED_NETWORK, 10),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];

/// Shared address space (RFC 6598), which tunnels such as Tailscale use; no home network does.
const SHARED_NETWORK: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0));

/// Starts of the names of interfaces that lead to a tunnel, a container or a virtual machine rather than to a network that
/// a phone is on.
const VIRTUAL_PREFIXES: [&str; 37] = [
    "wg", "tun", "tap", "utun", "ppp", "ipsec", "gif", "stf", "gre", "erspan", "ipip", "vti", "sit", "ip6tnl",
    "ip6gre", "nordlynx", "proton", "mullvad", "warp", "zt", "ham", "veth", "virbr", "vnet", "vmnet", "vboxnet", "lxc",
    "lxd", "incus", "podman", "cni", "flannel", "cali", "kube", "nerdctl", "awdl", "llw",
];

/// Parts of such names: Windows has names for people.
const VIRTUAL_PARTS: [&str; 14] = [
    "vpn",
    "wireguard",
    "tailscale",
    "zerotier",
    "cloudflarewarp",
    "virtual",
    "vmware",
    "hyper-v",
    "wsl",
    "docker",
    "loopback",
    "teredo",
    "isatap",
    "tunnel",
];

/// What an interface leads to, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A network adapter.
    Physical,
    Unknown,
    /// A tunnel, a container or a virtual machine.
    Virtual,
}

/// Whether an address is on a private network or is a loopback address.
pub(super) fn is_private(address: IpAddr) -> bool {
    PRIVATE_NETWORKS.iter().any(|(network, prefix)| is_in(address, *network, *prefix))
}

fn is_in(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(prefix)
        }
        _ => false,
    }
}

/// All addresses of this computer, starting with that by which a phone in the same home most likely reaches it.
pub(super) fn addresses() -> Vec<IpAddr> {
    // Without addresses the server is still of use on this computer.
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let interfaces = interfaces.iter().map(|interface| (kind(&interface.name), interface.ip()));
    ordered(interfaces.collect(), outbound_address())
}

/// The addresses on private networks among these.
pub(super) fn private(addresses: &[IpAddr]) -> Vec<IpAddr> {
    addresses.iter().copied().filter(|address| is_private(*address) && !address.is_loopback()).collect()
}

/// Home networks first, tunnels and networks within this computer last: a phone does not reach those.
fn ordered(mut interfaces: Vec<(Kind, IpAddr)>, default_route: Option<IpAddr>) -> Vec<IpAddr> {
    interfaces.sort_by_key(|&(kind, address)| {
        let kind = if is_in(address, SHARED_NETWORK, 10) { Kind::Virtual } else { kind };
        let is_link_local = matches!(address, IpAddr::V4(address) if address.is_link_local());
        (kind, is_link_local, Some(address) != default_route, address)
    });
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (_, address) in interfaces {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// What the interface leads to, as far as the system tells.
fn kind(interface: &str) -> Kind {
    #[cfg(target_os = "linux")]
    {
        let about = std::path::Path::new("/sys/class/net").join(interface);
        if about.join("device").exists() {
            return Kind::Physical;
        }
        // Type 1 is Ethernet and Wi-Fi; tunnels have others, whatever their names are.
        let is_other_type = std::fs::read_to_string(about.join("type")).is_ok_and(|kind| kind.trim() != "1");
        if is_other_type || about.join("tun_flags").exists() {
            return Kind::Virtual;
        }
    }
    kind_by_name(interface)
}

fn kind_by_name(interface: &str) -> Kind {
    let name = interface.to_lowercase();
    // Docker's other bridges are `br-` and twelve hexadecimal digits; macOS numbers those of its virtual machines from 100.
    let is_dockers =
        name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|c| c.is_ascii_hexdigit()));
    let is_virtual = is_dockers
        || name.starts_with("bridge1")
        || VIRTUAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || VIRTUAL_PARTS.iter().any(|part| name.contains(part));
    if is_virtual { Kind::Virtual } else { Kind::Unknown }
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

    fn parse(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn recognizes_private_networks() {
        let private = |text: &str| is_private(parse(text));
        for address in ["192.168.1.7", "10.200.0.1", "172.31.255.1", "100.127.0.1", "127.0.0.1", "::1", "fd12::1"] {
            assert!(private(address), "{address}");
        }
        for address in ["172.32.0.1", "100.128.0.1", "8.8.8.8", "192.169.0.1", "2001:db8::1", "fe80::1", "0.0.0.0"] {
            assert!(!private(address), "{address}");
        }
    }

    #[test]
    fn recognizes_tunnels_and_virtual_networks_by_name() {
        for name in [
            "wg0",
            "wg-home",
            "tun0",
            "tap1",
            "utun4",
            "ppp0",
            "tailscale0",
            "zt5u4y6ejv",
            "nordlynx",
            "proton0",
            "CloudflareWARP",
            "docker0",
            "docker_gwbridge",
            "br-3f2a9c0d1e5b",
            "veth12ab",
            "virbr0",
            "virbr0-nic",
            "vnet3",
            "vmnet8",
            "vboxnet0",
            "lxcbr0",
            "lxdbr0",
            "podman0",
            "cni0",
            "bridge100",
            "awdl0",
            "vEthernet (WSL)",
            "VirtualBox Host-Only Network",
            "VMware Network Adapter VMnet8",
            "OpenVPN TAP-Windows6",
            "My VPN",
        ] {
            assert_eq!(kind_by_name(name), Kind::Virtual, "{name}");
        }
        for name in [
            "eth0",
            "enp3s0",
            "eno1",
            "wlan0",
            "wlp2s0",
            "wlx00c0ca",
            "en0",
            "br0",
            "br-lan",
            "bridge0",
            "bond0",
            "Wi-Fi",
            "Ethernet",
        ] {
            assert_eq!(kind_by_name(name), Kind::Unknown, "{name}");
        }
    }

    #[test]
    fn home_network_comes_first_and_tunnels_last() {
        let interfaces = [
            (Kind::Virtual, "10.8.0.2"),
            (Kind::Virtual, "172.17.0.1"),
            (Kind::Unknown, "10.0.0.5"),
            (Kind::Unknown, "100.101.1.2"),
            (Kind::Physical, "169.254.3.4"),
            (Kind::Physical, "fd12::1"),
            (Kind::Physical, "192.168.1.7"),
            (Kind::Physical, "192.168.2.7"),
            (Kind::Physical, "192.168.2.7"),
        ];
        let order = |default_route: Option<&str>| {
            let interfaces = interfaces.map(|(kind, address)| (kind, parse(address))).to_vec();
            ordered(interfaces, default_route.map(parse)).iter().map(IpAddr::to_string).collect::<Vec<_>>()
        };
        let usual = [
            "192.168.1.7",
            "192.168.2.7",
            "fd12::1",
            "169.254.3.4",
            "10.0.0.5",
            "10.8.0.2",
            "100.101.1.2",
            "172.17.0.1",
        ];
        assert_eq!(order(None), usual);
        // With a tunnel as the default route, the home network is still first.
        assert_eq!(order(Some("10.8.0.2")), usual);
        assert_eq!(order(Some("192.168.2.7"))[..2], ["192.168.2.7", "192.168.1.7"]);
    }

    #[test]
    fn hosts_depend_on_the_listen_address() {
        let addresses: Vec<IpAddr> = ["192.168.1.7", "fd12::1"].map(parse).to_vec();
        let hosts = |at: &str| hosts(at.parse().unwrap(), &addresses);
        assert_eq!(hosts("0.0.0.0"), (vec!["192.168.1.7".into()], vec!["localhost".into()]));
        assert_eq!(hosts("::"), (vec!["192.168.1.7".into(), "[fd12::1]".into()], vec!["localhost".into()]));
        assert_eq!(hosts("127.0.0.1"), (vec![], vec!["127.0.0.1".into()]));
        assert_eq!(hosts("fd12::1"), (vec!["[fd12::1]".into()], vec![]));
    }
}
