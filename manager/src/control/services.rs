//! Services and tasks in the leader's loop: hands what happened to `decide::Planner`, writes what it decides, and
//! tells nodes that their reports are in the store.

use common::random::SystemRandom;
use common::report::Report;
use common::time::Timestamp;
use common::wire::assignment::TaskReport;
use futures_util::future::join_all;
use tracing::{debug, info};

use crate::decide::{Ctx, Planner};
use crate::dispatch::Sessions;
use crate::dispatch::session::Reporter;
use crate::forward::Forward;
use crate::store::{Changed, Tables};

pub struct Services {
    forward: Forward,
    sessions: Sessions,
    planner: Planner,
    /// Reports that are with the planner and perhaps not yet in the store.
    unwritten: Vec<(Reporter, u64)>,
}

impl Services {
    pub fn new(forward: Forward, sessions: Sessions, tables: &Tables) -> Self {
        Self { forward, sessions, planner: Planner::new(tables), unwritten: Vec::new() }
    }

    pub fn reports(&mut self, from: Reporter, number: u64, reports: Vec<TaskReport>) {
        reports.into_iter().for_each(|report| self.planner.report(from.node, report));
        self.unwritten.push((from, number));
    }

    pub fn noted(&mut self, change: &Changed) {
        self.planner.noted(change);
    }

    /// Some changes were not seen.
    pub fn missed(&mut self, tables: &Tables) {
        self.planner.missed(tables);
    }

    pub fn look_at_all(&mut self) {
        self.planner.look_at_all();
    }

    /// How long until there is something to decide; none while only events can bring it. `newest` as in the tables.
    pub fn next_in(&self, newest: Timestamp) -> Option<std::time::Duration> {
        if !self.unwritten.is_empty() {
            return Some(std::time::Duration::ZERO);
        }
        self.planner.next_at().map(|at| at.since(self.now(newest)))
    }

    /// Decides about what is due and writes it. `tables` are of the version up to which every change was noted.
    /// True when something could not be written.
    pub async fn pass(&mut self, tables: &Tables) -> bool {
        let now = self.now(tables.newest);
        if self.unwritten.is_empty() && self.planner.next_at().is_none_or(|at| at > now) {
            return false;
        }
        let decision = self.planner.decide(tables, &mut Ctx { now, random: &mut SystemRandom });
        for why in &decision.reasons {
            info!(%why, "decided");
        }
        let proposals = decision.proposals;
        let written = join_all(proposals.iter().map(|changes| self.forward.propose(changes.clone()))).await;
        let mut failed = false;
        for (changes, outcome) in proposals.iter().zip(written) {
            if let Err(error) = outcome {
                debug!(error = %Report(&error), changes = changes.len(), "decision not written");
                self.planner.failed(changes);
                failed = true;
            }
        }
        if !failed {
            for (reporter, number) in self.unwritten.drain(..) {
                self.sessions.reported(reporter, number);
            }
        }
        failed
    }

    /// The later of this manager's clock and the newest time in the store, so that times never run backwards.
    fn now(&self, newest: Timestamp) -> Timestamp {
        self.forward.clock.now().max(newest)
    }
}
