//! One lead: what is known beside the store, what has to be looked at, and one pass of decisions.
//!
//! Lost with the lead without harm: a new leader looks at every node anew and hears from them again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use common::gossip::{Event, Gossip, MemberState, News};
use common::limits::{FULL_PASS_PERIOD, PROPOSAL_CHANGES_MAX, ROLES_LOOK_AGAIN};
use common::object::{NodeId, Version};
use common::report::Report;
use common::time::{Monotonic, Timestamp};
use common::wire::session::Parting;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tracing::{debug, info};

use super::rotation;
use super::services::Services;
use super::steps::Steps;
use super::wake::Wake;
use crate::decide::liveness::{self, Heard, Patience};
use crate::decide::nodes::{Described, NodesView, decide_nodes};
use crate::decide::roles::{Group, Member, RoleDecision, decide_roles};
use crate::dispatch::{SessionEvent, Sessions};
use crate::forward::Forward;
use crate::store::{Change, Changed, FeedError, Tables};

pub struct Term {
    pub wake: Wake,
    forward: Forward,
    gossip: Gossip,
    sessions: Sessions,
    patience: Patience,
    leading_since: Monotonic,
    next_full_pass: Monotonic,
    /// When each session was first missed.
    lost_since: BTreeMap<NodeId, Monotonic>,
    /// What nodes said of themselves and is not yet written.
    described: BTreeMap<NodeId, Described>,
    /// Said goodbye over its session, which is faster than gossip.
    goodbyes: BTreeMap<NodeId, Parting>,
    waiting: Vec<String>,
    services: Services,
    /// Whether what the roots' rotation goes by may have changed.
    roots: bool,
    /// Every change up to this version was taken note of.
    noted: Version,
    /// The newest time in the tables that the last pass looked at.
    newest: Timestamp,
}

