//! The task that drives `Membership` over a transport, and the handle by which others ask it.
//!
//! It reads all waiting datagrams before it fires timers: an answer that came while this node was stalled is an
//! answer. Nothing in the loop waits for anything but input.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use crate::limits::{
    GOSSIP_COMMANDS_MAX, GOSSIP_DATAGRAMS_PER_TURN_MAX, GOSSIP_EVENTS_MAX, GOSSIP_LEAVE_WAIT,
};
use crate::object::NodeId;
use crate::shutdown::Tasks;
use crate::time::{Clock, Monotonic};
use crate::transport::{Datagram, Peer, Transport};

use super::facts::{Denied, LeaderHint};
use super::membership::{Counters, Membership, Start};
use super::roster::{Event, Member};

/// The gossip task has ended, so nothing more can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gossip has stopped")]
pub struct GossipClosed;

/// A handle to this node's part in gossip. Clones are the same.
#[derive(Clone)]
pub struct Gossip {
    commands: mpsc::Sender<Command>,
    view: Arc<Mutex<View>>,
    leader: watch::Receiver<Option<LeaderHint>>,
    generation: watch::Receiver<u64>,
    events: broadcast::Sender<Event>,
    tasks: Tasks,
}

/// What the task shows of itself.
#[derive(Default)]
struct View {
    members: BTreeMap<NodeId, Member>,
    denied: BTreeSet<NodeId>,
    counters: Counters,
}

enum Command {
    Meet(Vec<Peer>),
    Lead(u64),
    StopLeading,
    Deny(Denied),
    Change { manager: Option<bool>, addr: Option<SocketAddr> },
    Leave(oneshot::Sender<()>),
}

/// What a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Event(Event),
    /// The reader was too slow and missed some: look at `members` again.
    Missed,
}

/// Changes as they come, from the moment of subscribing.
pub struct Changes(broadcast::Receiver<Event>);

impl Changes {
    /// None once gossip has stopped. Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<News> {
        match self.0.recv().await {
            Ok(event) => Some(News::Event(event)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(News::Missed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Gossip {
    /// Starts taking part, as a child of `tasks`. The caller has seen to it that the generation is on disk.
    pub fn start(
        start: Start,
        transport: Arc<dyn Transport>,
        datagrams: mpsc::Receiver<Datagram>,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Gossip {
        let tasks = tasks.child();
        let (commands, command_inbox) = mpsc::channel(GOSSIP_COMMANDS_MAX);
        let (leader_sender, leader) = watch::channel(None);
        let (generation_sender, generation) = watch::channel(start.me.generation);
        let (events, _) = broadcast::channel(GOSSIP_EVENTS_MAX);
        let view = Arc::<Mutex<View>>::default();
        let membership = Membership::new(start, clock.monotonic());
        let driver = Driver {
            membership,
            transport,
            clock,
            view: view.clone(),
            leader: leader_sender,
            generation: generation_sender,
            events: events.downgrade(),
            leaving: Vec::new(),
        };
        let token = tasks.token();
        tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = driver.run(datagrams, command_inbox) => {}
            }
        });
        Gossip { commands, view, leader, generation, events, tasks }
    }

    /// All other nodes that are known, by id.
    pub fn members(&self) -> Vec<Member> {
        self.view().members.values().copied().collect()
    }

    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.view().members.get(&node).copied()
    }

    /// Whom to refuse, as far as gossip remembers; `Event::Denied` tells that there is another.
    pub fn denied(&self) -> BTreeSet<NodeId> {
        self.view().denied.clone()
    }

    pub fn counters(&self) -> Counters {
        self.view().counters
    }

    pub fn subscribe(&self) -> Changes {
        Changes(self.events.subscribe())
    }

    /// Who was last heard to lead.
    pub fn leader(&self) -> watch::Receiver<Option<LeaderHint>> {
        self.leader.clone()
    }

    /// This node's own generation. It grows when the node has to come back, and must then be on disk before the
    /// next start.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// More managers to call when this node is alone.
    pub async fn meet(&self, peers: Vec<Peer>) -> Result<(), GossipClosed> {
        self.send(Command::Meet(peers)).await
    }

    /// Tells everybody that this node leads in `term`, until `stop_leading`.
    pub async fn announce_leader(&self, term: u64) -> Result<(), GossipClosed> {
        self.send(Command::Lead(term)).await
    }

    pub async fn stop_leading(&self) -> Result<(), GossipClosed> {
        self.send(Command::StopLeading).await
    }

    /// Tells every node to refuse one. Others believe it only from a manager.
    pub async fn deny(&self, denied: Denied) -> Result<(), GossipClosed> {
        self.send(Command::Deny(denied)).await
    }

    pub async fn set_manager(&self, manager: bool) -> Result<(), GossipClosed> {
        self.send(Command::Change { manager: Some(manager), addr: None }).await
    }

    pub async fn set_addr(&self, addr: SocketAddr) -> Result<(), GossipClosed> {
        self.send(Command::Change { manager: None, addr: Some(addr) }).await
    }

    /// Says goodbye and returns when it has been sent. Afterwards this node takes part no more.
    pub async fn leave(&self) {
        let (done, wait) = oneshot::channel();
        if self.send(Command::Leave(done)).await.is_ok() {
            let _ = tokio::time::timeout(GOSSIP_LEAVE_WAIT, wait).await;
        }
    }

    /// Stops without a word: to the others this looks like a death.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }

    async fn send(&self, command: Command) -> Result<(), GossipClosed> {
        self.commands.send(command).await.map_err(|_| GossipClosed)
    }

    fn view(&self) -> std::sync::MutexGuard<'_, View> {
        self.view.lock().expect("no holder panics")
    }
}

