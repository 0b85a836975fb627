//! What the mesh of a node has to know: services that can be reached from there, and where their tasks are.
//!
//! It comes with the assignments, as the difference to what the node was told: a published service to every node, a
//! service of a network to the nodes with a task on that network. It stays on the node when all managers are gone.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::assignment::mixed;
use super::codec::encode;
use crate::object::ports::{EndpointMode, Port, Protocol};
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

/// The first message on a stream of the mesh: which task's port the caller wants, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshRequest {
    pub service: ServiceId,
    pub task: TaskId,
    /// The port where the task listens; its service has to publish it.
    pub target: u16,
    pub protocol: Protocol,
    /// Whose connection it is.
    pub client: SocketAddr,
}

/// The answer, before any byte of the connection. After `Open` the stream is the connection: for TCP its bytes as they
/// are, for UDP a frame for each datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MeshAnswer {
    Open,
    /// Nothing was sent to the task: another one may be tried.
    Refused {
        reason: String,
    },
}

impl MeshUpdate {
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.services_removed.is_empty()
            && self.endpoints.is_empty()
            && self.endpoints_removed.is_empty()
    }
}

/// The share of one service in the digest of assignments.
pub fn service_digest(service: &MeshService) -> u64 {
    digest_of(2, &encode(service))
}

/// The share of one endpoint.
pub fn endpoint_digest(endpoint: &MeshEndpoint) -> u64 {
    digest_of(3, &encode(endpoint))
}

fn digest_of(kind: u64, bytes: &[u8]) -> u64 {
    let word =
        |chunk: &[u8]| chunk.iter().fold(chunk.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    // Seven bytes and how many they are, so that no two contents make the same words.
    mixed(kind, bytes.chunks(7).map(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Slot;

    #[test]
    fn every_field_counts_in_a_digest() {
        let service = MeshService {
            id: ServiceId(1),
            name: "web".into(),
            mode: EndpointMode::Vip,
            ports: vec![Port { target: 80, published: 8080, ..Port::default() }],
            networks: Vec::new(),
        };
        let endpoint = MeshEndpoint {
            task: TaskId(1),
            service: ServiceId(1),
            slot: Slot::Number(1),
            node: NodeId(1),
            addresses: Vec::new(),
            leaving: false,
        };
        let other_port = vec![Port { target: 81, published: 8080, ..Port::default() }];
        let digests = [
            service_digest(&service),
            service_digest(&MeshService { name: "wen".into(), ..service.clone() }),
            service_digest(&MeshService { ports: other_port, ..service.clone() }),
            endpoint_digest(&endpoint),
            endpoint_digest(&MeshEndpoint { leaving: true, ..endpoint.clone() }),
            endpoint_digest(&MeshEndpoint { node: NodeId(2), ..endpoint.clone() }),
            endpoint_digest(&MeshEndpoint {
                addresses: vec![(NetworkId(1), [10, 0, 0, 1].into())],
                ..endpoint.clone()
            }),
        ];
        let different: std::collections::BTreeSet<u64> = digests.into_iter().collect();
        assert_eq!(different.len(), digests.len());
        assert_eq!(service_digest(&service), service_digest(&service.clone()));
    }
}
