//! One node's conversation with the leader, and the list of those that stand.
//!
//! Only the leader holds sessions; any other manager says where the leader is. A heartbeat moves a time in
//! memory and nothing else: liveness costs no log writes. What has to be decided or written goes to the
//! control loop as events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::identity::given::public_key;
use common::identity::{SealError, SealKey};
use common::limits::{
    FRAME_BYTES_MAX, SECRET_DRIVER_ANSWERS_MAX, SESSION_EVENTS_MAX, SESSION_HELLO_WAIT, SESSION_SEND_WAIT,
};
use common::object::cluster::Authority;
use common::object::sensitive::SensitiveBytes;
use common::object::{Node, NodeDescription, NodeId};
use common::random::SystemRandom;
use common::time::{Clock, Monotonic};
use common::transport::Stream;
use common::wire::assignment::{AssignmentUpdate, TaskReport};
use common::wire::frame::{FrameError, expect_message, read_message, write_message};
use common::wire::join::KnownManager;
use common::wire::session::{ManagerMessage, Membership, NodeMessage, Parting};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::assignments::{Look, Questions, Told};
use super::mesh;
use crate::secret_driver::{Answer, SecretDrivers};
use crate::store::{Store, Tables};

/// What sessions tell the control loop.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    Opened(NodeId),
    Closed(NodeId),
    Described {
        node: NodeId,
        description: Box<NodeDescription>,
        addr: String,
    },
    /// The node stops or leaves on purpose.
    Goodbye(NodeId, Parting),
    /// What the node has seen of its tasks; to be acknowledged with `Sessions::reported` once it is written.
    Reports {
        from: Reporter,
        number: u64,
        reports: Vec<TaskReport>,
    },
}

/// A node in one session of it: an answer to an earlier one must not reach a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reporter {
    pub node: NodeId,
    session: u64,
}

/// Whether this manager holds sessions now.
#[derive(Clone, Debug)]
pub enum Lead {
    /// It does, until the token says that its lead is over.
    Mine {
        heartbeat_period: Duration,
        until: CancellationToken,
    },
    Other(Option<KnownManager>),
}

/// All sessions of this manager. Clones are handles to the same list.
#[derive(Clone)]
pub struct Sessions {
    open: Arc<Mutex<BTreeMap<NodeId, Open>>>,
    lead: watch::Sender<Lead>,
    events: mpsc::Sender<SessionEvent>,
    next_number: Arc<AtomicU64>,
    store: Store,
    drivers: SecretDrivers,
    clock: Arc<dyn Clock>,
}

struct Open {
    /// Tells this session from an earlier or later one of the same node.
    number: u64,
    heard_at: Monotonic,
    calls: Arc<Calls>,
    replaced: CancellationToken,
}

/// What others ask of the writing side of a session.
#[derive(Default)]
struct Calls {
    nudge: Notify,
    /// Reports up to this number are written.
    reported: AtomicU64,
    /// The node has lost the thread of its assignments.
    resync: AtomicBool,
    /// What may be other than the node was told.
    look: Mutex<Look>,
}

impl Calls {
    fn look_at_own(&self) {
        self.look.lock().expect("no holder panics").own = true;
        self.nudge.notify_one();
    }

    fn look_at_mesh(&self, look: &mesh::Look) {
        self.look.lock().expect("no holder panics").mesh.add(look);
        self.nudge.notify_one();
    }

    fn take_look(&self) -> Look {
        std::mem::take(&mut *self.look.lock().expect("no holder panics"))
    }
}

impl Sessions {
    pub fn new(
        store: Store,
        drivers: SecretDrivers,
        clock: Arc<dyn Clock>,
    ) -> (Self, mpsc::Receiver<SessionEvent>) {
        let (events, receiver) = mpsc::channel(SESSION_EVENTS_MAX);
        let lead = watch::Sender::new(Lead::Other(None));
        let (open, next_number) = Default::default();
        (Self { open, lead, events, next_number, store, drivers, clock }, receiver)
    }

    /// Begins or ends holding sessions. The ones that stand end with the lead they belong to.
    pub fn set_lead(&self, lead: Lead) {
        let before = self.lead.send_replace(lead);
        if let Lead::Mine { until, .. } = before {
            until.cancel();
        }
    }

    /// When the present session of a node last brought a message.
    pub fn heard_at(&self, node: NodeId) -> Option<Monotonic> {
        self.open.lock().expect("no holder panics").get(&node).map(|open| open.heard_at)
    }

    /// Has a session look at the store again: something about its node has changed.
    pub fn nudge(&self, node: NodeId) {
        if let Some(open) = self.open.lock().expect("no holder panics").get(&node) {
            open.calls.look_at_own();
        }
    }

    /// Has every session look again: something that all are told has changed.
    pub fn nudge_all(&self) {
        for open in self.open.lock().expect("no holder panics").values() {
            open.calls.look_at_own();
        }
    }

    /// Has every session look at these services and tasks again, for its node's mesh.
    pub fn look_at_mesh(&self, look: &mesh::Look) {
        if look.is_empty() {
            return;
        }
        for open in self.open.lock().expect("no holder panics").values() {
            open.calls.look_at_mesh(look);
        }
    }

