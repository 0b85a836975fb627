//! Where the tasks of one runtime find the server, and which of them is at which address.
//!
//! The runtime says what it sees of its tasks' addresses; the server says when it is there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};

use common::object::TaskId;
use tokio::sync::watch;

#[derive(Debug, Default)]
pub struct Door {
    server: Mutex<Option<IpAddr>>,
    known: Mutex<Known>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: HashMap<TaskId, Vec<IpAddr>>,
    tasks: HashMap<IpAddr, TaskId>,
}

impl Door {
    /// The server's address, where there is one.
    pub fn server(&self) -> Option<IpAddr> {
        *self.server.lock().expect("no holder panics")
    }

    pub fn set_server(&self, server: Option<IpAddr>) {
        *self.server.lock().expect("no holder panics") = server;
    }

    /// The addresses that a task has now; none while it does not run. An address that another task had is this one's
    /// from here on. That of the machine itself is everybody's, and tells nobody apart.
    pub fn note(&self, task: TaskId, addresses: impl IntoIterator<Item = IpAddr>) {
        let is_own = |address: &IpAddr| *address != Ipv4Addr::LOCALHOST && *address != Ipv6Addr::LOCALHOST;
        let addresses: Vec<IpAddr> = addresses.into_iter().filter(is_own).collect();
        let mut known = self.known();
        if known.addresses.get(&task).map_or(&[][..], Vec::as_slice) == addresses {
            return;
        }
        for address in known.addresses.remove(&task).unwrap_or_default() {
            // Unless it has become somebody else's.
            if known.tasks.get(&address) == Some(&task) {
                known.tasks.remove(&address);
            }
        }
        known.tasks.extend(addresses.iter().map(|address| (*address, task)));
        if !addresses.is_empty() {
            known.addresses.insert(task, addresses);
        }
        drop(known);
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn task_at(&self, address: IpAddr) -> Option<TaskId> {
        self.known().tasks.get(&address).copied()
    }

    /// All that are known.
    pub fn all(&self) -> Vec<(IpAddr, TaskId)> {
        self.known().tasks.iter().map(|(address, task)| (*address, *task)).collect()
    }

    /// Moves with each change of addresses.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_task_that_has_it_now() {
        let door = Door::default();
        let mut changed = door.changed();
        let address = |last: u8| IpAddr::from([172, 17, 0, last]);
        let (one, two) = (TaskId(1), TaskId(2));
        door.note(one, [address(2), address(3), IpAddr::from([127, 0, 0, 1])]);
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        assert_eq!((door.task_at(address(2)), door.task_at(address(3))), (Some(one), Some(one)));
        assert_eq!(door.task_at(IpAddr::from([127, 0, 0, 1])), None);
        door.note(one, [address(2), address(3)]);
        assert!(!changed.has_changed().unwrap(), "nothing is new");
        // The engine gives an address again before the end of who had it was seen.
        door.note(two, [address(2)]);
        door.note(one, []);
        assert_eq!((door.task_at(address(2)), door.task_at(address(3))), (Some(two), None));
        door.note(two, []);
        assert!(door.known().tasks.is_empty() && door.known().addresses.is_empty());
    }
}
