//! The side of a connection where the task is: whether the task may be dialled at all, and its word before the first
//! byte.
//!
//! A node of the cluster can reach ports that services publish, of tasks that serve, and nothing else of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::limits::{LOOK_TIME_MAX, MESH_DIAL_TIME_MAX, MESH_REQUEST_BYTES_MAX, MESH_REQUEST_WAIT};
use common::object::ports::{Protocol, ProxyProtocol, PublishMode};
use common::object::service::RuntimeKind;
use common::object::{ServiceId, TaskState};
use common::transport::Stream;
use common::wire::frame::{expect_message, write_message};
use common::wire::mesh::{MeshAnswer, MeshRequest};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

use super::carry::Side;
use super::gate::Pass;
use super::table::Way;
use super::{Inner, listen, proxy, udp};
use crate::agent::AgentHandle;

/// A task of this node that took a connection.
pub enum Dialled {
    Tcp(TcpStream, Pass),
    Udp(udp::TaskSocket, Pass),
}

/// What of a task decides whether it may be dialled.
#[derive(Clone, Debug)]
struct Seen {
    service: ServiceId,
    serves: bool,
    leaves: bool,
    publishes: bool,
    runtime: RuntimeKind,
    /// Said before the first byte.
    proxy: Option<ProxyProtocol>,
    /// Empty: not asked yet.
    addresses: Vec<IpAddr>,
}

/// Answers a request from another node, and carries the connection to its end.
pub(super) async fn serve(inner: &Inner, stream: Stream) {
    let Stream { mut send, mut recv } = stream;
    let Ok(_slot) = inner.served.try_acquire() else {
        return refuse(&mut send, "its node serves as many connections as it can".into()).await;
    };
    let request = expect_message::<MeshRequest>(&mut recv, MESH_REQUEST_BYTES_MAX);
    let request = match timeout(MESH_REQUEST_WAIT, request).await {
        Ok(Ok(request)) => request,
        Ok(Err(_)) | Err(_) => return debug!("no request on a stream of the mesh"),
    };
    let dialled = match dial(&inner.agent, &request).await {
        Ok(dialled) => dialled,
        Err(reason) => return refuse(&mut send, reason).await,
    };
    if write_message(&mut send, &MeshAnswer::Open).await.is_err() {
        return; // whoever asked has gone to another task
    }
    let carried = match dialled {
        Dialled::Tcp(task, pass) => listen::carry_to(&mut Side { recv, send }, task, Some(&pass)).await,
        Dialled::Udp(task, pass) => udp::carry_to(Stream { send, recv }, task, &pass).await,
    };
    if let Err(error) = carried {
        debug!(task.id = %request.task, %error, "a connection broke off");
    }
}

async fn refuse(send: &mut (impl AsyncWrite + Unpin), reason: String) {
    let refused = async {
        let _ = write_message(send, &MeshAnswer::Refused { reason }).await;
        let _ = send.shutdown().await;
    };
    let _ = timeout(MESH_REQUEST_WAIT, refused).await;
}

/// Connects to a task of this node. The error says why not, and that nothing was sent.
pub(super) async fn dial(agent: &AgentHandle, request: &MeshRequest) -> Result<Dialled, String> {
    let seen = look(agent, request);
    if let Some(reason) = refusal(request, seen.as_ref()) {
        return Err(reason);
    }
    let seen = seen.ok_or_else(not_here)?;
    // Before it is dialled: from here on its stop waits for this connection.
    let pass = agent.shared.gates().enter(request.task).ok_or_else(leaving)?;
    let was_known = !seen.addresses.is_empty();
    let addresses =
        if was_known { seen.addresses } else { ask_addresses(agent, request, seen.runtime).await? };
    let dialled = match request.protocol {
        Protocol::Tcp => {
            let mut reason = "it has no address on its node".to_owned();
            for address in &addresses {
                let addr = SocketAddr::new(*address, request.target);
                let said = seen.proxy.map(|version| proxy::header(version, request.client, addr));
                match connect(addr, &said.unwrap_or_default()).await {
                    Ok(stream) => return Ok(Dialled::Tcp(stream, pass)),
                    Err(error) => reason = format!("port {} of the task: {error}", request.target),
                }
            }
            Err(reason)
        }
        Protocol::Udp => {
            let any: IpAddr = match addresses.first().ok_or("it has no address on its node")? {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).await.map_err(|error| error.to_string())?;
            let socket = udp::TaskSocket { socket, addresses, port: request.target };
            return Ok(Dialled::Udp(socket, pass));
        }
        Protocol::Sctp => Err("SCTP is not carried".into()),
    };
    if was_known {
        // It may have moved, as containers do when their engine restarts.
        agent.shared.with_entry(request.task, |entry| entry.addresses.clear());
    }
    dialled
}

