//! Promises of the leader's decisions about nodes and roles, in virtual time, under the faults that make them hard.
//!
//! The usual number of seeds is small; `SWARM_SIM_SEEDS` asks for more, `SWARM_SIM_SEED` repeats one.

mod decide;
mod invariants;
#[allow(dead_code, reason = "gossip's own tests use the rest")]
mod simulator;

use std::collections::BTreeSet;

use common::limits::STOPPED_NODE_WAIT;
use common::object::{NodeState, Role};
use common::wire::session::Parting;

use decide::nodes::Cluster;
use decide::roles::Roles;
use invariants::silent_is_down_soon::{MEDIAN, WORST};
use simulator::table::Times;
use simulator::world::MANAGERS;
use simulator::{ms, seconds, seeds};

/// Crashes workers and waits until each is written down. From its last moment to the write.
fn written_down(cluster: &mut Cluster, crashes: usize, at_once: usize) -> Times {
    let count = cluster.world.nodes.len();
    let mut took = Vec::new();
    for _ in 0..crashes {
        let wait = ms(cluster.random_below(1_000) as u64);
        cluster.run(wait);
        let leader = cluster.leader().expect("somebody leads");
        let mut crashed = BTreeSet::new();
        while crashed.len() < at_once {
            crashed.insert(cluster.random_below(count));
            crashed.remove(&leader);
        }
        cluster.moves.clear();
        crashed.iter().for_each(|index| cluster.crash(*index));
        assert!(cluster.settle(seconds(10)).is_some(), "all of {crashed:?} are down, nobody else is");
        for index in &crashed {
            let down = cluster.moves.iter().find(|moved| moved.node == *index && moved.to == NodeState::Down);
            let at = down.expect("it was written").at;
            took.push(at.since(cluster.world.nodes[*index].ended_at));
        }
        let others = cluster.moves.iter().filter(|moved| !crashed.contains(&moved.node));
        assert_eq!(others.count(), 0, "nobody else is touched");
        crashed.iter().for_each(|index| cluster.restart(*index));
        assert!(cluster.settle(seconds(10)).is_some(), "the restarted are ready again");
    }
    Times::new(took)
}

#[test]
fn a_silent_node_is_written_down_in_time() {
    println!("nodes   silent -> down written: median, 90 %, worst");
    #[rustfmt::skip]
    let cases = [ // nodes, crashes, at once
        (3, 40, 1),
        (5, 40, 1),
        (50, 20, 1),
        (300, 5, 5),
        (1_000, 2, 20),
    ];
    seeds(1, |seed| {
        for (count, crashes, at_once) in cases {
            let took = written_down(&mut Cluster::ready(seed, count), crashes, at_once);
            println!("{count:>5}   {}", took.line());
            assert!(took.median() <= MEDIAN, "median of {count} nodes: {:?}", took.median());
            assert!(took.worst() <= WORST, "worst of {count} nodes: {:?}", took.worst());
        }
    });
}

#[test]
fn nobody_alive_is_written_down() {
    seeds(1, |seed| {
        for (count, minutes) in [(3, 10), (20, 10), (100, 2)] {
            let mut cluster = Cluster::ready(seed, count);
            cluster.world.network.loss_percent = 1.0;
            cluster.stall_at_random(seconds(2), ms(400));
            cluster.run(seconds(60) * minutes);
            let down: Vec<_> = cluster.moves.iter().filter(|moved| moved.to == NodeState::Down).collect();
            assert!(down.is_empty(), "{count} nodes: {down:?}");
            println!("{count} nodes, {minutes} min, 1 % loss, stalls: {} other moves", cluster.moves.len());
        }
    });
}

#[test]
fn an_unchanged_cluster_is_not_written_to() {
    seeds(3, |seed| {
        for count in [3, 30] {
            let mut cluster = Cluster::ready(seed, count);
            let version = cluster.store.snapshot().version;
            cluster.run(seconds(130)); // two full passes
            assert_eq!(cluster.store.snapshot().version, version, "{:?}", cluster.moves);
            assert_eq!(cluster.would_write(), []);
        }
    });
}

#[test]
fn a_new_leader_disturbs_nobody() {
    seeds(2, |seed| {
        for count in [3, 5, 50, 300] {
            let mut cluster = Cluster::ready(seed, count);
            cluster.world.network.loss_percent = 1.0;
            for round in 0..6 {
                let leader = cluster.leader().expect("somebody leads");
                cluster.moves.clear();
                match round % 3 {
                    0 => cluster.hand_over(),
                    1 => cluster.pause(leader, seconds(2)),
                    _ => cluster.crash(leader),
                }
                cluster.run(seconds(8));
                let others: Vec<_> = cluster.moves.iter().filter(|moved| moved.node != leader).collect();
                assert!(others.is_empty(), "{count} nodes, round {round}: {others:?}");
                if !cluster.runs(leader) {
                    assert_eq!(cluster.state(leader), NodeState::Down);
                    cluster.restart(leader);
                }
                assert!(cluster.settle(seconds(10)).is_some(), "{count} nodes, round {round}");
            }
        }
    });
}

