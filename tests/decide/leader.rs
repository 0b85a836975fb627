//! One lead: what a leader knows beside the store, and one pass of its decisions about nodes.
//!
//! The same steps as `manager::control::term`, without waiting: what is due, `decide_nodes`, what was written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::gossip::{MemberState, Membership};
use common::limits::FULL_PASS_PERIOD;
use common::object::{NodeDescription, NodeId};
use common::time::{Monotonic, Timestamp};
use common::wire::session::Parting;
use manager::control::wake::Wake;
use manager::decide::liveness::{Gossip, Heard, Patience};
use manager::decide::nodes::{Described, NodesView, decide_nodes};
use manager::store::{Change, Tables};

/// What comes to the control loop.
#[derive(Clone, Copy, Debug)]
pub enum News {
    Opened(NodeId),
    Closed(NodeId),
    Goodbye(NodeId, Parting),
    Gossip(NodeId),
}

#[derive(Clone, Copy, Debug)]
pub struct Open {
    pub number: u64,
    pub heard_at: Monotonic,
}

/// What a pass wants written. The loop waits for it and takes up nothing else meanwhile.
#[derive(Debug)]
pub struct Pass {
    pub begun: Monotonic,
    pub dirty: BTreeSet<NodeId>,
    pub changes: Vec<Change>,
    /// When each node was last heard over its session, as the decision saw it.
    pub heard: BTreeMap<NodeId, Monotonic>,
}

pub struct Lead {
    pub term: u64,
    pub since: Monotonic,
    pub sessions: BTreeMap<NodeId, Open>,
    pub inbox: VecDeque<News>,
    pub writing: Option<Pass>,
    /// When the loop looks next.
    pub turn_at: Option<Monotonic>,
    me: NodeId,
    patience: Patience,
    wake: Wake,
    next_full_pass: Monotonic,
    lost_since: BTreeMap<NodeId, Monotonic>,
    described: BTreeMap<NodeId, Described>,
    goodbyes: BTreeMap<NodeId, Parting>,
}

impl Lead {
    pub fn new(me: NodeId, term: u64, patience: Patience, now: Monotonic) -> Self {
        Self {
            term,
            since: now,
            sessions: BTreeMap::new(),
            inbox: VecDeque::new(),
            writing: None,
            turn_at: None,
            me,
            patience,
            wake: Wake::default(),
            next_full_pass: now,
            lost_since: BTreeMap::new(),
            described: BTreeMap::new(),
            goodbyes: BTreeMap::new(),
        }
    }

    /// Takes up what came and decides about what is due. None when there is nothing to write.
    pub fn turn(
        &mut self,
        tables: &Tables,
        membership: &Membership,
        now: Monotonic,
        wall: Timestamp,
    ) -> Option<Pass> {
        while let Some(news) = self.inbox.pop_front() {
            self.note(news, now);
        }
        if now >= self.next_full_pass {
            self.next_full_pass = now.plus(FULL_PASS_PERIOD);
            self.look_at_all(tables);
        }
        let dirty = self.wake.take(now).nodes;
        for node in &dirty {
            let heard_at = self.sessions.get(node).map(|open| open.heard_at);
            if heard_at.is_none_or(|at| now >= at.plus(self.patience.session_silence)) {
                self.lost_since.entry(*node).or_insert(now);
            } else {
                self.lost_since.remove(node);
            }
        }
        let heard = |node| self.hear(membership, node);
        let view = NodesView {
            heard: &heard,
            lost_since: &self.lost_since,
            described: &self.described,
            leading_since: self.since,
            patience: self.patience,
            now,
            wall,
        };
        let decision = decide_nodes(tables, &dirty, &view);
        let heard = dirty.iter().filter_map(|node| Some((*node, heard(*node).session?))).collect();
        for (at, node) in decision.wakes {
            self.wake.node_at(at, node);
        }
        if decision.changes.is_empty() {
            self.written(&dirty, true);
            return None;
        }
        Some(Pass { begun: now, dirty, changes: decision.changes, heard })
    }

    /// A pass over these nodes ended, all of it written or not.
    pub fn written(&mut self, dirty: &BTreeSet<NodeId>, all: bool) {
        for node in dirty {
            match all {
                true => drop(self.described.remove(node)),
                false => self.wake.node(*node),
            }
        }
    }

    pub fn look_at_all(&mut self, tables: &Tables) {
        for node in tables.nodes.iter() {
            self.wake.node(node.id);
        }
    }

    pub fn next_at(&self, now: Monotonic) -> Monotonic {
        self.wake.next_at(now).map_or(now.plus(FULL_PASS_PERIOD), |at| at.min(now.plus(FULL_PASS_PERIOD)))
    }

    fn note(&mut self, news: News, now: Monotonic) {
        match news {
            News::Opened(node) => {
                self.goodbyes.remove(&node);
                self.lost_since.remove(&node);
                let description = NodeDescription::default();
                self.described.insert(node, Described { description, addr: "10.0.0.1:2377".into() });
                self.wake.node(node);
            }
            News::Closed(node) => {
                self.lost_since.entry(node).or_insert(now);
                self.wake.node(node);
            }
            News::Goodbye(node, parting) => {
                self.goodbyes.insert(node, parting);
                self.wake.node(node);
            }
            News::Gossip(node) => self.wake.node(node),
        }
    }

    fn hear(&self, membership: &Membership, node: NodeId) -> Heard {
        let goodbye = self.goodbyes.get(&node).copied();
        let gossip = match goodbye {
            _ if node == self.me => Gossip::Alive,
            Some(Parting::Leaves) => Gossip::Left,
            Some(Parting::Stops) => Gossip::Stopped,
            None => match membership.member(node).map(|member| member.state) {
                None => Gossip::Silent,
                Some(MemberState::Alive) => Gossip::Alive,
                Some(MemberState::Suspect) => Gossip::Suspect,
                Some(MemberState::Down) => Gossip::Dead,
                Some(MemberState::Left) => Gossip::Stopped,
            },
        };
        let session = self.sessions.get(&node).map(|open| open.heard_at);
        Heard { session: session.filter(|_| goodbye.is_none()), gossip }
    }
}
