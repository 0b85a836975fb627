//! How good a node is, and finding the best of many.

/// Smaller is better; the first field that differs decides: recent failures, tasks of the service, all tasks. Among
/// equals the smallest node id is chosen, by the order of leaves in a `Tournament`.
///
/// One number, because comparing it is most of what placing does: 8, 28 and 28 bits, each as large as it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRank(u64);

/// Failures of one service and spec within the time that counts from which on they are held against a node: one bad
/// start is no verdict.
pub const FAILURES_THAT_COUNT: usize = 5;

const BITS: u32 = 28;
const FIELD_MAX: u32 = (1 << BITS) - 1;
/// The failures stay below what their bits hold, so that no rank is `NONE`.
const FAILURES_MAX: usize = 254;

impl NodeRank {
    /// Worse than all: no node at all.
    const NONE: Self = Self(u64::MAX);

    pub fn new(recent_failures: usize, tasks_of_service: u32, tasks_total: u32) -> Self {
        let failures =
            if recent_failures < FAILURES_THAT_COUNT { 0 } else { recent_failures.min(FAILURES_MAX) };
        let field = |tasks: u32| u64::from(tasks.min(FIELD_MAX));
        Self((failures as u64) << (2 * BITS) | field(tasks_of_service) << BITS | field(tasks_total))
    }
}

/// The best of a fixed number of places, each with a rank or none. A change costs the logarithm of their number.
#[derive(Clone, Debug, Default)]
pub struct Tournament {
    /// A binary tree in an array: the winners of 2n and 2n + 1 meet in n, the leaves are the last half.
    ranks: Vec<NodeRank>,
}

impl Tournament {
    pub fn new(ranks: impl ExactSizeIterator<Item = Option<NodeRank>>) -> Self {
        let leaves = ranks.len().next_power_of_two();
        let mut all = vec![NodeRank::NONE; 2 * leaves];
        all[leaves..].iter_mut().zip(ranks).for_each(|(leaf, rank)| *leaf = rank.unwrap_or(NodeRank::NONE));
        for at in (1..leaves).rev() {
            all[at] = all[2 * at].min(all[2 * at + 1]);
        }
        Self { ranks: all }
    }

    /// The place of the best rank; of equal ones the first.
    pub fn best(&self) -> Option<usize> {
        let leaves = self.ranks.len() / 2;
        let best = *self.ranks.get(1)?;
        if best == NodeRank::NONE {
            return None;
        }
        let mut at = 1;
        while at < leaves {
            at = if self.ranks[2 * at] == best { 2 * at } else { 2 * at + 1 };
        }
        Some(at - leaves)
    }

    pub fn rank(&self, place: usize) -> Option<NodeRank> {
        Some(self.ranks[self.ranks.len() / 2 + place]).filter(|rank| *rank != NodeRank::NONE)
    }

    pub fn set(&mut self, place: usize, rank: Option<NodeRank>) {
        let mut at = self.ranks.len() / 2 + place;
        self.ranks[at] = rank.unwrap_or(NodeRank::NONE);
        while at > 1 {
            at /= 2;
            let winner = self.ranks[2 * at].min(self.ranks[2 * at + 1]);
            if self.ranks[at] == winner {
                return;
            }
            self.ranks[at] = winner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_field_that_differs_decides() {
        #[rustfmt::skip]
        let better_first = [ // (failures, of the service, in total)
            ((0, 0, 0),         (0, 0, 1)),
            ((0, 0, 9),         (0, 1, 0)),
            ((0, 9, 9),         (5, 0, 0)),
            ((5, 9, 9),         (6, 0, 0)),
            ((0, 0, u32::MAX),  (0, 1, 0)),
            ((0, u32::MAX, 0),  (5, 0, 0)),
        ];
        for (better, worse) in better_first {
            let rank = |(failures, service, total)| NodeRank::new(failures, service, total);
            assert!(rank(better) < rank(worse), "{better:?} before {worse:?}");
        }
        assert_eq!(NodeRank::new(4, 1, 1), NodeRank::new(0, 1, 1), "few failures are no verdict");
        assert!(NodeRank::new(usize::MAX, u32::MAX, u32::MAX) < NodeRank::NONE);
    }

    proptest! {
        #[test]
        fn the_best_is_the_first_of_the_smallest(
            start in prop::collection::vec(prop::option::of(0u32..4), 0..40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(0u32..4)), 0..40),
        ) {
            let rank = |tasks: &Option<u32>| tasks.map(|tasks| NodeRank::new(0, 0, tasks));
            let mut plain = start;
            let mut tournament = Tournament::new(plain.iter().map(rank));
            for (place, tasks) in changes {
                let best = plain.iter().enumerate().filter_map(|(at, tasks)| Some((((*tasks)?), at))).min();
                prop_assert_eq!(tournament.best(), best.map(|(_, at)| at));
                if !plain.is_empty() {
                    let place = place.index(plain.len());
                    plain[place] = tasks;
                    tournament.set(place, rank(&tasks));
                    prop_assert_eq!(tournament.rank(place), rank(&tasks));
                }
            }
        }
    }
}
