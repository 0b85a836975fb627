//! Timers in the order in which they must fire: by deadline, then by kind, then as they were set.
//!
//! The kind matters when several are overdue at once, after a stall: a probe's second chance has to come before
//! the probe's end.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::time::Monotonic;

/// Smaller fires first among equal deadlines.
pub(super) trait Rank {
    fn rank(&self) -> u8;
}

#[derive(Debug)]
pub(super) struct TimerQueue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    sequence: u64,
}

impl<T: Rank> TimerQueue<T> {
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }

    pub fn set(&mut self, at: Monotonic, timer: T) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, timer }));
    }

    pub fn next_at(&self) -> Option<Monotonic> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// The first timer whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Monotonic) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.timer)
    }

    pub fn clear(&mut self) {
        self.heap.clear();
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Monotonic,
    sequence: u64,
    timer: T,
}

impl<T: Rank> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.timer.rank(), self.sequence).cmp(&(other.at, other.timer.rank(), other.sequence))
    }
}

impl<T: Rank> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Rank> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Rank> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    impl Rank for (u8, usize) {
        fn rank(&self) -> u8 {
            self.0
        }
    }

    proptest! {
        #[test]
        fn they_fire_by_deadline_then_kind_then_order(timers in prop::collection::vec((0u64..5, 0u8..3), 0..40)) {
            let at = |ms| Monotonic(Duration::from_millis(ms));
            let mut queue = TimerQueue::new();
            for (index, (ms, rank)) in timers.iter().enumerate() {
                queue.set(at(*ms), (*rank, index));
            }
            let mut expected: Vec<_> = timers.iter().enumerate().map(|(index, (ms, rank))| (*ms, *rank, index)).collect();
            expected.sort();
            let mut fired = Vec::new();
            for ms in 0..5 {
                while let Some((rank, index)) = queue.pop_due(at(ms)) {
                    fired.push((ms, rank, index));
                }
            }
            prop_assert_eq!(fired, expected);
            prop_assert_eq!(queue.next_at(), None);
        }
    }
}
