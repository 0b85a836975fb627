//! Who has which address on which network. Derived from services and tasks, like every index, and never stored.

use std::net::IpAddr;

use common::object::{NetworkId, Service, ServiceId, Task, TaskId};
use imbl::OrdMap;

/// An address on a network.
pub type Address = (NetworkId, IpAddr);

/// Whose an address is. Services come first where there are too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    Service(ServiceId),
    Task(TaskId),
}

/// A clone is cheap, like that of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    holders: OrdMap<Address, Holder>,
    counts: OrdMap<NetworkId, u64>,
}

/// A service has its addresses until it is removed.
pub fn of_service(service: Option<&Service>) -> &[Address] {
    service.filter(|service| !service.removed).map_or(&[], |service| &service.virtual_ips)
}

/// A task has its addresses until it has ended.
pub fn of_task(task: Option<&Task>) -> &[Address] {
    let held = task.filter(|task| !task.status.state.is_final()).and_then(|task| task.addresses.as_deref());
    held.unwrap_or_default()
}

impl Addresses {
    pub fn holder(&self, address: Address) -> Option<Holder> {
        self.holders.get(&address).copied()
    }

    /// How many of a network's addresses are somebody's.
    pub fn count(&self, network: NetworkId) -> u64 {
        self.counts.get(&network).copied().unwrap_or_default()
    }

    /// The highest that is somebody's.
    pub fn last(&self, network: NetworkId) -> Option<IpAddr> {
        let first = IpAddr::from([0; 4]);
        let last = IpAddr::from([u16::MAX; 8]);
        self.holders.range((network, first)..=(network, last)).next_back().map(|((_, address), _)| *address)
    }

    pub(super) fn set(&mut self, holder: Holder, before: &[Address], after: &[Address]) {
        if before == after {
            return;
        }
        for address in before.iter().filter(|address| !after.contains(address)) {
            if self.holder(*address) == Some(holder) {
                self.holders.remove(address);
                let left = self.count(address.0).saturating_sub(1);
                match left {
                    0 => self.counts.remove(&address.0),
                    left => self.counts.insert(address.0, left),
                };
            }
        }
        for address in after {
            if self.holders.insert(*address, holder).is_none() {
                *self.counts.entry(address.0).or_default() += 1;
            }
        }
    }
}
