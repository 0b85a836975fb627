//! The one list of tables, and what can be asked of them.

use std::sync::Arc;

use common::object::{
    Cluster, Network, NetworkId, Node, NodeId, Payload, PayloadId, PayloadKind, Service, ServiceId, Slot,
    Task, TaskId, Version,
};
use common::time::Timestamp;

use super::addresses::Addresses;
use super::indexes::{Indexes, objects};
use super::table::Table;

/// All state of the cluster. A clone is a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The last log entry applied.
    pub version: Version,
    /// The newest time any proposal brought: a leader's time is never earlier than this.
    pub newest: Timestamp,
    pub clusters: Table<Cluster>,
    pub nodes: Table<Node>,
    pub services: Table<Service>,
    pub tasks: Table<Task>,
    pub payloads: Table<Payload>,
    pub networks: Table<Network>,
    pub(super) indexes: Indexes,
}

impl Tables {
    /// The cluster's own object: there from the first proposal on.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.clusters.iter().next()
    }

    /// By its whole name, in any case; removed services have none.
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.get(self.indexes.service_by_name(name)?)
    }

    /// By its whole name, in any case.
    pub fn payload_by_name(&self, kind: PayloadKind, name: &str) -> Option<&Arc<Payload>> {
        self.payloads.get(self.indexes.payload_by_name(kind, name)?)
    }

    /// By its whole name, in any case.
    pub fn network_by_name(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.get(self.indexes.network_by_name(name)?)
    }

    /// Who has which address on which network.
    pub fn addresses(&self) -> &Addresses {
        self.indexes.addresses()
    }

    /// In order of slot, then id.
    pub fn tasks_of_service(&self, service: ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        objects(&self.tasks, self.indexes.tasks_of_service(service))
    }

    pub fn tasks_of_slot(&self, service: ServiceId, slot: Slot) -> impl Iterator<Item = &Arc<Task>> {
        objects(&self.tasks, self.indexes.tasks_of_slot(service, slot))
    }

    /// Every task that was ever placed there and is still known.
    pub fn tasks_on_node(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        objects(&self.tasks, self.indexes.tasks_on_node(node))
    }

    /// Puts an object in, or out with `after` none, and keeps the indexes.
    pub(crate) fn set_service(&mut self, id: ServiceId, after: Option<Arc<Service>>) -> Option<Arc<Service>> {
        let before = self.services.set(id, after.clone());
        self.indexes.service(before.as_deref(), after.as_deref());
        before
    }

    pub(crate) fn set_task(&mut self, id: TaskId, after: Option<Arc<Task>>) -> Option<Arc<Task>> {
        let before = self.tasks.set(id, after.clone());
        self.indexes.task(before.as_deref(), after.as_deref());
        before
    }

    pub(crate) fn set_payload(&mut self, id: PayloadId, after: Option<Arc<Payload>>) -> Option<Arc<Payload>> {
        let before = self.payloads.set(id, after.clone());
        self.indexes.payload(before.as_deref(), after.as_deref());
        before
    }

    pub(crate) fn set_network(&mut self, id: NetworkId, after: Option<Arc<Network>>) -> Option<Arc<Network>> {
        let before = self.networks.set(id, after.clone());
        self.indexes.network(before.as_deref(), after.as_deref());
        before
    }
}