    /// Tells a node that its reports up to `number` are in the store.
    pub fn reported(&self, to: Reporter, number: u64) {
        let open = self.open.lock().expect("no holder panics");
        if let Some(open) = open.get(&to.node).filter(|open| open.number == to.session) {
            open.calls.reported.fetch_max(number, Ordering::Relaxed);
            open.calls.nudge.notify_one();
        }
    }

    /// Holds the conversation that `node` has begun, until either side ends it.
    pub async fn serve(&self, node: NodeId, mut stream: Stream) {
        let lead = self.lead.borrow().clone();
        let (heartbeat_period, until) = match lead {
            Lead::Mine { heartbeat_period, until } => (heartbeat_period, until),
            Lead::Other(leader) => {
                let _ = send(&mut stream, &ManagerMessage::NotLeader { leader }).await;
                return;
            }
        };
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (calls, replaced) = self.enter(node, number);
        let reporter = Reporter { node, session: number };
        let result = tokio::select! {
            result = self.converse(reporter, &mut stream, heartbeat_period, &calls) => result,
            () = replaced.cancelled() => Ok(()),
            () = until.cancelled() => {
                let leader = match &*self.lead.borrow() {
                    Lead::Other(leader) => leader.clone(),
                    Lead::Mine { .. } => None,
                };
                send(&mut stream, &ManagerMessage::NotLeader { leader }).await
            }
        };
        if let Err(error) = result {
            debug!(node.id = %node, error = %common::report::Report(&error), "session broke off");
        }
        self.leave(node, number).await;
    }

    async fn converse(
        &self,
        from: Reporter,
        stream: &mut Stream,
        heartbeat_period: Duration,
        calls: &Calls,
    ) -> Result<(), FrameError> {
        let node = from.node;
        let hello =
            tokio::time::timeout(SESSION_HELLO_WAIT, expect_message(&mut stream.recv, FRAME_BYTES_MAX));
        let hello: NodeMessage = hello.await.map_err(|_| FrameError::Ended)??;
        let NodeMessage::Describe { description, addr, seal } = hello else { return Err(FrameError::Ended) };
        let Some(told) = membership(&self.store.snapshot(), node) else {
            info!(node.id = %node, "session refused: the node was removed");
            return send(stream, &ManagerMessage::Removed).await;
        };
        send(stream, &ManagerMessage::Welcome { heartbeat_period }).await?;
        send(stream, &ManagerMessage::Membership(told.clone())).await?;
        self.tell(SessionEvent::Described { node, description, addr }).await;
        self.tell(SessionEvent::Opened(node)).await;
        // Reading a frame is not safe to cancel, so it runs beside the rest and not inside a select.
        let Stream { send: writer, recv: reader } = stream;
        let reading = self.read(from, reader, calls);
        let (asks, questions) = watch::channel(Questions::new());
        let (answers, answered) = mpsc::channel(SECRET_DRIVER_ANSWERS_MAX);
        let writing = self.write((node, seal), writer, calls, told, (asks, answered));
        // Beside the rest too: a slow driver delays those alone who need it.
        let asking = self.drivers.answer(questions, answers);
        let (ended, said_goodbye) = tokio::select! {
            result = reading => (result, true),
            result = writing => (result, false),
            never = asking => match never {},
        };
        if ended.is_ok() && said_goodbye {
            let _ = send(stream, &ManagerMessage::Goodbye).await;
        }
        ended
    }

