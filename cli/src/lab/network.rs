//! Loopback addresses of a lab: one network `127.x.y.0/24` per lab, found from its name.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use common::limits::LAB_NODES_MAX;

use super::record::LabName;

/// The port of every node's traffic; nodes differ in their address.
const NODE_PORT: u16 = 2377;
/// Second parts of the addresses that labs take.
const SECOND: std::ops::Range<u8> = 200..250;

/// A network in which the first `count` addresses are free: the lab's own one, or the next.
pub fn free_network(name: &LabName, count: usize) -> Option<Network> {
    candidates(name).find(|network| (0..count).all(|index| is_free(network.addr(index))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    second: u8,
    third: u8,
}

impl Network {
    /// Where the node of this index listens.
    pub fn addr(self, index: usize) -> SocketAddr {
        let host = u8::try_from(index + 1).expect("a lab has fewer nodes than a network addresses");
        (Ipv4Addr::new(127, self.second, self.third, host), NODE_PORT).into()
    }
}

const _: () = assert!(LAB_NODES_MAX < 254);

/// Every network once, from the one that belongs to the name on, so that a lab has the same addresses again.
fn candidates(name: &LabName) -> impl Iterator<Item = Network> {
    let count = usize::from(SECOND.end - SECOND.start) * 256;
    // Fowler, Noll and Vo's hash: the same on every machine and in every version.
    let hash = name
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let first = hash as usize % count;
    (0..count).map(move |step| {
        let index = (first + step) % count;
        let second = SECOND.start + u8::try_from(index / 256).expect("the range has that many");
        Network { second, third: u8::try_from(index % 256).expect("a remainder of 256") }
    })
}

fn is_free(addr: SocketAddr) -> bool {
    UdpSocket::bind(addr).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_network_and_another_name_another() {
        let first = |name: &str| candidates(&name.parse().unwrap()).next().unwrap();
        assert_eq!(first("lab"), first("lab"));
        assert_ne!(first("lab"), first("lab2"));
        let all: std::collections::HashSet<_> =
            candidates(&"lab".parse().unwrap()).map(|network| network.addr(0)).collect();
        assert_eq!(all.len(), 50 * 256);
    }

    #[test]
    fn a_network_in_use_is_passed_over() {
        let name: LabName = "in-use-in-a-test".parse().unwrap();
        let before = free_network(&name, 3).unwrap();
        let _taken = UdpSocket::bind(before.addr(2)).unwrap();
        assert_ne!(free_network(&name, 3).unwrap(), before);
        assert_eq!(free_network(&name, 2).unwrap(), before);
    }
}
