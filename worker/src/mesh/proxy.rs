//! PROXY protocol: tells a task whose connection it is, in a line before the connection's first byte.
//!
//! Asked for with a label of the service: `swarm.proxy-protocol=v1` or `v2` for all its published TCP ports,
//! `swarm.proxy-protocol.443=v2` for those that lead to one of its tasks' ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use common::object::ports::{PROXY_PROTOCOL_LABEL, ProxyProtocol};

/// What a service's labels ask for, for one port of its tasks.
pub fn asked(labels: &BTreeMap<String, String>, target: u16) -> Option<ProxyProtocol> {
    let of_port = labels.get(&format!("{PROXY_PROTOCOL_LABEL}.{target}"));
    of_port.or_else(|| labels.get(PROXY_PROTOCOL_LABEL))?.parse().ok()
}

/// What goes before everything else.
pub fn header(version: ProxyProtocol, client: SocketAddr, task: SocketAddr) -> Vec<u8> {
    let (client, task) = same_family(client, task);
    match version {
        ProxyProtocol::V1 => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (client.ip(), task.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), task.port()).into_bytes()
        }
        ProxyProtocol::V2 => {
            let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
            let addresses = match (client.ip(), task.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    bytes.push(0x11);
                    [from.octets(), to.octets()].concat()
                }
                (from, to) => {
                    bytes.push(0x21);
                    [wide(from), wide(to)].concat()
                }
            };
            bytes.extend_from_slice(&(addresses.len() as u16 + 4).to_be_bytes());
            bytes.extend_from_slice(&addresses);
            bytes.extend_from_slice(&client.port().to_be_bytes());
            bytes.extend_from_slice(&task.port().to_be_bytes());
            bytes
        }
    }
}

/// Both as IPv6 where they differ: the protocol has one family for both.
fn same_family(client: SocketAddr, task: SocketAddr) -> (SocketAddr, SocketAddr) {
    if client.is_ipv4() == task.is_ipv4() {
        return (client, task);
    }
    let widen = |addr: SocketAddr| SocketAddr::new(IpAddr::V6(wide(addr.ip()).into()), addr.port());
    (widen(client), widen(task))
}

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProxyProtocol::{V1, V2};

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn labels_say_which_ports_get_it() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (format!("{PROXY_PROTOCOL_LABEL}{name}"), value.to_string()))
                .collect()
        };
        let all: BTreeMap<String, String> = labels(&[("", "v1"), (".443", "v2")]);
        assert_eq!((asked(&all, 80), asked(&all, 443)), (Some(V1), Some(V2)));
        assert_eq!(asked(&labels(&[(".443", "v2")]), 80), None);
        assert_eq!(asked(&labels(&[("", "v3")]), 80), None);
    }

    #[test]
    fn headers_are_as_the_protocol_has_them() {
        let (client, task) = (addr("192.0.2.7:40000"), addr("172.17.0.2:80"));
        assert_eq!(header(V1, client, task), b"PROXY TCP4 192.0.2.7 172.17.0.2 40000 80\r\n");
        let expected =
            [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 7, 172, 17, 0, 2, 0x9c, 0x40, 0, 80]];
        assert_eq!(header(V2, client, task), expected.concat());
        let v6 = addr("[2001:db8::1]:40000");
        assert_eq!(header(V1, v6, task), b"PROXY TCP6 2001:db8::1 ::ffff:172.17.0.2 40000 80\r\n");
        let bytes = header(V2, v6, task);
        assert_eq!((bytes.len(), &bytes[12..16]), (16 + 36, &b"\x21\x21\0\x24"[..]));
    }
}
