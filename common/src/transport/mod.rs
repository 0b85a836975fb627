//! How nodes talk: streams of a named kind, and datagrams, between nodes that have proved who they are.
//!
//! `tls` is for the API, whose clients are no nodes. The trait has two makers: `quic`, the real one, and `memory`, in process with faults on demand.
//! What travels on a stream is `wire`'s; who may open which kind is `StreamKind::allowed`.

pub mod memory;
pub mod quic;
pub mod tls;

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::object::{ClusterId, NodeId, Role};

/// A node as a destination. The far end has to prove to be `node`, wherever `addr` leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    pub node: NodeId,
    pub addr: SocketAddr,
}

/// Who the far end is, by its certificate and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    pub node: NodeId,
    pub role: Role,
    pub cluster: ClusterId,
}

/// What a stream is for; its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// Without certificate: fetch the root, hand in a signing request with a token.
    Join = 1,
    /// One raft request and its answer.
    Raft = 2,
    /// Log entries as they come, with their answers.
    RaftAppend = 3,
    /// A snapshot.
    RaftSnapshot = 4,
    /// One request between managers (forwarded writes, read positions) and its answer.
    Manager = 5,
    /// A node's conversation with the leader.
    Session = 6,
    /// A node asks for its next certificate.
    Renew = 7,
    /// A manager asks a node for what its tasks wrote.
    Logs = 8,
    /// A connection to a task, for somebody who connected to another node.
    Mesh = 9,
}

/// Which of the two connections to a peer carries a kind, so that bulk never delays a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Control,
    Bulk,
}

impl StreamKind {
    pub const ALL: [StreamKind; 9] = [
        StreamKind::Join,
        StreamKind::Raft,
        StreamKind::RaftAppend,
        StreamKind::RaftSnapshot,
        StreamKind::Manager,
        StreamKind::Session,
        StreamKind::Renew,
        StreamKind::Logs,
        StreamKind::Mesh,
    ];

    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    pub fn lane(self) -> Lane {
        match self {
            StreamKind::RaftSnapshot | StreamKind::Logs | StreamKind::Mesh => Lane::Bulk,
            StreamKind::Join
            | StreamKind::Raft
            | StreamKind::RaftAppend
            | StreamKind::Manager
            | StreamKind::Session
            | StreamKind::Renew => Lane::Control,
        }
    }

    /// Who may open this kind: `None` is a caller without certificate.
    pub fn allowed(self, role: Option<Role>) -> bool {
        match (self, role) {
            (StreamKind::Join, None) => true,
            (StreamKind::Join, Some(_)) | (_, None) => false,
            (StreamKind::Session | StreamKind::Renew | StreamKind::Mesh, Some(_)) => true,
            (
                StreamKind::Raft
                | StreamKind::RaftAppend
                | StreamKind::RaftSnapshot
                | StreamKind::Manager
                | StreamKind::Logs,
                Some(role),
            ) => role == Role::Manager,
        }
    }

    /// Whether a stream that is dropped before its sending side was shut down breaks off, so that the far end can tell
    /// what was cut from what is whole. Other kinds end in peace then: their messages say themselves when all is said.
    pub fn breaks_off(self) -> bool {
        self == StreamKind::Mesh
    }

    /// Larger goes first when a connection has to choose.
    pub fn priority(self) -> i32 {
        match self {
            StreamKind::Raft | StreamKind::RaftAppend => 3,
            StreamKind::Session => 2,
            StreamKind::Manager | StreamKind::Renew => 1,
            StreamKind::Join | StreamKind::RaftSnapshot | StreamKind::Logs | StreamKind::Mesh => 0,
        }
    }
}

/// Both directions of a stream. Dropping it, or shutting `send` down, ends our side; see `StreamKind::breaks_off`.
pub struct Stream {
    pub send: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    pub recv: Box<dyn AsyncRead + Send + Sync + Unpin>,
}

/// A stream that a peer opened. The transport has checked that it may.
pub struct Incoming {
    /// None for callers without certificate, whose kind is always `Join`.
    pub from: Option<PeerIdentity>,
    pub addr: SocketAddr,
    pub kind: StreamKind,
    pub stream: Stream,
}

/// A datagram that a peer sent.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: PeerIdentity,
    pub addr: SocketAddr,
    pub payload: Bytes,
}

/// What a transport hands to its owner. Both queues are bounded; a full datagram queue drops the datagram.
pub struct Arrivals {
    pub streams: mpsc::Receiver<Incoming>,
    pub datagrams: mpsc::Receiver<Datagram>,
}

/// Why a stream to a peer could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    #[error("cannot reach {node} at {addr}: {reason}")]
    Unreachable { node: NodeId, addr: SocketAddr, reason: String },
    #[error("the node at {addr} is {found}, not {expected}")]
    WrongNode { expected: NodeId, found: NodeId, addr: SocketAddr },
    #[error("{node} at {addr} refused us: {reason}")]
    Refused { node: NodeId, addr: SocketAddr, reason: String },
    #[error("{node} at {addr} says that this node was removed from the cluster")]
    Removed { node: NodeId, addr: SocketAddr },
    #[error("this node is closing its connections")]
    Closed,
}

/// A way to reach other nodes. Connections are made on demand, reused, and closed when idle.
pub trait Transport: Send + Sync + 'static {
    /// Opens a stream; connects first where there is no connection. Bounded in time by the transport.
    fn open(&self, peer: Peer, kind: StreamKind) -> BoxFuture<'_, Result<Stream, TransportError>>;

    /// Sends a datagram if it can be sent soon, and drops it otherwise. Never waits.
    fn datagram(&self, peer: Peer, payload: Bytes);

    /// Round-trip time of the connection to a peer, where there is one.
    fn round_trip(&self, node: NodeId) -> Option<std::time::Duration>;

    /// From now on refuses these nodes, and only these; connections to them are closed.
    fn deny(&self, nodes: std::collections::BTreeSet<NodeId>);

    /// A request to this node timed out. Connections that have sent and heard nothing for a moment are closed at
    /// once, others are tried; so the next stream does not go into a dead one. Harmless to a peer that answers.
    /// A transport without connections has nothing to do.
    fn suspect(&self, _node: NodeId) {}
}
