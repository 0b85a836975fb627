//! A node as gossip knows it: who, where, and in which of its lives.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::object::NodeId;
use crate::transport::Peer;

/// The largest generation that is believed, so that counting up never overflows.
pub(super) const GENERATION_MAX: u64 = 1 << 48;

/// One life of a node. The node id is the address in SWIM's sense, so there is one member per node, and of
/// two identities the higher generation wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub node: NodeId,
    pub addr: SocketAddr,
    /// Grows with each start and each time the node has to come back from being declared down.
    pub generation: u64,
    /// Whether it says that it is a manager. What it may do is in its certificate alone.
    pub manager: bool,
}

impl Identity {
    pub fn new(node: NodeId, addr: SocketAddr, generation: u64, manager: bool) -> Self {
        Self { node, addr: as_encoded(addr), generation, manager }
    }

    /// A node of which only the place is known. Good enough to call it: the generation is not compared then.
    pub(super) fn of_peer(peer: Peer) -> Self {
        Self::new(peer.node, peer.addr, 0, false)
    }

    pub fn peer(&self) -> Peer {
        Peer { node: self.node, addr: self.addr }
    }
}

/// The address as it comes out of a datagram: without scope and flow of IPv6. An identity that differs from
/// its encoded form would never recognise a message as meant for itself.
fn as_encoded(mut addr: SocketAddr) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut addr {
        v6.set_scope_id(0);
        v6.set_flowinfo(0);
    }
    addr
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        (self.generation < GENERATION_MAX).then(|| Self { generation: self.generation + 1, ..*self })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}
