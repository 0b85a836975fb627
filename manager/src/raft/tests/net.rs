//! A network in memory, where members can be cut off: their streams then say nothing, as with a pulled cable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::object::{ClusterId, NodeId, Role};
use common::shutdown::Tasks;
use common::transport::{Incoming, Peer, PeerIdentity, Stream, StreamKind, Transport, TransportError};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

const BUFFER: usize = 64 << 10;

#[derive(Clone, Default)]
pub struct Net {
    shared: Arc<Shared>,
    pub tasks: Tasks,
}

#[derive(Default)]
struct Shared {
    listeners: Mutex<BTreeMap<NodeId, mpsc::Sender<Incoming>>>,
    cut: Mutex<BTreeSet<NodeId>>,
}

/// One node's way into the network.
pub struct Port {
    net: Net,
    me: NodeId,
}

impl Net {
    /// The network as `me` uses it, and what arrives there.
    pub fn port(&self, me: NodeId) -> (Arc<Port>, mpsc::Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel(64);
        self.shared.listeners.lock().unwrap().insert(me, sender);
        (Arc::new(Port { net: self.clone(), me }), receiver)
    }

    pub fn cut(&self, node: NodeId) {
        self.shared.cut.lock().unwrap().insert(node);
    }

    pub fn heal(&self, node: NodeId) {
        self.shared.cut.lock().unwrap().remove(&node);
    }

    fn is_cut(&self, nodes: [NodeId; 2]) -> bool {
        let cut = self.shared.cut.lock().unwrap();
        nodes.iter().any(|node| cut.contains(node))
    }

    async fn pump(
        self,
        nodes: [NodeId; 2],
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if self.is_cut(nodes) {
                return std::future::pending().await;
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    }
}

pub fn address_of(node: NodeId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node.0 as u16 + 1000))
}

impl Transport for Port {
    fn open(&self, peer: Peer, kind: StreamKind) -> BoxFuture<'_, Result<Stream, TransportError>> {
        Box::pin(async move {
            let unreachable = |reason: &str| TransportError::Unreachable {
                node: peer.node,
                addr: peer.addr,
                reason: reason.into(),
            };
            let nodes = [self.me, peer.node];
            if self.net.is_cut(nodes) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return Err(unreachable("no answer"));
            }
            let listener = self.net.shared.listeners.lock().unwrap().get(&peer.node).cloned();
            let listener = listener.ok_or_else(|| unreachable("nobody listens"))?;
            let (near, near_wire) = tokio::io::duplex(BUFFER);
            let (far, far_wire) = tokio::io::duplex(BUFFER);
            let (near_in, near_out) = tokio::io::split(near_wire);
            let (far_in, far_out) = tokio::io::split(far_wire);
            self.net.tasks.spawn_until_stopped(self.net.clone().pump(nodes, near_in, far_out));
            self.net.tasks.spawn_until_stopped(self.net.clone().pump(nodes, far_in, near_out));
            let stream = |end| {
                let (recv, send) = tokio::io::split(end);
                Stream { send: Box::new(send), recv: Box::new(recv) }
            };
            let from = PeerIdentity { node: self.me, role: Role::Manager, cluster: ClusterId(5) };
            let addr = address_of(self.me);
            let incoming = Incoming { from: Some(from), addr, kind, stream: stream(far) };
            listener.send(incoming).await.map_err(|_| unreachable("nobody listens"))?;
            Ok(stream(near))
        })
    }

    fn datagram(&self, _peer: Peer, _payload: Bytes) {}

    fn round_trip(&self, _node: NodeId) -> Option<Duration> {
        None
    }

    fn deny(&self, _nodes: BTreeSet<NodeId>) {}
}