impl Term {
    pub fn new(forward: Forward, gossip: Gossip, sessions: Sessions, patience: Patience) -> Self {
        let leading_since = forward.clock.monotonic();
        let tables = forward.store.snapshot();
        Self {
            services: Services::new(forward.clone(), sessions.clone(), &tables),
            noted: tables.version,
            newest: tables.newest,
            wake: Wake::default(),
            roots: true,
            forward,
            gossip,
            sessions,
            patience,
            leading_since,
            next_full_pass: leading_since,
            lost_since: BTreeMap::new(),
            described: BTreeMap::new(),
            goodbyes: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    pub fn heard(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Opened(node) => {
                self.goodbyes.remove(&node);
                self.lost_since.remove(&node);
                self.wake.node(node);
                self.wake.roles();
            }
            SessionEvent::Closed(node) => {
                self.lost_since.entry(node).or_insert(self.forward.clock.monotonic());
                self.wake.node(node);
            }
            SessionEvent::Described { node, description, addr } => {
                self.described.insert(node, Described { description: *description, addr });
                self.wake.node(node);
            }
            // Who would write it down is still here.
            SessionEvent::Goodbye(node, _) if node == self.forward.me => {}
            SessionEvent::Goodbye(node, parting) => {
                self.goodbyes.insert(node, parting);
                self.wake.node(node);
            }
            SessionEvent::Reports { from, number, reports } => self.services.reports(from, number, reports),
        }
    }

    pub fn gossip(&mut self, news: News) {
        match news {
            News::Event(
                Event::Up(member)
                | Event::Rejoined(member)
                | Event::Changed { member, .. }
                | Event::Down(member)
                | Event::Left(member),
            ) => {
                self.wake.node(member.id.node);
                self.wake.roles();
            }
            News::Event(Event::Forgotten(node)) => self.wake.node(node),
            News::Event(Event::LeaderHint(_) | Event::Denied(_) | Event::Renewed { .. }) => {}
            News::Missed => self.look_at_all(),
        }
    }

    /// Waits for changes in the store that were not taken note of yet.
    pub async fn fed(&self) -> Result<(Vec<Changed>, Version), FeedError> {
        self.forward.store.feed().after(self.noted).await
    }

    /// Takes note of what was written, by whomever.
    pub fn stored(&mut self, fed: Result<(Vec<Changed>, Version), FeedError>) {
        match fed {
            Ok((changes, version)) => {
                self.noted = version;
                changes.iter().for_each(|change| self.changed(change));
            }
            Err(FeedError::Behind { .. }) => {
                let tables = self.forward.store.snapshot();
                self.noted = tables.version;
                self.services.missed(&tables);
                self.look_at_all();
            }
        }
    }

    fn changed(&mut self, change: &Changed) {
        self.services.noted(change);
        match change {
            Changed::Node { before, after } => {
                self.roots = true;
                let Some(node) = after.as_ref().or(before.as_ref()) else { return };
                let place = |node: &std::sync::Arc<common::object::Node>| {
                    (node.spec.role, node.role, node.manager.clone())
                };
                if before.as_ref().map(place) != after.as_ref().map(place) {
                    self.wake.roles();
                }
                if before.is_none() {
                    self.wake.node(node.id);
                }
            }
            Changed::Cluster { .. } => self.roots = true,
            Changed::Service { .. }
            | Changed::Task { .. }
            | Changed::Payload { .. }
            | Changed::Network { .. } => {}
        }
    }

    /// The tables, with every change up to them taken note of.
    fn tables(&mut self) -> Tables {
        loop {
            let tables = self.forward.store.snapshot();
            if tables.version <= self.noted {
                return tables;
            }
            match self.fed().now_or_never() {
                Some(fed) => self.stored(fed),
                // What has just been applied reaches the feed a moment later.
                None => self.noted = self.noted.max(self.forward.store.feed().reached()),
            }
        }
    }

    pub fn step_finished(&mut self, carried_out: bool) {
        if carried_out {
            self.wake.roles();
        } else {
            self.wake.roles_at(self.forward.clock.monotonic().plus(ROLES_LOOK_AGAIN));
        }
    }

    /// Decides about what is due and writes it. True when something could not be written.
    pub async fn pass(&mut self, steps: &mut Steps) -> bool {
        let now = self.forward.clock.monotonic();
        if now >= self.next_full_pass {
            self.next_full_pass = now.plus(FULL_PASS_PERIOD);
            self.services.look_at_all();
            self.look_at_all();
        }
        let work = self.wake.take(now);
        let mut failed = !work.nodes.is_empty() && self.nodes(&work.nodes, now).await;
        // While a step is under way nothing is begun: its end asks again.
        if work.roles && !steps.is_running() {
            self.roles(steps);
        }
        if std::mem::take(&mut self.roots) {
            self.roots = rotation::look(&self.forward).await;
            failed |= self.roots;
        }
        let tables = self.tables();
        self.newest = tables.newest;
        failed |= self.services.pass(&tables).await;
        failed
    }

    /// How long until something is due; none while only events can bring it.
    pub fn next_in(&self) -> Option<Duration> {
        let now = self.forward.clock.monotonic();
        let wake = self.wake.next_at(now).map(|at| at.since(now));
        let wake = if self.roots { Some(Duration::ZERO) } else { wake };
        wake.into_iter().chain(self.services.next_in(self.newest)).min()
    }

    fn look_at_all(&mut self) {
        for node in self.forward.store.snapshot().nodes.iter() {
            self.wake.node(node.id);
        }
        self.wake.roles();
        self.roots = true;
    }

    async fn nodes(&mut self, dirty: &BTreeSet<NodeId>, now: Monotonic) -> bool {
        for node in dirty {
            let silent =
                self.sessions.heard_at(*node).is_none_or(|at| now >= at.plus(self.patience.session_silence));
            if silent {
                self.lost_since.entry(*node).or_insert(now);
            } else {
                self.lost_since.remove(node);
            }
        }
        let snapshot = self.forward.store.snapshot();
        let heard = |node| self.hear(node);
        let decision = decide_nodes(
            &snapshot,
            dirty,
            &NodesView {
                heard: &heard,
                lost_since: &self.lost_since,
                described: &self.described,
                leading_since: self.leading_since,
                patience: self.patience,
                now,
                wall: self.forward.clock.now(),
            },
        );
        for reason in &decision.reasons {
            info!(node.id = %reason.node, change = reason.text, "node state decided");
        }
        for (at, node) in decision.wakes {
            self.wake.node_at(at, node);
        }
        let failed = self.propose(decision.changes).await;
        for node in dirty {
            match failed {
                true => self.wake.node(*node),
                false => drop(self.described.remove(node)),
            }
        }
        failed
    }

    /// Writes independent changes, many to a proposal. A conflict with somebody else's write fails the whole
    /// proposal; its nodes stay dirty and are decided anew.
    async fn propose(&self, changes: Vec<Change>) -> bool {
        let groups = changes.chunks(PROPOSAL_CHANGES_MAX).map(|group| self.forward.propose(group.to_vec()));
        let mut failed = false;
        for outcome in join_all(groups).await {
            if let Err(error) = outcome {
                debug!(error = %Report(&error), "node states not written");
                failed = true;
            }
        }
        failed
    }

    fn hear(&self, node: NodeId) -> Heard {
        let goodbye = self.goodbyes.get(&node).copied();
        let gossip = match goodbye {
            _ if node == self.forward.me => liveness::Gossip::Alive,
            Some(Parting::Leaves) => liveness::Gossip::Left,
            Some(Parting::Stops) => liveness::Gossip::Stopped,
            None => match self.gossip.member(node).map(|member| member.state) {
                None => liveness::Gossip::Silent,
                Some(MemberState::Alive) => liveness::Gossip::Alive,
                Some(MemberState::Suspect) => liveness::Gossip::Suspect,
                Some(MemberState::Down) => liveness::Gossip::Dead,
                // Gossip does not say why.
                Some(MemberState::Left) => liveness::Gossip::Stopped,
            },
        };
        let session = if goodbye.is_some() { None } else { self.sessions.heard_at(node) };
        Heard { session, gossip }
    }

    fn roles(&mut self, steps: &mut Steps) {
        let status = self.forward.raft.status();
        let Some(me) = status.raft_id_of(self.forward.me) else { return };
        let members = status
            .members
            .iter()
            .map(|member| Member {
                raft_id: member.raft_id,
                node: member.node,
                addr: member.addr.clone(),
                voter: member.voter,
                reachable: member.node == self.forward.me || self.alive_at(member.node).is_some(),
                // Unknown until it has answered: a member that has only been announced is not caught up.
                lag: member.matched.and(member.lag),
            })
            .collect();
        let group = Group { me, members };
        let snapshot = self.forward.store.snapshot();
        let RoleDecision { step, waiting } = decide_roles(&snapshot, &group, &|node| self.address(node));
        let reasons: Vec<String> = waiting.iter().map(ToString::to_string).collect();
        if reasons != self.waiting {
            for reason in &waiting {
                info!(node.id = %reason.node, reason = reason.text, "a change of role waits");
            }
            self.waiting = reasons;
        }
        match step {
            Some(step) => steps.begin(step, snapshot),
            // A learner's progress and a member's return make no event of their own.
            None if !waiting.is_empty() => {
                self.wake.roles_at(self.forward.clock.monotonic().plus(ROLES_LOOK_AGAIN));
            }
            None => {}
        }
    }

    /// Where a node is now, if it is alive.
    fn address(&self, node: NodeId) -> Option<SocketAddr> {
        if node == self.forward.me { Some(self.forward.address) } else { self.alive_at(node) }
    }

    fn alive_at(&self, node: NodeId) -> Option<SocketAddr> {
        let member = self.gossip.member(node)?;
        member.state.is_active().then_some(member.id.addr)
    }
}