    /// Takes in what the node says, until its goodbye or the end of the stream.
    async fn read(
        &self,
        from: Reporter,
        reader: &mut (impl tokio::io::AsyncRead + Unpin),
        calls: &Calls,
    ) -> Result<(), FrameError> {
        let node = from.node;
        while let Some(message) = read_message::<NodeMessage>(reader, FRAME_BYTES_MAX).await? {
            if let Some(open) = self.open.lock().expect("no holder panics").get_mut(&node) {
                open.heard_at = self.clock.monotonic();
            }
            match message {
                NodeMessage::Heartbeat => {}
                NodeMessage::Describe { description, addr, seal: _ } => {
                    self.tell(SessionEvent::Described { node, description, addr }).await;
                }
                NodeMessage::Reports { number, reports } => {
                    self.tell(SessionEvent::Reports { from, number, reports }).await;
                }
                NodeMessage::Resync => {
                    calls.resync.store(true, Ordering::Relaxed);
                    calls.look_at_own();
                }
                NodeMessage::Goodbye(parting) => {
                    self.tell(SessionEvent::Goodbye(node, parting)).await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Tells the node what has changed for it, from its place in the cluster to its tasks, as often as it is nudged.
    async fn write(
        &self,
        (node, seal): (NodeId, SealKey),
        writer: &mut (impl tokio::io::AsyncWrite + Unpin),
        calls: &Calls,
        mut place: Membership,
        (asks, mut answered): (watch::Sender<Questions>, mpsc::Receiver<Answer>),
    ) -> Result<(), FrameError> {
        let mut told = Told::default();
        let mut reported = 0;
        let mut look = Look::at_everything();
        loop {
            let tables = self.store.snapshot();
            // Of changes elsewhere in the mesh there are many, and they have no part in this.
            if look.own {
                match membership(&tables, node) {
                    None => return send_to(writer, &ManagerMessage::Removed).await,
                    Some(now) if now != place => {
                        place = now;
                        send_to(writer, &ManagerMessage::Membership(place.clone())).await?;
                    }
                    Some(_) => {}
                }
            }
            let updates = if calls.resync.swap(false, Ordering::Relaxed) {
                told.everything(&tables, node)
            } else {
                told.update_of(&tables, node, &look)
            };
            for mut update in updates {
                seal_all(&mut update, seal).map_err(|_| FrameError::Ended)?;
                send_to(writer, &ManagerMessage::Assignments(update)).await?;
            }
            let written = calls.reported.load(Ordering::Relaxed);
            if written > reported {
                reported = written;
                send_to(writer, &ManagerMessage::Reported { number: written }).await?;
            }
            if look.own {
                let questions = told.questions(&tables, node);
                asks.send_if_modified(|now| {
                    let is_other = *now != questions;
                    *now = questions;
                    is_other
                });
            }
            let mut is_answered = true;
            tokio::select! {
                () = calls.nudge.notified() => is_answered = false,
                Some((key, answer)) = answered.recv() => told.answered(key, answer),
            }
            while let Ok((key, answer)) = answered.try_recv() {
                told.answered(key, answer);
                is_answered = true;
            }
            // Before the tables are: what changes from here on is looked at the next time.
            look = calls.take_look();
            look.own |= is_answered;
        }
    }

    fn enter(&self, node: NodeId, number: u64) -> (Arc<Calls>, CancellationToken) {
        let open = Open {
            number,
            heard_at: self.clock.monotonic(),
            calls: Arc::default(),
            replaced: CancellationToken::new(),
        };
        let handles = (open.calls.clone(), open.replaced.clone());
        let earlier = self.open.lock().expect("no holder panics").insert(node, open);
        if let Some(earlier) = earlier {
            earlier.replaced.cancel();
        }
        handles
    }

    async fn leave(&self, node: NodeId, number: u64) {
        let was_present = {
            let mut open = self.open.lock().expect("no holder panics");
            let present = open.get(&node).is_some_and(|open| open.number == number);
            if present {
                open.remove(&node);
            }
            present
        };
        if was_present {
            self.tell(SessionEvent::Closed(node)).await;
        }
    }

    async fn tell(&self, event: SessionEvent) {
        // Without a listener this manager is stopping, and nobody wants to know.
        let _ = self.events.send(event).await;
    }
}

/// So that values are in the open where they are held on purpose, and in no buffer on the way.
fn seal_all(update: &mut AssignmentUpdate, seal: SealKey) -> Result<(), SealError> {
    for payload in &mut update.payloads {
        payload.data = SensitiveBytes::new(seal.seal(payload.data.reveal(), &mut SystemRandom)?);
    }
    Ok(())
}

async fn send(stream: &mut Stream, message: &ManagerMessage) -> Result<(), FrameError> {
    send_to(&mut stream.send, message).await
}

/// Sends within a bound: a node that does not read ends its own session and delays nobody else.
async fn send_to(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    message: &ManagerMessage,
) -> Result<(), FrameError> {
    tokio::time::timeout(SESSION_SEND_WAIT, write_message(writer, message))
        .await
        .map_err(|_| FrameError::Io(std::io::ErrorKind::TimedOut.into()))?
}

/// The node's place in the cluster; none when it has been removed.
fn membership(tables: &Tables, node: NodeId) -> Option<Membership> {
    let node = tables.nodes.get(node)?;
    let authority = tables.cluster().map(|cluster| &cluster.authority);
    // While a new root is on its way, only those who are asked get a certificate of it.
    let issuer = authority.and_then(|authority| match &authority.rotation {
        Some(rotation) => rotation.asked.contains(&node.id).then_some(&rotation.certificate_pem),
        None => Some(&authority.certificate_pem),
    });
    Some(Membership {
        role: node.role,
        raft_id: node.manager.as_ref().map(|record| record.raft_id),
        managers: known_managers(tables),
        liveness: tables.cluster().map(|cluster| cluster.spec.liveness).unwrap_or_default(),
        trust_pem: authority.map(Authority::trust_pem).unwrap_or_default(),
        issuer_public_key: issuer.map(|pem| public_key(pem)).unwrap_or_default(),
    })
}

/// Where managers are, as the store has it.
pub fn known_managers(tables: &Tables) -> Vec<KnownManager> {
    let known = |node: &Arc<Node>| {
        let record = node.manager.as_ref()?;
        Some(KnownManager { node: node.id, addr: record.addr.clone() })
    };
    tables.nodes.iter().filter_map(known).collect()
}

#[cfg(test)]
#[path = "session_test.rs"]
mod tests;