#[test]
fn a_new_leader_writes_nothing_that_is_so_already() {
    seeds(3, |seed| {
        let mut cluster = Cluster::ready(seed, 12);
        cluster.crash(10);
        cluster.stop(11, Parting::Stops);
        cluster.stop(9, Parting::Leaves);
        assert!(cluster.settle(seconds(15)).is_some());
        cluster.run(seconds(20));
        let version = cluster.store.snapshot().version;
        cluster.hand_over();
        cluster.run(seconds(70)); // with a full pass
        assert_eq!(cluster.store.snapshot().version, version, "{:?}", cluster.moves);
    });
}

#[test]
fn a_daemon_that_is_restarted_in_good_order_is_never_down() {
    seeds(5, |seed| {
        for count in [4, 20] {
            for (away, leader_changes) in [(1, false), (8, false), (6, true)] {
                let mut cluster = Cluster::ready(seed, count);
                cluster.world.network.loss_percent = 1.0;
                let node = count - 1;
                cluster.stop(node, Parting::Stops);
                cluster.run(seconds(1));
                if leader_changes {
                    cluster.hand_over();
                }
                cluster.run(seconds(away));
                cluster.restart(node);
                assert!(cluster.settle(seconds(5)).is_some(), "{count} nodes, away {away} s");
                cluster.run(seconds(20));
                let moves: Vec<_> = cluster.moves.drain(..).map(|moved| (moved.node, moved.to)).collect();
                let there_and_back = [(node, NodeState::Disconnected), (node, NodeState::Ready)];
                assert_eq!(moves, there_and_back, "{count} nodes, away {away} s");
            }
        }
    });
}

#[test]
fn a_goodbye_is_down_at_once_when_the_node_leaves_and_after_a_moment_when_it_stops() {
    seeds(5, |seed| {
        for (parting, from, to) in
            [(Parting::Leaves, ms(0), WORST), (Parting::Stops, STOPPED_NODE_WAIT, STOPPED_NODE_WAIT + WORST)]
        {
            let mut cluster = Cluster::ready(seed, 12);
            let said = cluster.world.now;
            cluster.stop(11, parting);
            cluster.run(seconds(20));
            let down = cluster.moves.iter().find(|moved| moved.to == NodeState::Down).expect("it is gone");
            let took = down.at.since(said);
            assert!(down.node == 11 && took >= from && took <= to, "{parting:?}: {took:?}");
        }
    });
}

#[test]
fn a_node_that_only_the_leader_misses_is_unknown_before_it_is_down() {
    seeds(5, |seed| {
        for count in [4, 20] {
            let mut cluster = Cluster::ready(seed, count);
            let (leader, cut) = (cluster.leader().expect("somebody leads"), count - 1);
            cluster.cut_link(leader, cut);
            let states = |cluster: &mut Cluster, until: u64| {
                cluster.run(seconds(until));
                let moves: Vec<NodeState> = cluster.moves.drain(..).map(|moved| moved.to).collect();
                moves
            };
            assert_eq!(states(&mut cluster, 3), [NodeState::Unknown]);
            assert_eq!(states(&mut cluster, 12), []);
            assert_eq!(states(&mut cluster, 4), [NodeState::Down]);
            cluster.heal_link(leader, cut);
            assert!(cluster.settle(seconds(5)).is_some(), "healed");
        }
    });
}

#[test]
fn a_node_that_was_only_away_for_a_while_is_ready_soon_after() {
    seeds(5, |seed| {
        for away in [2, 4, 8, 14] {
            let mut cluster = Cluster::ready(seed, 6);
            let leader = cluster.leader().expect("somebody leads");
            cluster.pause(4, seconds(away));
            cluster.cut_link(leader, 5);
            cluster.run(seconds(away));
            cluster.heal_link(leader, 5);
            cluster.run(ms(1)); // the pause ends with it
            assert_ne!(cluster.state(4), NodeState::Ready);
            assert_ne!(cluster.state(5), NodeState::Ready);
            let took = cluster.settle(seconds(60));
            assert!(took.is_some_and(|took| took <= seconds(3)), "away for {away} s: {took:?}");
        }
    });
}

#[test]
fn whatever_happens_the_store_tells_the_truth_afterwards() {
    seeds(4, |seed| {
        for (count, faults) in [(5, 120), (20, 60), (60, 20)] {
            let mut cluster = Cluster::ready(seed, count);
            cluster.world.network.loss_percent = 1.0;
            cluster.silence_bound = WORST + seconds(1); // stalls and loss on top
            cluster.stall_at_random(seconds(3), ms(300));
            let mut cuts = Vec::new();
            for _ in 0..faults {
                fault(&mut cluster, &mut cuts);
                let wait = ms(cluster.random_below(3_000) as u64);
                cluster.run(wait);
            }
            cuts.into_iter().for_each(|(one, other)| cluster.heal_link(one, other));
            cluster.run(seconds(9)); // the longest pause ends
            let gone: Vec<usize> = (0..count).filter(|index| !cluster.runs(*index)).collect();
            gone.into_iter().for_each(|index| cluster.restart(index));
            let took = cluster.settle(seconds(10));
            let states = |cluster: &Cluster| (0..count).map(|index| cluster.state(index)).collect::<Vec<_>>();
            assert!(took.is_some(), "{count} nodes: {:?} {}", states(&cluster), cluster.describe());
        }
    });
}

