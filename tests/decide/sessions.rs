//! The node's side of its session: whom to knock at, when to try again. As `worker::session` does it.

use std::time::Duration;

use common::limits::{SESSION_RETRY_MAX, SESSION_RETRY_MIN};
use common::time::Monotonic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The node does not run.
    Off,
    /// It pauses before it knocks again.
    Waiting,
    Knocking(usize),
    Open(usize),
}

#[derive(Clone, Debug)]
pub struct Session {
    pub line: Line,
    /// Counts everything that begins, so that what belonged to an earlier attempt is passed over.
    pub number: u64,
    /// When the manager last got something through.
    pub acknowledged_at: Monotonic,
    /// Nothing arrives before what was sent earlier.
    pub arrived_at: Monotonic,
    /// Whom gossip names.
    pub gossip: Option<usize>,
    /// It named somebody else since this node last looked.
    pub gossip_changed: bool,
    /// Whom the last manager named.
    pub hint: Option<usize>,
    turn: usize,
    pause: Duration,
}

impl Session {
    pub fn new() -> Self {
        Self {
            line: Line::Off,
            number: 0,
            acknowledged_at: Monotonic::default(),
            arrived_at: Monotonic::default(),
            gossip: None,
            gossip_changed: false,
            hint: None,
            turn: 0,
            pause: SESSION_RETRY_MIN,
        }
    }

    /// The process starts, or ends.
    pub fn reset(&mut self, line: Line) {
        *self = Self { number: self.number + 1, turn: self.turn, line, ..Self::new() };
    }

    pub fn begin(&mut self, line: Line) -> u64 {
        self.number += 1;
        self.line = line;
        self.number
    }

    pub fn open(&mut self, to: usize, now: Monotonic) {
        self.line = Line::Open(to);
        self.acknowledged_at = now;
        self.pause = SESSION_RETRY_MIN;
    }

    /// Whom to knock at: the one named last, else whom gossip names, else the managers in turn.
    pub fn target(&mut self, managers: usize) -> usize {
        self.hint.take().or(self.gossip).unwrap_or_else(|| {
            self.turn += 1;
            self.turn % managers
        })
    }

    /// A growing, uneven pause.
    pub fn next_pause(&mut self, fraction: f64) -> Duration {
        let pause = self.pause.mul_f64(0.5 + fraction);
        self.pause = (self.pause * 2).min(SESSION_RETRY_MAX);
        pause
    }
}
