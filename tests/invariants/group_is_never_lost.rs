//! The raft group always has voters, its leader never removes itself, and nobody is removed while those who would be
//! left cannot decide: otherwise the cluster's state is there and nobody may change it any more.

use manager::decide::roles::Step;

use crate::decide::group::{Group, Seats};

/// Holds at every moment.
pub fn check(group: &Group) {
    let votes = |seats: &Seats| seats.values().any(|seat| seat.voter);
    assert!(votes(&group.committed), "a group without voters: {group:?}");
    assert!(group.pending.as_ref().is_none_or(votes), "on its way to a group without voters: {group:?}");
}

/// `step` was decided, by a leader to whom those in `reachable` answer.
pub fn check_step(step: &Step, group: &Group, reachable: &dyn Fn(u64) -> bool) {
    let seats = group.seats();
    match step {
        Step::Remove { raft_id } => {
            assert_ne!(Some(*raft_id), group.leader, "the leader is to remove itself");
            if seats.get(raft_id).is_none_or(|seat| !seat.voter) {
                return;
            }
            let left = || seats.iter().filter(|(other, seat)| seat.voter && *other != raft_id);
            let answer = left().filter(|(other, _)| reachable(**other)).count();
            assert!(
                answer > left().count() / 2,
                "without {raft_id} only {answer} of {} answer",
                left().count()
            );
        }
        Step::HandOver { to } => {
            assert!(seats.get(to).is_some_and(|seat| seat.voter), "{to} has no vote and is to lead");
            assert_ne!(Some(*to), group.leader, "the leader hands over to itself");
        }
        Step::AddLearner { .. }
        | Step::AddVoter { .. }
        | Step::Move { .. }
        | Step::Admit { .. }
        | Step::Dismiss { .. } => {}
    }
}