/// One fault at random; of the managers at most one is taken away at a time.
fn fault(cluster: &mut Cluster, cuts: &mut Vec<(usize, usize)>) {
    let count = cluster.world.nodes.len();
    let node = cluster.random_below(count);
    let well = |cluster: &Cluster, index: usize| cluster.runs(index) && !cluster.is_paused(index);
    let spared = node < MANAGERS && (0..MANAGERS).any(|index| index != node && !well(cluster, index));
    match cluster.random_below(10) {
        0 if !spared && cluster.runs(node) => cluster.crash(node),
        1 if !spared && well(cluster, node) => {
            let length = ms(500 + cluster.random_below(7_500) as u64);
            cluster.pause(node, length);
        }
        2 if !spared && well(cluster, node) => {
            let parting = if cluster.random_below(2) == 0 { Parting::Stops } else { Parting::Leaves };
            cluster.stop(node, parting);
        }
        3 => {
            if let Some(leader) = cluster.leader().filter(|leader| *leader != node && node >= MANAGERS) {
                cluster.cut_link(leader, node);
                cuts.push((leader, node));
            }
        }
        4 => cuts.pop().into_iter().for_each(|(one, other)| cluster.heal_link(one, other)),
        5 => cluster.hand_over(),
        6 => {
            let minutes = cluster.random_below(240) as i64 - 120;
            cluster.skew[node % MANAGERS] = minutes * 60_000_000_000;
        }
        7 => cluster.break_session(node),
        8 => cluster.edit(node),
        _ if !cluster.runs(node) => cluster.restart(node),
        _ => {}
    }
}

#[test]
fn wishes_become_roles() {
    println!("managers, workers   wishes   until all came true");
    seeds(1, |seed| {
        for (managers, workers) in [(1, 2), (3, 4), (5, 2)] {
            let mut took = Vec::new();
            let mut roles = Roles::new(seed, managers, workers);
            for _ in 0..20 {
                let machine = roles.random_below(managers + workers);
                let role = if roles.random_below(2) == 0 { Role::Manager } else { Role::Worker };
                roles.wish(machine, role);
                let done = roles.run_until(seconds(10), |roles| roles.unfulfilled().is_empty());
                took.push(done.unwrap_or_else(|| panic!("after 10 s: {:?}", roles.unfulfilled())));
            }
            let took = Times::new(took);
            println!("{managers:>8}, {workers:>7}   {}", took.line());
            assert!(took.worst() <= seconds(4), "{:?}", took.worst());
        }
    });
}

#[test]
fn no_history_loses_the_group() {
    seeds(30, |seed| {
        for (managers, workers) in [(1, 3), (3, 3), (5, 3)] {
            let mut roles = Roles::new(seed, managers, workers);
            roles.refused_percent = 10.0;
            roles.late_percent = 15.0;
            let mut happened = [0; 8];
            for _ in 0..150 {
                happened[role_event(&mut roles)] += 1;
                let wait = roles.random_below(2_500) as u64;
                roles.run(ms(wait));
            }
            roles.refused_percent = 0.0;
            roles.late_percent = 0.0;
            let gone = |roles: &Roles| (0..roles.machines.len()).find(|machine| !roles.machines[*machine].up);
            while let Some(machine) = gone(&roles) {
                roles.restart(machine, false);
            }
            // A change that came through after its step gave up is only seen by the next full pass.
            let took = roles.run_until(seconds(120), |roles| roles.unfulfilled().is_empty());
            assert!(took.is_some(), "{managers}, {workers}: {:#?}", roles.unfulfilled());
            let done = roles.steps.0 - roles.steps.1;
            assert!(done >= 10, "too little happened to show anything: {:?} {happened:?}", roles.steps);
        }
    });
}

/// Something that people or machines do, and of which kind it was: 0 when nothing came of it.
fn role_event(roles: &mut Roles) -> usize {
    let machine = roles.random_below(roles.machines.len());
    let kind = roles.random_below(12);
    let came_of_it = match kind {
        0..=2 => roles.wish(machine, Role::Manager),
        3..=5 => roles.wish(machine, Role::Worker),
        6 if roles.machines[machine].up => {
            roles.crash(machine);
            true
        }
        7 | 8 => {
            let gone = (0..roles.machines.len()).find(|machine| !roles.machines[*machine].up);
            gone.into_iter().for_each(|machine| roles.restart(machine, kind == 8));
            gone.is_some()
        }
        9 if roles.is_leader(machine) => {
            roles.lose_leader();
            true
        }
        10 if roles.machines.len() < 14 => {
            roles.join(if machine < 4 { Role::Manager } else { Role::Worker });
            true
        }
        11 => roles.remove(machine),
        _ => false,
    };
    match kind {
        _ if !came_of_it => 0,
        0..=2 => 1,
        3..=5 => 2,
        _ => kind.min(9) - 3,
    }
}