fn look(agent: &AgentHandle, request: &MeshRequest) -> Option<Seen> {
    let way = Way { service: request.service, target: request.target, protocol: request.protocol };
    let is_published = agent.mesh().borrow().publishes(way);
    agent.shared.with_entry(request.task, |entry| {
        let (order, status) = (entry.orders.borrow(), entry.status.borrow());
        // An update may have changed the ports: old tasks keep those of their spec.
        let by_spec = order.spec.ports.iter().any(|port| {
            port.mode == PublishMode::Ingress
                && (port.target, port.protocol) == (request.target, request.protocol)
        });
        Seen {
            service: order.assigned.service,
            serves: status.state == TaskState::Running && status.ready,
            leaves: order.is_leaving
                || entry.stopping.is_some()
                || order.assigned.desired >= TaskState::Shutdown,
            publishes: is_published || by_spec,
            runtime: order.spec.task.runtime,
            proxy: proxy::asked(&order.spec.service_labels, request.target),
            addresses: entry.addresses.clone(),
        }
    })
}

/// Why a task must not be dialled; none when it may.
fn refusal(request: &MeshRequest, seen: Option<&Seen>) -> Option<String> {
    match seen {
        None => Some(not_here()),
        Some(seen) if seen.service != request.service => Some("it is of another service".into()),
        Some(seen) if !seen.publishes => {
            Some(format!("its service does not publish port {}/{}", request.target, request.protocol))
        }
        Some(seen) if seen.leaves => Some(leaving()),
        Some(seen) if !seen.serves => Some("it is not ready".into()),
        Some(_) => None,
    }
}

fn not_here() -> String {
    "it is not on its node".into()
}

fn leaving() -> String {
    "it is about to stop".into()
}

async fn ask_addresses(
    agent: &AgentHandle,
    request: &MeshRequest,
    runtime: RuntimeKind,
) -> Result<Vec<IpAddr>, String> {
    let runtime = agent.shared.runtime(runtime).ok_or("its node runs no tasks of its kind")?;
    let asked = timeout(LOOK_TIME_MAX, runtime.addresses(request.task)).await;
    let addresses = asked.map_err(|_| "its runtime does not answer")?.map_err(|error| error.to_string())?;
    agent.shared.with_entry(request.task, |entry| entry.addresses.clone_from(&addresses));
    Ok(addresses)
}

/// Connects, and says what goes before everything else: so little that no task makes us wait for it.
async fn connect(address: SocketAddr, said: &[u8]) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(true)?;
    let connected = timeout(MESH_DIAL_TIME_MAX, socket.connect(address)).await;
    let mut stream = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    stream.set_nodelay(true)?;
    stream.write_all(said).await?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::TaskId;

    #[test]
    fn nothing_is_dialled_but_published_ports_of_tasks_that_serve() {
        let request = MeshRequest {
            service: ServiceId(1),
            task: TaskId(1),
            target: 80,
            protocol: Protocol::Tcp,
            client: ([10, 0, 0, 9], 40_000).into(),
        };
        let good = Seen {
            service: ServiceId(1),
            serves: true,
            leaves: false,
            publishes: true,
            runtime: RuntimeKind::Process,
            proxy: None,
            addresses: Vec::new(),
        };
        #[rustfmt::skip]
        let cases = [ // what is seen, why not
            (None, Some("it is not on its node")),
            (Some(Seen { service: ServiceId(2), ..good.clone() }), Some("it is of another service")),
            (Some(Seen { publishes: false, ..good.clone() }), Some("its service does not publish port 80/tcp")),
            (Some(Seen { leaves: true, ..good.clone() }), Some("it is about to stop")),
            (Some(Seen { serves: false, ..good.clone() }), Some("it is not ready")),
            (Some(good), None),
        ];
        for (seen, expected) in cases {
            assert_eq!(refusal(&request, seen.as_ref()).as_deref(), expected);
        }
    }
}
