//! Published UDP ports: each client's datagrams go to one task, which is kept while either side speaks.
//!
//! Datagrams travel in frames on a stream, to a task here as to one elsewhere. They keep their order, and are dropped
//! where too many wait, as networks do.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::limits::{
    MESH_ACCEPT_PAUSE, MESH_DATAGRAM_BYTES_MAX, MESH_UDP_CLIENTS_MAX, MESH_UDP_IDLE_MAX, MESH_UDP_WAITING_MAX,
};
use common::object::ports::Protocol;
use common::transport::Stream;
use common::wire::frame::{FrameError, read_frame, write_frame};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::debug;

use super::Inner;
use super::carry::Flow;
use super::connect::End;
use super::gate::Pass;
use super::serve::Dialled;

/// The way to a task's UDP port.
pub struct TaskSocket {
    pub socket: UdpSocket,
    /// The first is sent to; an answer may come from any of them.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// Hands each client's datagrams to whoever carries them.
pub(super) async fn listen(inner: &Arc<Inner>, socket: UdpSocket, port: u16) {
    let socket = Arc::new(socket);
    let mut clients: BTreeMap<SocketAddr, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
    let mut buffer = vec![0; MESH_DATAGRAM_BYTES_MAX];
    loop {
        let (count, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An earlier answer could not be delivered, say.
                debug!(port, %error, "receive a datagram");
                tokio::time::sleep(MESH_ACCEPT_PAUSE).await;
                continue;
            }
        };
        let datagram = buffer[..count].to_vec();
        if clients.get(&client).is_none_or(mpsc::Sender::is_closed) {
            if clients.len() >= MESH_UDP_CLIENTS_MAX {
                clients.retain(|_, known| !known.is_closed());
            }
            if clients.len() >= MESH_UDP_CLIENTS_MAX {
                continue;
            }
            let (sender, datagrams) = mpsc::channel(MESH_UDP_WAITING_MAX);
            clients.insert(client, sender);
            let (carrier, socket) = (inner.clone(), socket.clone());
            inner.tasks.spawn_until_stopped(async move {
                if let Err(error) = bring(&carrier, &socket, client, port, datagrams).await {
                    debug!(port, %client, %error, "datagrams got no further");
                }
            });
        }
        if let Some(known) = clients.get(&client) {
            let _ = known.try_send(datagram); // full: dropped
        }
    }
}

/// Finds a task for a client, and carries datagrams until both are silent.
async fn bring(
    inner: &Arc<Inner>,
    socket: &UdpSocket,
    client: SocketAddr,
    port: u16,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) -> Result<(), FrameError> {
    let way = inner.table.borrow().way(Protocol::Udp, port);
    let seen = SocketAddr::new(client.ip().to_canonical(), client.port());
    let outlet = match way {
        Some(way) => inner.connect(way, seen).await,
        None => None,
    };
    let Some(outlet) = outlet else { return Err(refused()) };
    let (stream, here) = match outlet.end {
        End::There(stream) => (stream, None),
        End::Here(Dialled::Udp(task, pass)) => {
            let (near, far) = tokio::io::duplex(2 * MESH_DATAGRAM_BYTES_MAX);
            (whole(near), Some((whole(far), task, pass)))
        }
        End::Here(Dialled::Tcp(..)) => return Err(refused()), // not what was asked for
    };
    let Stream { mut send, mut recv } = stream;
    let flow = Flow::new();
    let up = async {
        while let Some(datagram) = datagrams.recv().await {
            flow.note(false);
            write_frame(&mut send, &datagram).await?;
        }
        Ok::<(), FrameError>(())
    };
    let down = async {
        while let Some(datagram) = read_frame(&mut recv, MESH_DATAGRAM_BYTES_MAX).await? {
            flow.note(true);
            let _ = socket.send_to(&datagram, client).await; // the client may be gone
        }
        Ok::<(), FrameError>(())
    };
    let task = async {
        match here {
            Some((stream, task, pass)) => carry_to(stream, task, &pass).await.map_err(FrameError::Io),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = up => result,
        result = down => result,
        result = task => result,
        () = flow.idle(MESH_UDP_IDLE_MAX) => Ok(()),
    }
}

/// Carries datagrams between a stream and a task of this node, until both are silent or the task is about to stop.
pub(super) async fn carry_to(stream: Stream, task: TaskSocket, pass: &Pass) -> io::Result<()> {
    let Stream { mut send, mut recv } = stream;
    let TaskSocket { socket, addresses, port } = task;
    let Some(first) = addresses.first().copied() else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let flow = Flow::new();
    let up = async {
        while let Some(datagram) = read_frame(&mut recv, MESH_DATAGRAM_BYTES_MAX).await.map_err(other)? {
            flow.note(false);
            let _ = socket.send_to(&datagram, (first, port)).await; // lost, as datagrams may be
        }
        Ok::<(), io::Error>(())
    };
    let down = async {
        let mut buffer = vec![0; MESH_DATAGRAM_BYTES_MAX];
        loop {
            let (count, from) = socket.recv_from(&mut buffer).await?;
            // A program that listens everywhere answers from whichever address the machine picks.
            if from.port() == port && addresses.contains(&from.ip()) {
                flow.note(true);
                write_frame(&mut send, &buffer[..count]).await.map_err(other)?;
            }
        }
    };
    tokio::select! {
        result = up => result,
        result = down => result,
        () = flow.idle(MESH_UDP_IDLE_MAX) => Ok(()),
        () = flow.drained(Some(pass)) => Ok(()),
    }
}

/// Both directions of one end of a stream within this program.
fn whole(end: tokio::io::DuplexStream) -> Stream {
    let (recv, send) = tokio::io::split(end);
    Stream { send: Box::new(send), recv: Box::new(recv) }
}

fn refused() -> FrameError {
    FrameError::Io(io::Error::new(io::ErrorKind::ConnectionRefused, "no task took it"))
}

fn other(error: FrameError) -> io::Error {
    io::Error::other(error)
}
