//! Host-mode ports of this node's process tasks: which are given out, and a free one where any will do.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use common::limits::PROCESS_PORT_TRIES_MAX;
use common::object::TaskId;
use common::object::ports::{Port, Protocol};

#[derive(Debug, Default)]
pub struct PortBook {
    given: BTreeMap<(Protocol, u16), TaskId>,
}

impl PortBook {
    /// Notes that a task has these ports: it said so itself, or was given them in an earlier life of the daemon.
    pub fn note(&mut self, task: TaskId, ports: &[Port]) {
        self.given.extend(ports.iter().map(|port| ((port.protocol, port.published), task)));
    }

    pub fn forget(&mut self, task: TaskId) {
        self.given.retain(|_, owner| *owner != task);
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
