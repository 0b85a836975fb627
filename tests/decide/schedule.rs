//! What happens next, in order; of equal moments, what was asked for first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use common::time::Monotonic;

#[derive(Debug)]
pub struct Schedule<T> {
    order: BinaryHeap<Reverse<(Monotonic, u64)>>,
    what: BTreeMap<u64, T>,
    sequence: u64,
}

impl<T> Schedule<T> {
    pub fn new() -> Self {
        Self { order: BinaryHeap::new(), what: BTreeMap::new(), sequence: 0 }
    }

    pub fn at(&mut self, at: Monotonic, what: T) {
        self.sequence += 1;
        self.order.push(Reverse((at, self.sequence)));
        self.what.insert(self.sequence, what);
    }

    pub fn next_at(&self) -> Option<Monotonic> {
        self.order.peek().map(|Reverse((at, _))| *at)
    }

    /// The next thing that is due by `end`.
    pub fn pop(&mut self, end: Monotonic) -> Option<(Monotonic, T)> {
        if self.next_at()? > end {
            return None;
        }
        let Reverse((at, sequence)) = self.order.pop()?;
        self.what.remove(&sequence).map(|what| (at, what))
    }
}
