//! Comparing two lists of members without sending them: one number per bucket of nodes.
//!
//! News is sent a bounded number of times, so in a large cluster somebody misses some; and a newcomer has missed it all.
//! Whoever is given a digest answers with its members of the buckets that differ.

use serde::{Deserialize, Serialize};

use crate::object::NodeId;

use super::identity::Identity;

const BUCKETS: usize = 32;

/// Sums over the active members of each bucket; equal lists have equal digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest([u32; BUCKETS]);

/// A set of buckets, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets(u32);

impl Digest {
    pub fn of<'a>(active: impl Iterator<Item = &'a Identity>) -> Self {
        let mut digest = Self::default();
        for id in active {
            let sum = &mut digest.0[bucket(id.node)];
            *sum = sum.wrapping_add(mix(id));
        }
        digest
    }

    pub fn differing(&self, other: &Self) -> Buckets {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        Buckets(
            pairs.filter(|(_, (mine, theirs))| mine != theirs).fold(0, |set, (index, _)| set | 1 << index),
        )
    }
}

impl Buckets {
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & 1 << bucket(node) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// At most so many of them, the first ones from bucket `from` on.
    pub fn some(self, most: usize, from: u32) -> Self {
        let order = (0..BUCKETS as u32).map(|step| 1 << (from.wrapping_add(step) % BUCKETS as u32));
        Self(order.filter(|bit| self.0 & bit != 0).take(most).sum())
    }
}

/// Ids are random, so any of their bits spread evenly.
fn bucket(node: NodeId) -> usize {
    (node.0 % BUCKETS as u128) as usize
}

fn mix(id: &Identity) -> u32 {
    let folded = (id.node.0 >> 64) as u64 ^ (id.node.0 as u64).rotate_left(17);
    let mixed =
        (folded ^ id.generation.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(node: u128, generation: u64) -> Identity {
        Identity::new(NodeId(node), "10.0.0.1:2377".parse().unwrap(), generation, false)
    }

    proptest! {
        #[test]
        fn equal_lists_are_equal_and_a_missing_member_is_in_a_differing_bucket(
            nodes in prop::collection::btree_set(any::<u128>(), 1..60),
            missing: prop::sample::Index,
        ) {
            let all: Vec<_> = nodes.iter().map(|node| id(*node, 5)).collect();
            let backwards: Vec<_> = all.iter().rev().copied().collect();
            prop_assert!(Digest::of(all.iter()).differing(&Digest::of(backwards.iter())).is_empty());

            let gone = missing.get(&all).node;
            let fewer = Digest::of(all.iter().filter(|id| id.node != gone));
            let differing = Digest::of(all.iter()).differing(&fewer);
            prop_assert!(differing.contains(gone));
            prop_assert_eq!(differing.0.count_ones(), 1);

            let renewed = Digest::of(all.iter().map(|member| if member.node == gone { id(gone.0, 6) } else { *member }).collect::<Vec<_>>().iter());
            prop_assert!(Digest::of(all.iter()).differing(&renewed).contains(gone));
        }

        #[test]
        fn some_of_the_buckets_are_that_many_of_them(set: u32, most in 0usize..40, from: u32) {
            let some = Buckets(set).some(most, from);
            prop_assert_eq!(some.0 & !set, 0);
            prop_assert_eq!(some.0.count_ones(), set.count_ones().min(most as u32));
        }
    }
}
