//! A node's session with the leader: two streams that keep their order, take their time, and may break anywhere.

use std::collections::VecDeque;
use std::time::Duration;

use common::random::{Random, SeededRandom};
use common::wire::assignment::{AssignmentUpdate, TaskReport};
use manager::dispatch::assignments::Told;

/// What of a session matters to services, from the node.
#[derive(Clone, Debug)]
pub enum Up {
    Reports { number: u64, reports: Vec<TaskReport> },
    Resync,
}

/// And from the leader.
#[derive(Clone, Debug)]
pub enum Down {
    Assignments(Box<AssignmentUpdate>),
    Reported(u64),
}

/// Messages on their way, in order.
#[derive(Debug)]
pub struct Pipe<T> {
    waiting: VecDeque<(Duration, T)>,
}

impl<T: Clone> Pipe<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new() }
    }

    /// One of `doubled` messages comes twice; 0: none does.
    pub fn send(&mut self, now: Duration, message: T, random: &mut SeededRandom, doubled: u64) {
        let late = Duration::from_millis(random.next_u64() % 200);
        let last = self.waiting.back().map_or(Duration::ZERO, |(at, _)| *at);
        let at = last.max(now + late);
        if doubled > 0 && random.next_u64().is_multiple_of(doubled) {
            self.waiting.push_back((at, message.clone()));
        }
        self.waiting.push_back((at, message));
    }

    pub fn arrived(&mut self, now: Duration) -> Option<T> {
        let is_due = self.waiting.front().is_some_and(|(at, _)| *at <= now);
        if is_due { self.waiting.pop_front().map(|(_, message)| message) } else { None }
    }

    /// The stream broke: of what was on its way, so much still arrives.
    fn cut(&mut self, random: &mut SeededRandom) -> Vec<T> {
        let kept = (random.next_u64() % (self.waiting.len() as u64 + 1)) as usize;
        self.waiting.drain(..).take(kept).map(|(_, message)| message).collect()
    }
}

#[derive(Debug)]
pub struct Session {
    /// Told apart from earlier ones of the same node.
    pub number: u64,
    pub told: Told,
    pub up: Pipe<Up>,
    pub down: Pipe<Down>,
    /// The node asked for everything.
    pub resync: bool,
    /// The node has lost the thread, and has not asked before.
    pub is_lost: bool,
    pub may_ask_at: Duration,
}

/// Between one node and whoever leads.
#[derive(Debug, Default)]
pub struct Link {
    pub session: Option<Session>,
    /// Nothing comes through.
    pub is_cut: bool,
    pub retry_at: Duration,
    pub heard_at: Option<Duration>,
    pub lost_at: Option<Duration>,
}

impl Link {
    pub fn open(&mut self, number: u64) {
        self.session = Some(Session {
            number,
            told: Told::default(),
            up: Pipe::new(),
            down: Pipe::new(),
            resync: false,
            is_lost: false,
            may_ask_at: Duration::ZERO,
        });
        self.lost_at = None;
    }

    /// Ends the session; what still arrived at the leader, and at the node.
    pub fn close(
        &mut self,
        now: Duration,
        pause: Duration,
        random: &mut SeededRandom,
    ) -> (Vec<Up>, Vec<Down>) {
        self.retry_at = now + pause;
        let Some(mut session) = self.session.take() else { return Default::default() };
        self.lost_at = Some(now);
        (session.up.cut(random), session.down.cut(random))
    }
}
