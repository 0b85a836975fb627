//! Which addresses a node listens on and tells others, from what people typed and what the machine has.
//!
//! Rules (Docker's): a listen address may be an IP, an interface, or nothing (all); a port defaults to 2377. The
//! advertised address is the one given, else the listen address when that is a specific one, else the machine's
//! only address; with several to choose from a person has to say which.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The UDP port for other nodes.
pub const DEFAULT_PORT: u16 = 2377;

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub ip: IpAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error(
        "invalid address '{text}': expected an IP address or an interface of this machine, with or without :PORT"
    )]
    Invalid { text: String },
    #[error("invalid port in '{text}': expected 1 to 65535")]
    Port { text: String },
    #[error("interface {name} has no address")]
    NoAddress { name: String },
    #[error(
        "interface {name} has more than one address ({}); use one of them instead of the interface's name",
        list(found)
    )]
    SeveralOnInterface { name: String, found: Vec<IpAddr> },
    #[error(
        "could not choose an IP address to advertise since this system has multiple addresses ({}) - specify one with --advertise-addr",
        list_interfaces(found)
    )]
    Several { found: Vec<Interface> },
    #[error(
        "could not find an IP address to advertise: this system has none but loopback; specify one with --advertise-addr"
    )]
    None,
    #[error("advertise address must be a specific address, {ip} is not")]
    Unspecified { ip: IpAddr },
}

fn list(found: &[IpAddr]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn list_interfaces(found: &[Interface]) -> String {
    found
        .iter()
        .map(|interface| format!("{} on {}", interface.ip, interface.name))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// Where to listen and what to tell others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub listen: SocketAddr,
    pub advertise: SocketAddr,
    /// Whether this machine has the advertised address itself.
    pub advertise_is_ours: bool,
}

/// Decides both addresses. Empty texts mean "not given".
pub fn choose(listen: &str, advertise: &str, interfaces: &[Interface]) -> Result<Addresses, AddressError> {
    let listen = match listen {
        "" => SocketAddr::new(any_address(interfaces), DEFAULT_PORT),
        text => parse(text, DEFAULT_PORT, interfaces)?,
    };
    let advertise = match advertise {
        "" if listen.ip().is_unspecified() => SocketAddr::new(only_address(interfaces)?, listen.port()),
        "" => listen,
        text => parse(text, listen.port(), interfaces)?,
    };
    if advertise.ip().is_unspecified() {
        return Err(AddressError::Unspecified { ip: advertise.ip() });
    }
    // An IPv4 socket hears no IPv6, so a wildcard follows the family of what others are told.
    let listen = match (listen.ip().is_unspecified(), advertise.is_ipv6()) {
        (true, true) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), listen.port()),
        _ => listen,
    };
    Ok(Addresses { listen, advertise, advertise_is_ours: is_ours(advertise.ip(), interfaces) })
}

/// The addresses for a start, given those of before: a machine whose own address has changed takes the one it has
/// now, if there is no doubt which; everything else stays as it was.
pub fn choose_again(before: Addresses, interfaces: &[Interface]) -> Result<Addresses, AddressError> {
    if !before.advertise_is_ours || is_ours(before.advertise.ip(), interfaces) {
        return Ok(before);
    }
    let advertise = SocketAddr::new(only_address(interfaces)?, before.advertise.port());
    let wildcard = before.listen.ip().is_unspecified();
    let ip = match (wildcard, advertise.is_ipv6()) {
        (false, _) => advertise.ip(),
        (true, false) => Ipv4Addr::UNSPECIFIED.into(),
        (true, true) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Ok(Addresses { listen: SocketAddr::new(ip, before.listen.port()), advertise, advertise_is_ours: true })
}

fn is_ours(ip: IpAddr, interfaces: &[Interface]) -> bool {
    ip.is_loopback() || interfaces.iter().any(|interface| interface.ip == ip)
}

/// A manager to join: `IP`, `IP:PORT`, `[IPv6]:PORT`. Names are resolved by the caller.
pub fn with_default_port(text: &str) -> String {
    if text.parse::<SocketAddr>().is_ok() {
        return text.to_string();
    }
    match text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, DEFAULT_PORT).to_string(),
        Err(_) if text.contains(':') => text.to_string(),
        Err(_) => format!("{text}:{DEFAULT_PORT}"),
    }
}

