//! Groups of managers: electing, writing, losing members, changing members.

use std::collections::BTreeSet;
use std::time::Duration;

use common::object::NodeId;
use common::object::cluster::LivenessPreset;
use common::time::{Clock, SystemClock};

use super::create_node;
use super::group::{Group, address_of, settled, until};
use crate::raft::{ChangeError, Lead, ProposeError, RaftRole, SnapshotPolicy, Timing};
use crate::store::Rejection;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_comes_back() {
    let mut group = Group::of(3).await;
    let mut written = 0;
    for _ in 0..3 {
        for _ in 0..10 {
            group.write(&create_node(written, 50)).await;
            written += 1;
        }
        let leader = group.leader().await;
        group.stop(leader).await;
        group.write(&create_node(written, 50)).await;
        written += 1;
        group.start(leader).await.unwrap();
    }
    let version = group.write(&create_node(written, 50)).await;
    group.all_reach(version).await;
    let states: Vec<_> = group.members.values().map(|member| member.store.snapshot()).collect();
    assert_eq!(states[0].nodes.len() as u64, written + 1);
    assert!(states.iter().all(|state| *state == states[0]), "members differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_sent_twice_is_written_once() {
    let group = Group::of(1).await;
    let version = group.write(&create_node(1, 0)).await;
    assert_eq!(group.write(&create_node(1, 0)).await, version);
    let mut other = create_node(1, 0);
    other.id = 99;
    let rejected = group.members[&1].raft.propose(&other).await;
    assert!(matches!(rejected, Err(ProposeError::Rejected(Rejection::Exists { .. }))), "{rejected:?}");
    let huge = group.members[&1].raft.propose(&create_node(2, 4 << 20)).await;
    assert!(matches!(huge, Err(ProposeError::Rejected(Rejection::Invalid { .. }))), "{huge:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_name_the_leader_and_reads_ask_it() {
    let group = Group::of(3).await;
    let version = group.write(&create_node(1, 0)).await;
    let leader = group.leader().await;
    assert!(group.members[&leader].raft.read_index().await.unwrap() >= version);
    for (raft_id, member) in group.members.iter().filter(|(raft_id, _)| **raft_id != leader) {
        let node = NodeId(leader.into());
        until("a follower knows the leader", || {
            member.raft.watch().borrow().leader.is_some_and(|peer| peer.node == node)
        })
        .await;
        match member.raft.propose(&create_node(2, 0)).await {
            Err(ProposeError::NotLeader { leader: Some(peer) }) => {
                assert_eq!((peer.node, peer.addr), (node, address_of(node)));
            }
            other => panic!("member {raft_id}: {other:?}"),
        }
        member.raft.read_index().await.unwrap_err();
        until("it votes", || member.raft.status().role == RaftRole::Follower).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_absent_member_catches_up_by_snapshot() {
    absent_member_catches_up(Group::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_on_real_connections_does_the_same() {
    absent_member_catches_up(Group::over_quic()).await;
}

async fn absent_member_catches_up(mut group: Group) {
    group.policy = SnapshotPolicy { interval: 20, log_entries_kept: 5 };
    group.grow_to(3).await;
    let leader = group.leader().await;
    let absent = group.members.keys().copied().find(|raft_id| *raft_id != leader).unwrap();
    let was_at = group.stop(absent).await.store.feed().reached();
    let mut version = was_at;
    // Larger than one chunk in all, so that the stream has several.
    for number in 0..60 {
        version = group.write(&create_node(number, 20_000)).await;
    }
    let leader = group.leader().await;
    until("the log no longer reaches back to the absent member", || {
        group.members[&leader].raft.status().purged.is_some_and(|purged| purged > was_at.0 + 1)
    })
    .await;
    group.start(absent).await.unwrap();
    group.all_reach(version).await;
    assert!(group.members[&absent].raft.status().snapshot.is_some_and(|snapshot| snapshot > was_at.0));
    let tables = group.members[&absent].store.snapshot();
    assert_eq!(tables.nodes, group.members[&leader].store.snapshot().nodes);
    // And what it received serves it after a restart.
    group.stop(absent).await;
    group.start(absent).await.unwrap();
    group.all_reach(version).await;
    assert_eq!(group.members[&absent].store.snapshot().nodes, tables.nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_move_and_go() {
    let mut group = Group::of(3).await;
    let leader = group.leader().await;
    group.start(4).await.unwrap();
    let raft = group.members[&leader].raft.clone();
    settled(|| raft.add_learner(4, NodeId(4), "127.0.0.1:9")).await.unwrap();
    settled(|| raft.add_learner(4, NodeId(4), "127.0.0.1:9")).await.unwrap();
    let taken = settled(|| raft.add_learner(4, NodeId(5), "x")).await;
    assert_eq!(taken, Err(ChangeError::Taken { raft_id: 4 }));
    assert!(!raft.status().member(4).unwrap().voter);
    let version = group.write(&create_node(1, 0)).await;
    group.all_reach(version).await;
    until("the leader knows that the learner has everything", || {
        raft.status().member(4).unwrap().lag == Some(0)
    })
    .await;
    settled(|| raft.add_voter(4)).await.unwrap();
    settled(|| raft.update_address(4, "127.0.0.1:1004")).await.unwrap();
    let member = raft.status().member(4).unwrap().clone();
    assert_eq!((member.voter, member.addr.as_str()), (true, "127.0.0.1:1004"));
    let unknown = ChangeError::Unknown { raft_id: 9 };
    assert_eq!(settled(|| raft.add_voter(9)).await, Err(unknown.clone()));
    assert_eq!(settled(|| raft.update_address(9, "x")).await, Err(unknown.clone()));
    assert_eq!(settled(|| raft.transfer_leadership(9)).await, Err(unknown));

    raft.transfer_leadership(4).await.unwrap();
    assert_eq!(group.leader().await, 4);
    assert!(matches!(raft.remove(leader).await, Err(ChangeError::NotLeader { .. })));
    let raft = group.members[&4].raft.clone();
    settled(|| raft.remove(leader)).await.unwrap();
    settled(|| raft.remove(leader)).await.unwrap();
    let ids: Vec<u64> = raft.status().members.iter().map(|member| member.raft_id).collect();
    assert!(!ids.contains(&leader) && ids.len() == 3, "{ids:?}");
    group.stop(leader).await;
    let version = group.write(&create_node(2, 0)).await;
    group.all_reach(version).await;
    settled(|| raft.set_voters(BTreeSet::from([4]))).await.unwrap();
    assert_eq!(settled(|| raft.remove(4)).await, Err(ChangeError::LastVoter { raft_id: 4 }));
    settled(|| raft.set_voters(ids.iter().copied().collect())).await.unwrap();
    settled(|| raft.step_down()).await.unwrap();
    assert_ne!(group.leader().await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_writes_and_reads_fail_fast_and_then_go_on() {
    let mut group = Group::new();
    group.timing = Timing::of(LivenessPreset::Lan);
    group.grow_to(3).await;
    group.write(&create_node(0, 0)).await;
    let leader = group.leader().await;
    for raft_id in group.members.keys().copied().filter(|raft_id| *raft_id != leader) {
        group.net.isolate(NodeId(raft_id.into()), true);
    }
    let raft = group.members[&leader].raft.clone();
    let started = SystemClock.monotonic();
    let first = raft.propose(&create_node(1, 0)).await;
    let took = SystemClock.monotonic().since(started);
    assert!(matches!(first, Err(ProposeError::Uncertain | ProposeError::NotLeader { .. })), "{first:?}");
    assert!(took < Duration::from_secs(4), "{took:?}"); // 2 s on a machine that does nothing else
    raft.read_index().await.unwrap_err();
    until("the leader refuses at once", || {
        raft.status().quorum_heard.is_none_or(|heard| heard > Duration::from_millis(600))
    })
    .await;
    let second = raft.propose(&create_node(2, 0)).await;
    assert!(matches!(second, Err(ProposeError::NotLeader { .. })), "{second:?}");
    group.net.heal();
    let version = group.write(&create_node(3, 0)).await;
    group.all_reach(version).await;
    let states: Vec<_> = group.members.values().map(|member| member.store.snapshot()).collect();
    assert!(states.iter().all(|state| *state == states[0]), "members differ");
    let stopped = group.stop(leader).await;
    assert_eq!(*stopped.raft.failure().borrow(), None, "stopping is no failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_one_lead_is_written_in_no_other() {
    let mut group = Group::new();
    group.timing = Timing::of(LivenessPreset::Lan);
    group.grow_to(3).await;
    group.write(&create_node(0, 0)).await;
    let leader = group.leader().await;
    let raft = group.members[&leader].raft.clone();
    until("its lead stands", || raft.lead().is_some()).await;
    let lead = raft.lead();
    raft.propose_in(lead, &create_node(1, 0)).await.unwrap();
    let earlier = lead.map(|lead| Lead { term: lead.term - 1, ..lead });
    let refused = raft.propose_in(earlier, &create_node(2, 0)).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");

    settled(|| raft.step_down()).await.unwrap();
    let refused = raft.propose_in(lead, &create_node(2, 0)).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    assert_eq!(raft.lead(), None);
    for (raft_id, member) in &group.members {
        let has = |id: u128| member.store.snapshot().nodes.get(NodeId(id)).is_some();
        assert!(!has(2), "{raft_id} has what was refused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_cannot_write_while_the_others_go_on() {
    let group = Group::of(3).await;
    group.write(&create_node(0, 0)).await;
    let old = group.leader().await;
    group.net.isolate(NodeId(old.into()), true);
    let lost = group.members[&old].raft.propose(&create_node(1, 0)).await;
    assert!(matches!(lost, Err(ProposeError::Uncertain | ProposeError::NotLeader { .. })), "{lost:?}");
    until("the others have a leader", || {
        group.members.iter().any(|(raft_id, member)| *raft_id != old && member.raft.watch().borrow().is_me)
    })
    .await;
    let version = group.write(&create_node(2, 0)).await;
    group.members[&old].raft.read_index().await.unwrap_err();
    group.net.heal();
    group.all_reach(version).await;
    let states: Vec<_> = group.members.values().map(|member| member.store.snapshot().nodes).collect();
    assert!(states.iter().all(|state| *state == states[0]), "members differ");
}
