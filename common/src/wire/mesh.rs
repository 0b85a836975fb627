//! What the mesh of a node has to know: services that can be reached from there, and where their tasks are.
//!
//! It comes with the assignments, as the difference to what the node was told: a published service to every node, a
//! service of a network to the nodes with a task on that network. It stays on the node when all managers are gone.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::object::ports::{EndpointMode, Port};
use crate::object::{NetworkId, NodeId, ServiceId, Slot, TaskId};

/// One step from what a node's mesh has to what it should have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshUpdate {
    /// New, or changed: these replace what the node has of them, but for their endpoints.
    pub services: Vec<MeshService>,
    /// These go, with all their endpoints.
    pub services_removed: Vec<ServiceId>,
    pub endpoints: Vec<MeshEndpoint>,
    pub endpoints_removed: Vec<TaskId>,
}

/// A service as those see it who connect to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshService {
    pub id: ServiceId,
    pub name: String,
    pub mode: EndpointMode,
    /// Those published in ingress mode, numbers given out.
    pub ports: Vec<Port>,
    pub networks: Vec<MeshAttachment>,
}

/// A service on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshAttachment {
    pub network: NetworkId,
    pub network_name: String,
    /// Its virtual address there, where it has one.
    pub vip: Option<IpAddr>,
    /// Names it has there beside its own.
    pub aliases: Vec<String>,
}

/// A task that connections may go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshEndpoint {
    pub task: TaskId,
    pub service: ServiceId,
    pub slot: Slot,
    pub node: NodeId,
    /// Its address on each network of its service.
    pub addresses: Vec<(NetworkId, IpAddr)>,
    /// Still there for the connections it has, and for no new ones.
    pub leaving: bool,
}
