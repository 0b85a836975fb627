//! Ways to find objects other than by id. Derived from the tables, and never stored.

use std::ops::RangeInclusive;
use std::sync::Arc;

use common::object::{
    Network, NetworkId, NodeId, Payload, PayloadId, PayloadKind, Service, ServiceId, Slot, Task, TaskId,
};
use imbl::{OrdMap, OrdSet};

use super::addresses::{Addresses, Holder, of_service, of_task};

/// All indexes. A clone is cheap, like that of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// Lower-cased names of services that are not removed.
    service_names: OrdMap<Box<str>, ServiceId>,
    slots: OrdSet<(ServiceId, Slot, TaskId)>,
    nodes: OrdSet<(NodeId, TaskId)>,
    /// Lower-cased as well.
    payload_names: OrdMap<(PayloadKind, Box<str>), PayloadId>,
    network_names: OrdMap<Box<str>, NetworkId>,
    addresses: Addresses,
}

const FIRST_TASK: TaskId = TaskId(u128::MIN);
const LAST_TASK: TaskId = TaskId(u128::MAX);

impl Indexes {
    pub(super) fn service(&mut self, before: Option<&Service>, after: Option<&Service>) {
        let name = |service: &Service| (!service.removed).then(|| key(service.name()));
        let (old, new) = (before.and_then(name), after.and_then(name));
        if let Some(service) = after.or(before) {
            self.addresses.set(Holder::Service(service.id), of_service(before), of_service(after));
        }
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.service_names.remove(&old);
        }
        if let (Some(new), Some(after)) = (new, after) {
            self.service_names.insert(new, after.id);
        }
    }

    pub(super) fn task(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let slot = |task: &Task| (task.service, task.slot, task.id);
        let (old, new) = (before.map(slot), after.map(slot));
        if old != new {
            if let Some(old) = old {
                self.slots.remove(&old);
            }
            if let Some(new) = new {
                self.slots.insert(new);
            }
        }
        let node = |task: &Task| task.node.map(|node| (node, task.id));
        let (old, new) = (before.and_then(node), after.and_then(node));
        if old != new {
            if let Some(old) = old {
                self.nodes.remove(&old);
            }
            if let Some(new) = new {
                self.nodes.insert(new);
            }
        }
        if let Some(task) = after.or(before) {
            self.addresses.set(Holder::Task(task.id), of_task(before), of_task(after));
        }
    }

    pub(super) fn payload(&mut self, before: Option<&Payload>, after: Option<&Payload>) {
        if let Some(before) = before {
            self.payload_names.remove(&(before.kind, key(&before.spec.name)));
        }
        if let Some(after) = after {
            self.payload_names.insert((after.kind, key(&after.spec.name)), after.id);
        }
    }

    pub(super) fn network(&mut self, before: Option<&Network>, after: Option<&Network>) {
        if let Some(before) = before {
            self.network_names.remove(&key(&before.spec.name));
        }
        if let Some(after) = after {
            self.network_names.insert(key(&after.spec.name), after.id);
        }
    }

    pub(super) fn network_by_name(&self, name: &str) -> Option<NetworkId> {
        self.network_names.get(&key(name)).copied()
    }

    pub(super) fn payload_by_name(&self, kind: PayloadKind, name: &str) -> Option<PayloadId> {
        self.payload_names.get(&(kind, key(name))).copied()
    }

    pub(super) fn service_by_name(&self, name: &str) -> Option<ServiceId> {
        self.service_names.get(&key(name)).copied()
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub(super) fn tasks_of_service(&self, service: ServiceId) -> impl Iterator<Item = TaskId> {
        self.slot_range(service, Slot::Number(u64::MIN)..=Slot::Node(NodeId(u128::MAX)))
    }

    pub(super) fn tasks_of_slot(&self, service: ServiceId, slot: Slot) -> impl Iterator<Item = TaskId> {
        self.slot_range(service, slot..=slot)
    }

    pub(super) fn tasks_on_node(&self, node: NodeId) -> impl Iterator<Item = TaskId> {
        self.nodes.range((node, FIRST_TASK)..=(node, LAST_TASK)).map(|(_, task)| *task)
    }

    fn slot_range(&self, service: ServiceId, slots: RangeInclusive<Slot>) -> impl Iterator<Item = TaskId> {
        let range = (service, *slots.start(), FIRST_TASK)..=(service, *slots.end(), LAST_TASK);
        self.slots.range(range).map(|(_, _, task)| *task)
    }
}

fn key(name: &str) -> Box<str> {
    name.to_lowercase().into()
}

/// Looks ids up, for iterators over an index: what an index names is in its table.
pub(super) fn objects<'a, T: super::table::Object>(
    table: &'a super::table::Table<T>,
    ids: impl Iterator<Item = T::Id> + 'a,
) -> impl Iterator<Item = &'a Arc<T>> + 'a {
    ids.filter_map(|id| table.get(id))
}