fn parse(text: &str, default_port: u16, interfaces: &[Interface]) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(AddressError::Port { text: text.into() }),
            _ => Ok(address),
        };
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, default_port));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => match port.parse::<u16>() {
            Ok(port) if port > 0 => (name, port),
            _ => return Err(AddressError::Port { text: text.into() }),
        },
        None => (text, default_port),
    };
    if !interfaces.iter().any(|interface| interface.name == name) {
        return Err(AddressError::Invalid { text: text.into() });
    }
    // As Docker: an interface stands for its one IPv4 address, else for its one IPv6 address.
    let of = |v4: bool| {
        let mine = |interface: &&Interface| interface.name == name && interface.ip.is_ipv4() == v4;
        interfaces.iter().filter(mine).map(|interface| interface.ip).filter(usable).collect::<Vec<_>>()
    };
    let v4 = of(true);
    match if v4.is_empty() { of(false) } else { v4 }.as_slice() {
        [] => Err(AddressError::NoAddress { name: name.into() }),
        [ip] => Ok(SocketAddr::new(*ip, port)),
        found => Err(AddressError::SeveralOnInterface { name: name.into(), found: found.to_vec() }),
    }
}

fn any_address(interfaces: &[Interface]) -> IpAddr {
    let has_v4 = interfaces.iter().any(|interface| interface.ip.is_ipv4() && !interface.ip.is_loopback());
    let has_v6 = interfaces.iter().any(|interface| interface.ip.is_ipv6() && usable(&interface.ip));
    if !has_v4 && has_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// The one address that others can reach: bridges that engines make for their containers do not count.
fn only_address(interfaces: &[Interface]) -> Result<IpAddr, AddressError> {
    let candidates = |v4: bool| {
        let mine = |interface: &&Interface| {
            interface.ip.is_ipv4() == v4 && usable(&interface.ip) && !is_container_bridge(&interface.name)
        };
        interfaces.iter().filter(mine).cloned().collect::<Vec<_>>()
    };
    let v4 = candidates(true);
    match if v4.is_empty() { candidates(false) } else { v4 }.as_slice() {
        [] => Err(AddressError::None),
        [only] => Ok(only.ip),
        several => Err(AddressError::Several { found: several.to_vec() }),
    }
}

fn is_container_bridge(name: &str) -> bool {
    name == "docker0"
        || name.starts_with("docker_gwbridge")
        || name.starts_with("br-")
        || name.starts_with("veth")
}

fn usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// The addresses this machine has now.
pub fn machine_interfaces() -> Vec<Interface> {
    let Ok(addresses) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let up = nix::net::if_::InterfaceFlags::IFF_UP;
    addresses
        .filter(|address| address.flags.contains(up))
        .filter_map(|address| {
            let storage = address.address?;
            let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let v6 = storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
            Some(Interface { name: address.interface_name, ip: v4.or(v6)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interfaces(list: &[(&str, &str)]) -> Vec<Interface> {
        list.iter().map(|(name, ip)| Interface { name: (*name).into(), ip: ip.parse().unwrap() }).collect()
    }

    #[test]
    fn addresses_are_chosen_as_people_expect() {
        let one = interfaces(&[
            ("lo", "127.0.0.1"),
            ("eth0", "10.0.0.5"),
            ("docker0", "172.17.0.1"),
            ("eth0", "fe80::1"),
        ]);
        let two = interfaces(&[("eth0", "10.0.0.5"), ("eth1", "192.168.1.5"), ("eth1", "192.168.1.6")]);
        let six = interfaces(&[("lo", "::1"), ("eth0", "fd00::5"), ("eth0", "fe80::1")]);
        #[rustfmt::skip]
        let cases = [ // listen, advertise, machine, listens on, tells
            ("",                "",               &one, "0.0.0.0:2377",   "10.0.0.5:2377"),
            ("0.0.0.0:2377",    "",               &one, "0.0.0.0:2377",   "10.0.0.5:2377"),
            ("0.0.0.0:7000",    "",               &one, "0.0.0.0:7000",   "10.0.0.5:7000"),
            ("127.0.0.1",       "",               &one, "127.0.0.1:2377", "127.0.0.1:2377"),
            ("eth0:4000",       "",               &one, "10.0.0.5:4000",  "10.0.0.5:4000"),
            ("",                "eth0",           &one, "0.0.0.0:2377",   "10.0.0.5:2377"),
            ("",                "10.9.9.9:4000",  &one, "0.0.0.0:2377",   "10.9.9.9:4000"), // behind a NAT
            ("",                "192.168.1.5",    &two, "0.0.0.0:2377",   "192.168.1.5:2377"),
            ("",                "",               &six, "[::]:2377",      "[fd00::5]:2377"),
            ("[fd00::5]:3000",  "",               &six, "[fd00::5]:3000", "[fd00::5]:3000"),
            ("0.0.0.0:2377",    "fd00::5",        &six, "[::]:2377",      "[fd00::5]:2377"),
        ];
        for (listen, advertise, machine, listens, tells) in cases {
            let chosen = choose(listen, advertise, machine).unwrap();
            assert_eq!(
                (chosen.listen.to_string(), chosen.advertise.to_string()),
                (listens.into(), tells.into()),
                "{listen} {advertise}"
            );
        }
    }

    #[test]
    fn a_changed_address_is_followed_and_one_behind_a_nat_is_kept() {
        let now = interfaces(&[("lo", "127.0.0.1"), ("eth0", "10.0.0.9")]);
        let two = interfaces(&[("eth0", "10.0.0.9"), ("eth1", "192.168.1.9")]);
        let ours = |listen: &str, advertise: &str| Addresses {
            listen: listen.parse().unwrap(),
            advertise: advertise.parse().unwrap(),
            advertise_is_ours: true,
        };
        #[rustfmt::skip]
        let cases = [ // before, now
            (ours("0.0.0.0:2377", "10.0.0.5:2377"),    ours("0.0.0.0:2377", "10.0.0.9:2377")),
            (ours("10.0.0.5:2377", "10.0.0.5:2377"),   ours("10.0.0.9:2377", "10.0.0.9:2377")),
            (ours("0.0.0.0:2377", "10.0.0.9:2377"),    ours("0.0.0.0:2377", "10.0.0.9:2377")),
            (ours("127.0.0.7:2377", "127.0.0.7:2377"), ours("127.0.0.7:2377", "127.0.0.7:2377")),
        ];
        for (before, expected) in cases {
            assert_eq!(choose_again(before, &now), Ok(expected));
        }
        let behind_nat = Addresses { advertise_is_ours: false, ..ours("0.0.0.0:2377", "203.0.113.1:2377") };
        assert_eq!(choose_again(behind_nat, &now), Ok(behind_nat));
        assert!(
            choose_again(ours("0.0.0.0:2377", "10.0.0.5:2377"), &two).is_err(),
            "a person has to say which"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_next_step() {
        let two = interfaces(&[("eth0", "10.0.0.5"), ("eth1", "192.168.1.5"), ("eth1", "192.168.1.6")]);
        let none = interfaces(&[("lo", "127.0.0.1")]);
        #[rustfmt::skip]
        let cases = [
            ("",          "",          &two,  "10.0.0.5 on eth0 and 192.168.1.5 on eth1"),
            ("",          "eth1",      &two,  "more than one address"),
            ("",          "eth7",      &two,  "invalid address 'eth7'"),
            ("",          "eth0:0",    &two,  "invalid port"),
            ("",          "0.0.0.0",   &two,  "must be a specific address"),
            ("eth0:99999", "",         &two,  "invalid port"),
            ("",          "",          &none, "none but loopback"),
        ];
        for (listen, advertise, machine, text) in cases {
            let error = choose(listen, advertise, machine).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_manager_may_be_named_without_port() {
        for (text, whole) in [
            ("10.0.0.1", "10.0.0.1:2377"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("fd00::1", "[fd00::1]:2377"),
            ("[fd00::1]:99", "[fd00::1]:99"),
            ("manager-1", "manager-1:2377"),
            ("manager-1:99", "manager-1:99"),
        ] {
            assert_eq!(with_default_port(text), whole);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(listen in ".{0,30}", advertise in ".{0,30}") {
            let _ = choose(&listen, &advertise, &interfaces(&[("eth0", "10.0.0.5")]));
            let _ = with_default_port(&listen);
        }
    }
}
