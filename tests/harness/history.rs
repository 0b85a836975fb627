//! What clients did and saw: operations on registers, each with the interval in which it took effect.
//!
//! Intervals are counted in steps of the recorder, not in time: a step is taken before a request is sent and
//! after its answer came, so the order of steps is the order in which things really happened.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

/// What a register holds. Writers use each value once, so that a value tells who wrote it.
pub type Value = u64;
/// What a register holds before anybody wrote.
pub const NOTHING: Value = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write(Value),
    /// Writes `new` where the register holds `expected`.
    Swap {
        expected: Value,
        new: Value,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The read gave this. `version` counts up with every change of the object, where the store has such a number.
    Value { value: Value, version: u64 },
    /// The write or swap was acknowledged.
    Done,
    /// It was answered that nothing was written, or the request was never sent.
    Refused,
    /// No answer, or one that leaves it open. It may take effect at any time from its start on, or never.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub client: usize,
    pub key: String,
    pub call: Call,
    pub outcome: Outcome,
    pub started: u64,
    pub ended: u64,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, key, started, ended, .. } = self;
        write!(f, "client {client} [{started}..{ended}] {key}: ")?;
        match self.call {
            Call::Read => write!(f, "read")?,
            Call::Write(value) => write!(f, "write {value}")?,
            Call::Swap { expected, new } => write!(f, "swap {expected} for {new}")?,
        }
        match self.outcome {
            Outcome::Value { value, version } => write!(f, " gave {value} at version {version}"),
            Outcome::Done => write!(f, " was acknowledged"),
            Outcome::Refused => write!(f, " was refused"),
            Outcome::Unknown => write!(f, " was left open"),
        }
    }
}

/// Records operations of many clients at once.
#[derive(Debug, Default)]
pub struct History {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    step: u64,
    operations: Vec<Operation>,
}

/// An operation that has started.
#[derive(Debug)]
#[must_use = "an operation that is not ended counts as left open"]
pub struct Started(usize);

impl History {
    pub fn new() -> Self {
        Self::default()
    }

    /// Before the request is sent.
    pub fn start(&self, client: usize, key: &str, call: Call) -> Started {
        let mut inner = self.lock();
        inner.step += 1;
        let started = inner.step;
        let outcome = Outcome::Unknown;
        inner.operations.push(Operation { client, key: key.into(), call, outcome, started, ended: u64::MAX });
        Started(inner.operations.len() - 1)
    }

    /// After the answer came, or the client gave up.
    pub fn end(&self, operation: Started, outcome: Outcome) {
        let mut inner = self.lock();
        inner.step += 1;
        let step = inner.step;
        let operation = &mut inner.operations[operation.0];
        operation.outcome = outcome;
        operation.ended = step;
    }

    /// All operations so far, in the order in which they started.
    pub fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The first read whose version is older than one that was read, by anybody, before it started.
///
/// Also finds one version with two values: two states that claim the same place in the log.
pub fn versions_go_back(operations: &[Operation]) -> Option<String> {
    let mut reads: Vec<(&Operation, Value, u64)> = operations
        .iter()
        .filter_map(|operation| match operation.outcome {
            Outcome::Value { value, version } => Some((operation, value, version)),
            Outcome::Done | Outcome::Refused | Outcome::Unknown => None,
        })
        .collect();
    let mut by_version: std::collections::BTreeMap<(&str, u64), &(&Operation, Value, u64)> =
        Default::default();
    for read in &reads {
        let first = by_version.entry((&read.0.key, read.2)).or_insert(read);
        if first.1 != read.1 {
            return Some(format!("one version, two values:\n  {}\n  {}", first.0, read.0));
        }
    }
    let mut ended = reads.clone();
    ended.sort_by_key(|(operation, ..)| operation.ended);
    reads.sort_by_key(|(operation, ..)| operation.started);
    let mut ended = ended.into_iter().peekable();
    let mut newest: std::collections::BTreeMap<&str, (&Operation, u64)> = Default::default();
    for (read, _, version) in reads {
        while let Some((before, _, version)) = ended.next_if(|(before, ..)| before.ended < read.started) {
            let newest = newest.entry(&before.key).or_insert((before, version));
            if version > newest.1 {
                *newest = (before, version);
            }
        }
        if let Some((before, newer)) = newest.get(read.key.as_str()).filter(|(_, newest)| *newest > version) {
            return Some(format!("version {version} was read after {newer}:\n  {before}\n  {read}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(history: &History, value: Value, version: u64) {
        let operation = history.start(0, "a", Call::Read);
        history.end(operation, Outcome::Value { value, version });
    }

    #[test]
    fn intervals_are_in_the_order_of_what_happened() {
        let history = History::new();
        let first = history.start(1, "a", Call::Write(1));
        let second = history.start(2, "a", Call::Read);
        history.end(second, Outcome::Value { value: 1, version: 5 });
        history.end(first, Outcome::Done);
        let _left_open = history.start(3, "a", Call::Write(2));
        let operations = history.operations();
        assert!(operations[0].started < operations[1].started && operations[1].ended < operations[0].ended);
        assert_eq!((operations[2].outcome, operations[2].ended), (Outcome::Unknown, u64::MAX));
    }

    #[test]
    fn a_version_that_goes_back_is_found() {
        let good = History::new();
        read(&good, 1, 5);
        read(&good, 1, 6);
        assert_eq!(versions_go_back(&good.operations()), None);

        let back = History::new();
        read(&back, 1, 6);
        read(&back, 1, 5);
        assert!(versions_go_back(&back.operations()).unwrap().contains("5 was read after 6"));

        // At the same time, each may be first.
        let together = History::new();
        let slow = together.start(1, "a", Call::Read);
        read(&together, 1, 6);
        together.end(slow, Outcome::Value { value: 1, version: 5 });
        assert_eq!(versions_go_back(&together.operations()), None);

        let split = History::new();
        read(&split, 1, 6);
        read(&split, 2, 6);
        assert!(versions_go_back(&split.operations()).unwrap().contains("two values"));
    }
}
