//! The published ports of this node: one listener each, for as long as a service publishes it.
//!
//! What a port leads to is looked up for each connection. A port that cannot be had is said and tried again; the
//! others are not concerned. Connections outlive their listener.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use common::limits::{MESH_ACCEPT_PAUSE, MESH_BACKLOG_MAX, MESH_LISTEN_RETRY_MAX, MESH_LISTEN_RETRY_MIN};
use common::object::ports::Protocol;
use common::shutdown::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tracing::debug;

use super::carry::{Side, carry};
use super::connect::End;
use super::gate::Pass;
use super::serve::Dialled;
use super::{Inner, holder, udp};

/// Opens and closes listeners as the table wants it.
pub(super) async fn keep(inner: Arc<Inner>) {
    let mut table = inner.table.clone();
    let mut open: BTreeMap<(Protocol, u16), Tasks> = BTreeMap::new();
    loop {
        let wanted = table.borrow_and_update().published();
        let gone: Vec<_> = open.keys().filter(|key| !wanted.contains(key)).copied().collect();
        for key in gone {
            if let Some(listener) = open.remove(&key) {
                // Waited for, so that the port is free when it is wanted again.
                listener.stop().await;
                inner.problems.lock().expect("no holder panics").remove(&key);
            }
        }
        for key in wanted {
            open.entry(key).or_insert_with(|| {
                let listener = inner.tasks.child();
                listener.spawn_until_stopped(listen(inner.clone(), key));
                listener
            });
        }
        if table.changed().await.is_err() {
            return;
        }
    }
}

async fn listen(inner: Arc<Inner>, (protocol, port): (Protocol, u16)) {
    let mut pause = MESH_LISTEN_RETRY_MIN;
    loop {
        let bound = match protocol {
            Protocol::Tcp => everywhere(inner.listen, |address| bind_tcp(address, port)).map(Bound::Tcp),
            Protocol::Udp => everywhere(inner.listen, |address| bind_udp(address, port)).map(Bound::Udp),
            Protocol::Sctp => Err(io::Error::new(io::ErrorKind::Unsupported, "SCTP is not carried")),
        };
        match bound {
            Ok(bound) => {
                inner.set_problem((protocol, port), None);
                match bound {
                    Bound::Tcp(listener) => accept(&inner, listener, port).await,
                    Bound::Udp(socket) => udp::listen(&inner, socket, port).await,
                }
            }
            Err(error) => {
                let problem = explain(&error, protocol, port).await;
                inner.set_problem((protocol, port), Some(problem));
            }
        }
        // Nothing tells when a port becomes free.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MESH_LISTEN_RETRY_MAX);
    }
}

enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// On one address, or on all there are: of both families where the machine has both.
fn everywhere<T>(address: Option<IpAddr>, bind: impl Fn(IpAddr) -> io::Result<T>) -> io::Result<T> {
    match address {
        Some(address) => bind(address),
        None => match bind(Ipv6Addr::UNSPECIFIED.into()) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind(Ipv4Addr::UNSPECIFIED.into()),
            bound => bound,
        },
    }
}

fn bind_tcp(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier life do not keep the port; accepted ones notice that their client is gone.
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(SocketAddr::new(address, port))?;
    socket.listen(MESH_BACKLOG_MAX)
}

fn bind_udp(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(SocketAddr::new(address, port))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Why a published port leads nowhere on this node, for people.
async fn explain(error: &io::Error, protocol: Protocol, port: u16) -> String {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let looking = tokio::task::spawn_blocking(move || holder::of(protocol, port));
            match looking.await.ok().flatten() {
                Some(holder) => format!("{holder} has it on this node"),
                None => "another program has it on this node".into(),
            }
        }
        _ => error.to_string(),
    };
    format!("port {port}/{protocol} is published, and this node cannot listen on it: {reason}")
}

async fn accept(inner: &Arc<Inner>, listener: TcpListener, port: u16) {
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(port, %error, "accept a connection");
                tokio::time::sleep(MESH_ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = inner.carried.clone().acquire_owned().await else { return };
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let carrier = inner.clone();
        inner.tasks.spawn_until_stopped(async move {
            if let Err(error) = bring(&carrier, stream, client, port).await {
                debug!(port, %client, %error, "a connection broke off");
            }
            drop(slot);
        });
    }
}

/// Brings a client to a task, and carries what they say to its end.
async fn bring(inner: &Arc<Inner>, mut client: TcpStream, addr: SocketAddr, port: u16) -> io::Result<()> {
    client.set_nodelay(true)?;
    let way = inner.table.borrow().way(Protocol::Tcp, port);
    let outlet = match way {
        Some(way) => inner.connect(way, addr).await,
        None => None,
    };
    let Some(outlet) = outlet else {
        client.set_zero_linger()?; // it is to see that nobody took it, and not an empty answer
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "no task took it"));
    };
    let (recv, send) = client.split();
    let mut side = Side { recv, send };
    let result = match outlet.end {
        End::Here(Dialled::Tcp(task, pass)) => carry_to(&mut side, task, Some(&pass)).await,
        End::There(stream) => {
            let mut task = Side { recv: stream.recv, send: stream.send };
            carry(&mut side, &mut task, None).await
        }
        End::Here(Dialled::Udp(..)) => Err(io::ErrorKind::Unsupported.into()), // not what was asked for
    };
    if result.is_err() {
        let _ = client.set_zero_linger(); // the break is passed on
    }
    drop(outlet.busy);
    result
}

/// Carries a connection to a socket; when it breaks, the socket's far end sees that.
pub(super) async fn carry_to<R, W>(
    client: &mut Side<R, W>,
    mut task: TcpStream,
    pass: Option<&Pass>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (recv, send) = task.split();
    let result = carry(client, &mut Side { recv, send }, pass).await;
    if result.is_err() {
        let _ = task.set_zero_linger();
    }
    result
}
