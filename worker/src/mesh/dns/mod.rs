//! The node's DNS server: over UDP and TCP, at an address that its tasks reach and nobody else.
//!
//! - `message`: PURE, bytes of questions and answers. `resolv`: PURE, whom to ask for other names. `given`: PURE, what
//!   tasks are told of this server.
//! - `door`: where a runtime's tasks find it, and who is at which address. `keep`: has one at each of those places.
//! - `serve`: datagrams and connections. `forward`: names outside of the cluster, at the host's resolvers.
//!
//! Who asks is known by the address that the question comes from: whoever is no task of this node is refused. There is
//! no cache, because `names` answers from memory and the host's resolvers keep what they know; and nothing to be used
//! against others: no ANY, no zone transfers, nobody is answered beyond the node, and not much of it at a time.
//!
//! Not here: what names mean (`mesh::names`).

mod door;
mod forward;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod given;
pub mod keep;
pub mod message;
mod resolv;
mod serve;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use common::limits::{
    DNS_CONNECTIONS_MAX, DNS_CONNECTIONS_PER_SOURCE_MAX, DNS_PORT_TRIES_MAX, DNS_QUERIES_AT_ONCE_MAX,
    DNS_QUERIES_PER_SECOND_MAX, DNS_SOURCES_MAX, DNS_STRANGER_WAIT, DNS_STRANGERS_MAX,
    DNS_STRANGERS_PER_SOURCE_MAX,
};
use common::pace::Pace;
use common::places::Places;
use common::random::Random;
use common::shutdown::Tasks;
use common::time::Clock;
use hickory_proto::op::ResponseCode;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::door::Door;
use self::forward::Forwarder;
use self::message::{Question, Read};
use super::names::{Answer, Asker, Zone};

/// Who asks from which address.
#[derive(Clone)]
pub struct Askers {
    /// None where nobody knows the address.
    pub find: Arc<dyn Fn(IpAddr) -> Option<Asker> + Send + Sync>,
    /// Moves when somebody may be known who was not before: a container asks as soon as it runs, which may be before
    /// its engine has told us its address.
    pub changed: watch::Receiver<u64>,
}

impl Askers {
    async fn wait_for(&self, from: IpAddr) -> Option<Asker> {
        let mut changed = self.changed.clone();
        let known = async {
            loop {
                if let Some(asker) = (self.find)(from) {
                    return Some(asker);
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(DNS_STRANGER_WAIT, known).await.ok().flatten()
    }
}

pub struct DnsSettings {
    /// Where to listen. Port 0 means any, the same for UDP and TCP.
    pub address: SocketAddr,
    pub askers: Askers,
    pub zone: Arc<RwLock<Zone>>,
    /// Names the host's resolvers; read again when it has changed.
    pub resolv_conf: PathBuf,
    /// Where they listen. Not 53 in tests alone.
    pub resolver_port: u16,
    pub rate: Rate,
    pub random: Box<dyn Random>,
    pub clock: Arc<dyn Clock>,
}

/// What one source may ask.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub per_second: u32,
    pub at_once: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: DNS_QUERIES_PER_SECOND_MAX, at_once: DNS_QUERIES_AT_ONCE_MAX }
    }
}

/// The port and path that every host has them at.
pub const RESOLVER_PORT: u16 = 53;
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A server that is there, until the tasks it was started on stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dns {
    pub address: SocketAddr,
}

impl Dns {
    /// Listens from here on. The error is that of the address: it is taken, or not one of this node now.
    pub async fn start(settings: DnsSettings, tasks: &Tasks) -> io::Result<Self> {
        let (socket, listener) = sockets(settings.address).await?;
        let address = socket.local_addr()?;
        let server = Arc::new(Server::new(settings, address, tasks.clone()));
        tasks.spawn_until_stopped(serve::udp(server.clone(), Arc::new(socket)));
        tasks.spawn_until_stopped(serve::tcp(server, listener));
        Ok(Self { address })
    }
}

/// For both on one port. Where any will do, one that is free for the first may not be for the second.
async fn sockets(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if address.port() == 0 { DNS_PORT_TRIES_MAX } else { 1 };
    loop {
        let socket = UdpSocket::bind(address).await?;
        match TcpListener::bind(socket.local_addr()?).await {
            Ok(listener) => return Ok((socket, listener)),
            Err(error) if tries <= 1 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

/// What datagrams and connections share.
struct Server {
    askers: Askers,
    zone: Arc<RwLock<Zone>>,
    forwarder: Forwarder,
    connections: Arc<Places<IpAddr>>,
    /// Those who are waited for.
    strangers: Arc<Places<IpAddr>>,
    /// Strangers share one.
    pace: Mutex<Pace<Option<IpAddr>>>,
    /// Where lists of equal addresses begin; each answer goes on from the one before.
    turn: AtomicU64,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

/// What is to be done with some bytes.
enum Step {
    Answer(Vec<u8>),
    Forward(Question, Asker),
    /// Nothing is said.
    Drop,
}

impl Server {
    fn new(settings: DnsSettings, ourselves: SocketAddr, tasks: Tasks) -> Self {
        let DnsSettings { askers, zone, resolv_conf, resolver_port, rate, mut random, clock, .. } = settings;
        Self {
            askers,
            zone,
            turn: random.next_u64().into(),
            forwarder: Forwarder::new(resolv_conf, resolver_port, ourselves, random),
            connections: Places::new(DNS_CONNECTIONS_MAX, DNS_CONNECTIONS_PER_SOURCE_MAX),
            strangers: Places::new(DNS_STRANGERS_MAX, DNS_STRANGERS_PER_SOURCE_MAX),
            pace: Mutex::new(Pace::new(rate.per_second.into(), rate.at_once, DNS_SOURCES_MAX)),
            clock,
            tasks,
        }
    }

    /// Answers at once what can be. `bytes_max`: of an answer; none means what the question says.
    fn step(&self, bytes: &[u8], from: IpAddr, asker: Option<Asker>, bytes_max: Option<usize>) -> Step {
        let source = asker.is_some().then_some(from);
        let now = self.clock.monotonic();
        if !self.pace.lock().expect("no holder panics").take(&source, now) {
            return Step::Drop;
        }
        let question = match message::read(bytes) {
            Read::Question(question) => question,
            Read::Refused(answer) => return Step::Answer(answer),
            Read::Nothing => return Step::Drop,
        };
        let Some(asker) = asker else { return Step::Answer(question.refuse(ResponseCode::Refused)) };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let answer = match question.name() {
            Some(name) => {
                self.zone.read().expect("no holder panics").answer(&asker, &name, question.wanted(), turn)
            }
            None => Answer::Elsewhere,
        };
        let bytes_max = bytes_max.unwrap_or_else(|| question.udp_bytes());
        match question.answer(&answer, bytes_max) {
            Some(answer) => Step::Answer(answer),
            None => Step::Forward(question, asker),
        }
    }
}

#[cfg(test)]
#[path = "server_test.rs"]
mod tests;
