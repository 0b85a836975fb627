//! Starts and ends the control loop with leadership, and waits for what comes next.
//!
//! A new leader first applies everything that was committed before it, then holds sessions, tells gossip that it
//! leads, and looks at every node once.

use std::time::Duration;

use common::gossip::Gossip;
use common::limits::{CONTROL_RETRY, FULL_PASS_PERIOD};
use common::object::Version;
use common::shutdown::Tasks;
use common::wire::join::KnownManager;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::steps::Steps;
use super::term::Term;
use crate::dispatch::follow::follow;
use crate::dispatch::session::Lead;
use crate::dispatch::{SessionEvent, Sessions};
use crate::forward::Forward;
use crate::preset::Pace;

/// Everything the loop works with.
pub struct Control {
    pub forward: Forward,
    pub gossip: Gossip,
    pub sessions: Sessions,
    pub events: mpsc::Receiver<SessionEvent>,
    pub tasks: Tasks,
}

impl Control {
    /// Runs until the manager stops.
    pub async fn run(mut self) {
        let tasks = self.tasks.clone();
        let mut leadership = self.forward.raft.watch();
        while !tasks.is_stopping() {
            let now = *leadership.borrow_and_update();
            if now.is_me {
                self.lead(now.term).await;
                self.sessions.set_lead(Lead::Other(None));
                let _ = self.gossip.stop_leading().await; // gossip may have stopped before us
            }
            let now = *leadership.borrow();
            if now.is_me && !tasks.is_stopping() {
                // The lead could not begin, or a new term of it has begun.
                tokio::time::sleep(CONTROL_RETRY).await;
                continue;
            }
            let leader = now.leader.map(|peer| KnownManager { node: peer.node, addr: peer.addr.to_string() });
            self.sessions.set_lead(Lead::Other(leader));
            loop {
                tokio::select! {
                    changed = leadership.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return, // raft has stopped
                    },
                    // Sessions that end after the lead still say so; nobody decides about them any more.
                    event = self.events.recv() => if event.is_none() { return },
                    () = tasks.stopping() => return,
                }
            }
        }
    }

    /// One lead, from the first applied entry to its loss.
    async fn lead(&mut self, term: u64) {
        let tasks = self.tasks.clone();
        if let Err(error) = self.forward.catch_up().await {
            // Without a majority there is nothing to lead yet.
            debug!(term, %error, "lead not begun");
            return;
        }
        let store = self.forward.store.clone();
        if !self.founded(term).await {
            return;
        }
        info!(term, "leading");
        let pace =
            Pace::of(store.snapshot().cluster().map(|cluster| cluster.spec.liveness).unwrap_or_default());
        let until = CancellationToken::new();
        let mine = Lead::Mine { heartbeat_period: pace.heartbeat_period, until: until.clone() };
        let mut changes = self.gossip.subscribe();
        let mut leadership = self.forward.raft.watch();
        let mut state =
            Term::new(self.forward.clone(), self.gossip.clone(), self.sessions.clone(), pace.patience);
        let mut steps = Steps::new(self.forward.clone(), self.tasks.child());
        let beside = self.tasks.child();
        beside.spawn_until_stopped(follow(store.clone(), self.sessions.clone()));
        self.sessions.set_lead(mine);
        let _ = self.gossip.announce_leader(term).await; // gossip may have stopped before us
        loop {
            let now = *leadership.borrow_and_update();
            if !now.is_me || now.term != term {
                break;
            }
            let failed = state.pass(&mut steps).await;
            if failed {
                debug!(term, "a decision could not be written; deciding again");
            }
            let wait = state.next_in().unwrap_or(FULL_PASS_PERIOD).min(FULL_PASS_PERIOD);
            let wait = if failed { wait.max(CONTROL_RETRY) } else { wait };
            tokio::select! {
                _ = leadership.changed() => {}
                event = self.events.recv() => match event {
                    Some(event) => state.heard(event),
                    None => break,
                },
                news = changes.next() => match news {
                    Some(news) => state.gossip(news),
                    None => break,
                },
                fed = state.fed() => state.stored(fed),
                outcome = steps.finished() => state.step_finished(outcome),
                () = pause(wait) => {}
                () = tasks.stopping() => break,
            }
            // What came meanwhile goes into the same pass.
            while let Ok(event) = self.events.try_recv() {
                state.heard(event);
            }
        }
        steps.stop().await;
        beside.stop().await;
        info!(term, "not leading any more");
    }
}

impl Control {
    /// Waits for a cluster to lead: its first object is written a moment after its first leader is elected, and
    /// until then nobody is a member of anything. False when the lead ends before that.
    async fn founded(&self, term: u64) -> bool {
        let mut leadership = self.forward.raft.watch();
        let store = &self.forward.store;
        while store.snapshot().cluster().is_none() {
            let next = Version(store.feed().reached().0 + 1);
            tokio::select! {
                () = store.feed().wait_for(next) => {}
                ended = leadership.wait_for(|now| !now.is_me || now.term != term) => {
                    drop(ended);
                    return false;
                }
                () = self.tasks.stopping() => return false,
            }
        }
        true
    }
}

/// A wait of nothing still lets others run.
async fn pause(wait: Duration) {
    if wait.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(wait).await;
    }
}
