//! The members as others see them through us, and what changed.
//!
//! Foca knows active and down; here are also goodbyes, since when, and the difference between a new face and a
//! return.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::object::NodeId;
use crate::time::Monotonic;

use super::facts::{Denied, LeaderHint};
use super::identity::Identity;

/// How a member is.
///
/// ```text
/// Alive ◀──objects── Suspect ◀──no answer── Alive        Alive, Suspect ──▶ Down ──goodbye was late──▶ Left
///                    Suspect ──no objection──▶ Down      Alive, Suspect ──goodbye──▶ Left
///                                                        Down, Left ──higher generation──▶ Alive
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    Alive,
    /// Somebody got no answer; counts as alive until the time to object is over.
    Suspect,
    /// It fell silent.
    Down,
    /// It said goodbye.
    Left,
}

impl MemberState {
    pub fn is_active(self) -> bool {
        match self {
            MemberState::Alive | MemberState::Suspect => true,
            MemberState::Down | MemberState::Left => false,
        }
    }
}

/// One other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: Identity,
    pub state: MemberState,
    /// When it became active, or stopped being so, on the clock of the node that tells.
    pub since: Monotonic,
}

/// What changed. Down may be followed by Left, when the goodbye was the slower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node nobody told us of before.
    Up(Member),
    /// A node that was down or had left is back, always under a higher generation.
    Rejoined(Member),
    /// An active node has another generation, address or role than before.
    Changed {
        member: Member,
        before: Identity,
    },
    Down(Member),
    Left(Member),
    /// A node was down or gone for so long that it is not listed any more.
    Forgotten(NodeId),
    LeaderHint(LeaderHint),
    Denied(Denied),
    /// This node has a new generation of its own; it must be on disk before the next start.
    Renewed {
        generation: u64,
    },
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<NodeId, Member>,
    suspects: BTreeSet<NodeId>,
    /// Members whose entry is not as it was when this was last emptied.
    pub touched: BTreeSet<NodeId>,
    pub events: VecDeque<Event>,
}

impl Roster {
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    pub fn all(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members.values()
    }

    pub fn after(&self, node: NodeId) -> impl Iterator<Item = &Member> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.members.range((Excluded(node), Unbounded)).map(|(_, member)| member)
    }

    pub fn active(&self) -> impl Iterator<Item = &Member> + Clone {
        self.all().filter(|member| member.state.is_active())
    }

    pub fn is_active(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|member| member.state.is_active())
    }

    pub fn up(&mut self, id: Identity, now: Monotonic) {
        self.touched.insert(id.node);
        let member = Member { id, state: MemberState::Alive, since: now };
        let event = match self.members.insert(id.node, member) {
            None => Event::Up(member),
            Some(_) => Event::Rejoined(member),
        };
        self.events.push_back(event);
    }

    /// A higher generation of a known node. Whether it is active is told apart from this.
    pub fn replace(&mut self, id: Identity) {
        let Some(member) = self.members.get_mut(&id.node) else { return };
        self.touched.insert(id.node);
        let before = std::mem::replace(&mut member.id, id);
        if member.state.is_active() {
            self.events.push_back(Event::Changed { member: *member, before });
        }
    }

    pub fn down(&mut self, id: Identity, now: Monotonic) {
        self.end(id.node, id.generation, MemberState::Down, now);
    }

    /// The node said goodbye in this generation. Says whether it was active until now.
    pub fn left(&mut self, node: NodeId, generation: u64, now: Monotonic) -> bool {
        let was_active = self.is_active(node);
        self.end(node, generation, MemberState::Left, now) && was_active
    }

    fn end(&mut self, node: NodeId, generation: u64, state: MemberState, now: Monotonic) -> bool {
        self.suspects.remove(&node);
        let Some(member) = self.members.get_mut(&node) else { return false };
        // A goodbye outranks silence, and nothing is said twice.
        if member.id.generation > generation || member.state >= state {
            return false;
        }
        self.touched.insert(node);
        member.state = state;
        member.since = now;
        let member = *member;
        self.events.push_back(match state {
            MemberState::Left => Event::Left(member),
            MemberState::Alive | MemberState::Suspect | MemberState::Down => Event::Down(member),
        });
        true
    }

    /// Takes over who is suspected at the moment. Suspicion comes and goes, so it is shown but no event.
    pub fn suspect(&mut self, suspects: BTreeSet<NodeId>) {
        for node in self.suspects.symmetric_difference(&suspects) {
            if let Some(member) = self.members.get_mut(node)
                && member.state.is_active()
            {
                self.touched.insert(*node);
                let suspected = suspects.contains(node);
                member.state = if suspected { MemberState::Suspect } else { MemberState::Alive };
            }
        }
        self.suspects = suspects;
    }

    pub fn forget(&mut self, id: &Identity) {
        if let Entry::Occupied(entry) = self.members.entry(id.node)
            && entry.get().id.generation == id.generation
            && !entry.get().state.is_active()
        {
            entry.remove();
            self.touched.insert(id.node);
            self.events.push_back(Event::Forgotten(id.node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn id(generation: u64) -> Identity {
        Identity::new(NodeId(1), "10.0.0.1:2377".parse().unwrap(), generation, false)
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn member(generation: u64, state: MemberState, seconds: u64) -> Member {
        Member { id: id(generation), state, since: at(seconds) }
    }

    #[test]
    fn a_life_is_told_once_and_in_order() {
        use MemberState::*;
        let mut roster = Roster::default();
        roster.up(id(1), at(1));
        roster.suspect([NodeId(1)].into());
        assert_eq!(roster.get(NodeId(1)), Some(&member(1, Suspect, 1)));
        roster.down(id(1), at(2));
        roster.down(id(1), at(3));
        assert!(!roster.left(NodeId(1), 1, at(4)), "it was down already, so foca needs no telling");
        roster.left(NodeId(1), 1, at(5));
        roster.down(id(1), at(6));
        roster.replace(id(2));
        roster.up(id(2), at(7));
        roster.left(NodeId(1), 1, at(8));
        roster.replace(id(3));
        roster.forget(&id(3));
        assert!(roster.left(NodeId(1), 3, at(9)));
        roster.forget(&id(2));
        roster.forget(&id(3));
        let expected = [
            Event::Up(member(1, Alive, 1)),
            Event::Down(member(1, Down, 2)),
            Event::Left(member(1, Left, 4)),
            Event::Rejoined(member(2, Alive, 7)),
            Event::Changed { member: member(3, Alive, 7), before: id(2) },
            Event::Left(member(3, Left, 9)),
            Event::Forgotten(NodeId(1)),
        ];
        assert_eq!(roster.events, expected);
    }
}
