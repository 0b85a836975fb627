//! Host-mode ports of this node's process tasks: which are given out, and a free one where any will do. And a loopback
//! address for each task, so that several can listen on the same port.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use common::limits::PROCESS_PORT_TRIES_MAX;
use common::object::TaskId;
use common::object::ports::{Port, Protocol};

#[derive(Debug, Default)]
pub struct PortBook {
    given: BTreeMap<(Protocol, u16), TaskId>,
    addresses: BTreeMap<Ipv4Addr, TaskId>,
}

impl PortBook {
    /// Notes that a task has these ports: it said so itself, or was given them in an earlier life of the daemon.
    pub fn note(&mut self, task: TaskId, ports: &[Port]) {
        self.given.extend(ports.iter().map(|port| ((port.protocol, port.published), task)));
    }

    pub fn forget(&mut self, task: TaskId) {
        self.given.retain(|_, owner| *owner != task);
        self.addresses.retain(|_, owner| *owner != task);
    }

    /// Notes that a task has this address from an earlier life of the daemon.
    pub fn note_address(&mut self, task: TaskId, address: Ipv4Addr) {
        self.addresses.insert(address, task);
    }

    /// A loopback address of the task's own. It follows from its id, so that daemons on one machine seldom give the
    /// same one.
    pub fn give_address(&mut self, task: TaskId) -> Ipv4Addr {
        let mixed = ((task.0 >> 64) as u64 ^ task.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let free = |address: &Ipv4Addr| self.addresses.get(address).is_none_or(|owner| *owner == task);
        let address =
            (0..=self.addresses.len() as u64).map(|step| loopback(mixed.wrapping_add(step))).find(free);
        let address = address.unwrap_or(Ipv4Addr::LOCALHOST); // there are more of them than tasks
        self.addresses.insert(address, task);
        address
    }

    /// The ports of a task, with a number where any will do. A task binds its ports itself, and later, so a number
    /// given to one is given to no other, whether or not it is in use yet.
    pub fn give(&mut self, task: TaskId, asked: &[Port]) -> Result<Vec<Port>, String> {
        let mut ports = asked.to_vec();
        for port in &mut ports {
            if port.published == 0 {
                port.published = self.free(port.protocol)?;
            }
            self.given.insert((port.protocol, port.published), task);
        }
        Ok(ports)
    }

    fn free(&self, protocol: Protocol) -> Result<u16, String> {
        for _ in 0..PROCESS_PORT_TRIES_MAX {
            let port = unused(protocol).map_err(|error| format!("find a free {protocol} port: {error}"))?;
            if !self.given.contains_key(&(protocol, port)) {
                return Ok(port);
            }
        }
        Err(format!("find a free {protocol} port: all that were looked at are given out"))
    }
}

/// One of eight million: 127.128.0.1 to 127.254.255.254, where nobody else looks for one.
fn loopback(number: u64) -> Ipv4Addr {
    let (network, place, host) = (number >> 16, number >> 8, number);
    Ipv4Addr::new(127, 128 + (network % 127) as u8, (place % 256) as u8, 1 + (host % 254) as u8)
}

/// A port that nobody uses now, as the kernel picks it.
fn unused(protocol: Protocol) -> io::Result<u16> {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    match protocol {
        Protocol::Udp => Ok(UdpSocket::bind(any)?.local_addr()?.port()),
        // Ports of SCTP are seldom used: what is free for TCP will do.
        Protocol::Tcp | Protocol::Sctp => Ok(TcpListener::bind(any)?.local_addr()?.port()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_task_has_an_address_of_its_own() {
        let mut book = PortBook::default();
        let addresses: BTreeSet<Ipv4Addr> = (0..5000).map(|task| book.give_address(TaskId(task))).collect();
        assert_eq!(addresses.len(), 5000);
        assert!(addresses.iter().all(|address| address.is_loopback() && address.octets()[1] >= 128));
        assert_eq!(book.give_address(TaskId(7)), PortBook::default().give_address(TaskId(7)), "and keeps it");
        // Whoever has the one that a task would get keeps it.
        let mut taken = PortBook::default();
        let wanted = book.give_address(TaskId(7));
        taken.note_address(TaskId(1), wanted);
        assert_ne!(taken.give_address(TaskId(7)), wanted);
        taken.forget(TaskId(1));
        assert_eq!(taken.give_address(TaskId(7)), wanted);
    }

    #[test]
    fn no_port_is_given_twice() {
        let mut book = PortBook::default();
        let any = Port { target: 80, ..Port::default() };
        let fixed = Port { published: 8080, ..any.clone() };
        let mut seen = BTreeSet::new();
        for task in 0..200 {
            let ports = book.give(TaskId(task), &[any.clone(), fixed.clone()]).unwrap();
            assert!(ports[0].published > 0 && seen.insert(ports[0].published));
            assert_eq!(ports[1], fixed);
        }
        book.forget(TaskId(3));
        assert_eq!(book.given.len(), 200); // 199 of their own and the fixed one
    }
}