struct Driver {
    membership: Membership,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    view: Arc<Mutex<View>>,
    leader: watch::Sender<Option<LeaderHint>>,
    generation: watch::Sender<u64>,
    /// Weak, so that subscribers see the end when the last handle and the task are gone.
    events: broadcast::WeakSender<Event>,
    leaving: Vec<oneshot::Sender<()>>,
}

impl Driver {
    async fn run(mut self, mut datagrams: mpsc::Receiver<Datagram>, mut commands: mpsc::Receiver<Command>) {
        loop {
            let deadline = self.membership.deadline();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break, // nobody can ask any more
                },
                datagram = datagrams.recv() => match datagram {
                    Some(datagram) => self.datagram(&datagram),
                    None => break, // the transport is gone
                },
                () = self.until(deadline) => {}
            }
            self.read_waiting(&mut datagrams);
            let now = self.clock.monotonic();
            if self.membership.deadline().is_some_and(|deadline| deadline <= now) {
                self.membership.tick(now);
            }
            self.deliver();
        }
    }

    async fn until(&self, deadline: Option<Monotonic>) {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline.since(self.clock.monotonic())).await,
            None => std::future::pending().await,
        }
    }

    fn read_waiting(&mut self, datagrams: &mut mpsc::Receiver<Datagram>) {
        for _ in 0..GOSSIP_DATAGRAMS_PER_TURN_MAX {
            match datagrams.try_recv() {
                Ok(datagram) => self.datagram(&datagram),
                Err(_) => break,
            }
        }
    }

    fn datagram(&mut self, datagram: &Datagram) {
        let now = self.clock.monotonic();
        self.membership.datagram(now, datagram.from.node, datagram.from.role, &datagram.payload);
    }

    fn command(&mut self, command: Command) {
        let now = self.clock.monotonic();
        match command {
            Command::Meet(peers) => self.membership.meet(now, peers),
            Command::Lead(term) => self.membership.lead(now, term),
            Command::StopLeading => self.membership.stop_leading(),
            Command::Deny(denied) => self.membership.deny(now, denied),
            Command::Change { manager, addr } => {
                let me = *self.membership.me();
                self.membership.change(now, manager.unwrap_or(me.manager), addr.unwrap_or(me.addr));
            }
            Command::Leave(done) => {
                self.membership.leave(now);
                self.leaving.push(done);
            }
        }
    }

    /// Carries out what the membership wants sent and shown.
    fn deliver(&mut self) {
        while let Some((peer, payload)) = self.membership.next_send() {
            self.transport.datagram(peer, payload);
        }
        {
            let mut view = self.view.lock().expect("no holder panics");
            view.counters = self.membership.counters();
            while let Some(node) = self.membership.next_touched() {
                match self.membership.member(node) {
                    Some(member) => view.members.insert(node, *member),
                    None => view.members.remove(&node),
                };
            }
        }
        while let Some(event) = self.membership.next_event() {
            if let Event::Denied(_) = event {
                // Before it is told: whoever hears of it finds it here.
                self.view.lock().expect("no holder panics").denied = self.membership.denied();
            }
            self.show(event);
        }
        if self.membership.has_left() {
            for done in self.leaving.drain(..) {
                let _ = done.send(()); // the caller may have stopped waiting
            }
        }
    }

    fn show(&self, event: Event) {
        match event {
            Event::Up(member) | Event::Rejoined(member) => {
                info!(node.id = %member.id.node, node.addr = %member.id.addr, "node is up");
            }
            Event::Changed { member, before } => {
                info!(node.id = %member.id.node, node.addr = %member.id.addr, addr_before = %before.addr, manager = member.id.manager, "node changed");
            }
            Event::Down(member) => {
                warn!(node.id = %member.id.node, node.addr = %member.id.addr, "node fell silent");
            }
            Event::Left(member) => info!(node.id = %member.id.node, "node said goodbye"),
            Event::Forgotten(node) => debug!(node.id = %node, "node forgotten"),
            Event::Denied(denied) => info!(node.id = %denied.node, until = %denied.until, "node is refused"),
            Event::LeaderHint(hint) => {
                info!(node.id = %hint.node, term = hint.term, "leader heard of");
                self.leader.send_replace(Some(hint));
            }
            Event::Renewed { generation } => {
                info!(generation, "this node has a new generation");
                self.generation.send_replace(generation);
            }
        }
        if let Some(events) = self.events.upgrade() {
            let _ = events.send(event); // nobody may be listening
        }
    }
}

#[cfg(test)]
#[path = "shell_test.rs"]
mod tests;
