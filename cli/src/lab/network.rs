//! Loopback addresses of a lab: one network `127.x.y.0/24` per lab, found from its folder.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::limits::LAB_NODES_MAX;

/// The port of every node's traffic; nodes differ in their address.
const NODE_PORT: u16 = 2377;
/// Second parts of the addresses that labs take.
const SECOND: std::ops::Range<u8> = 200..250;

/// A network in which the first `count` addresses are free: the lab's own one, or the next.
pub fn free_network(folder: &Path, count: usize) -> Option<Network> {
    candidates(folder).find(|network| (0..count).all(|index| is_free(network.addr(index))))
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

/// Every network once, from the one that belongs to the folder on, so that a lab has the same addresses again.
fn candidates(folder: &Path) -> impl Iterator<Item = Network> {
    let count = usize::from(SECOND.end - SECOND.start) * 256;
    // Fowler, Noll and Vo's hash: the same on every machine and in every version.
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = folder.as_os_str().as_bytes().iter().fold(0x811c_9dc5, mix);
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
    fn a_folder_has_a_network_and_another_folder_another() {
        let first = |folder: &str| candidates(Path::new(folder)).next();
        assert_eq!(first("/labs/lab"), first("/labs/lab"));
        assert_ne!(first("/labs/lab"), first("/labs/lab2"));
        assert_ne!(first("/labs/lab"), first("/others/lab"));
        let all: std::collections::HashSet<_> =
            candidates(Path::new("/labs/lab")).map(|network| network.addr(0)).collect();
        assert_eq!(all.len(), 50 * 256);
    }

    #[test]
    fn a_network_in_use_is_passed_over() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let before = free_network(folder.path(), 3).expect("free");
        let _taken = UdpSocket::bind(before.addr(2)).expect("free");
        assert_ne!(free_network(folder.path(), 3).expect("another one"), before);
        assert_eq!(free_network(folder.path(), 2).expect("free"), before);
    }
}
