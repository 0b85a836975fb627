//! Promises of gossip under crash, loss, partition and stalls, in virtual time.
//!
//! The usual number of seeds is small; `SWARM_SIM_SEEDS` asks for more. Times are virtual and so the same on any
//! machine. The bounds leave room above what was measured, but none above what is promised.

mod simulator;

use std::collections::BTreeSet;

use common::gossip::{Denied, Event, MemberState};
use common::time::{Monotonic, Timestamp};

use simulator::network::Network;
use simulator::table::Times;
use simulator::world::{MANAGERS, World};
use simulator::{ms, seconds, seeds};

/// The manager whose knowledge counts.
const LEADER: usize = 0;

/// Crashes nodes one after another. How long until the leader, and until the last node, knew each.
fn silence_is_noticed(mut world: World, crashes: usize, at_once: usize) -> (Times, Times) {
    let count = world.nodes.len();
    let (mut leader_knew, mut all_knew) = (Vec::new(), Vec::new());
    world.tell(LEADER, |membership, now| membership.lead(now, 1));
    world.run(seconds(3));
    for _ in 0..crashes {
        world.log.clear();
        let wait = ms(world.random_below(1_000) as u64);
        world.run(wait);
        let mut crashed = BTreeSet::new();
        while crashed.len() < at_once {
            crashed.insert(1 + world.random_below(count - 1));
        }
        crashed.iter().for_each(|index| world.crash(*index));
        let took = world.settle(seconds(20));
        assert!(took.is_some(), "all of {count} know within 20 s");
        for index in &crashed {
            let node = world.nodes[*index].id;
            let silent_since = world.nodes[*index].ended_at;
            let knew = |by| {
                world.noticed(by, |event| matches!(event, Event::Down(member) if member.id.node == node))
            };
            let knew: Vec<Monotonic> = world.running().filter_map(knew).collect();
            leader_knew.push(knew[0].since(silent_since));
            all_knew.push(knew.iter().max().expect("somebody runs").since(silent_since));
        }
        assert_eq!(world.false_alarms().len(), 0);
        crashed.iter().for_each(|index| world.restart(*index));
        let back = world.settle(seconds(10));
        assert!(back.is_some(), "the restarted are back within 10 s");
    }
    (Times::new(leader_knew), Times::new(all_knew))
}

#[test]
fn a_silent_node_is_noticed() {
    println!("nodes   leader knows: median, 90 %, worst        all know: median, 90 %, worst");
    #[rustfmt::skip]
    let cases = [ // nodes, crashes, at once
        (3, 60, 1),
        (5, 60, 1),
        (50, 40, 1),
        (200, 10, 3),
    ];
    seeds(1, |seed| {
        for (count, crashes, at_once) in cases {
            let (leader, all) = silence_is_noticed(World::converged(seed, count), crashes, at_once);
            println!("{count:>5}   {}   {}", leader.line(), all.line());
            assert!(leader.median() <= ms(1_150), "median of {count}: {:?}", leader.median());
            assert!(leader.worst() <= ms(1_700), "worst of {count}: {:?}", leader.worst());
            assert!(all.worst() <= ms(2_000), "all of {count}: {:?}", all.worst());
        }
    });
}

#[test]
fn a_thousand_nodes_find_each_other_and_notice_the_silent() {
    seeds(1, |seed| {
        let mut world = World::with_nodes(seed, 1_000);
        let took = world.settle(seconds(30)).expect("all see all within 30 s");
        let Network { sent, sent_bytes, .. } = world.network;
        println!("1,000 nodes found each other in {took:?} with {sent} datagrams, {} MiB", sent_bytes >> 20);
        assert!(world.false_alarms().is_empty());
        let (leader, all) = silence_is_noticed(world, 3, 8);
        println!("1,000 nodes: leader {}, all {}", leader.line(), all.line());
        assert!(leader.median() <= ms(1_150), "median {:?}", leader.median());
        assert!(leader.worst() <= ms(1_700), "worst {:?}", leader.worst());
        assert!(all.worst() <= ms(2_500), "all {:?}", all.worst());
    });
}

#[test]
fn many_that_fall_silent_at_once_are_noticed() {
    seeds(5, |seed| {
        for (count, crashed) in [(5, 2), (20, 12), (50, 30), (200, 60)] {
            let mut world = World::converged(seed, count);
            (count - crashed..count).for_each(|index| world.crash(index));
            let took = world.settle(seconds(20));
            println!("{crashed} of {count} at once: all know in {took:?}");
            assert!(took.is_some_and(|took| took <= ms(3_500)), "{crashed} of {count}: {took:?}");
            assert_eq!(world.false_alarms().len(), 0);
        }
    });
}

#[test]
fn nobody_alive_is_taken_for_dead() {
    seeds(1, |seed| {
        for (count, minutes) in [(3, 20), (5, 20), (20, 10), (100, 3)] {
            let mut world = World::converged(seed, count);
            world.network.loss_percent = 1.0;
            world.stall_at_random(seconds(2), ms(400));
            world.run(seconds(60) * minutes);
            let alarms = world.false_alarms();
            assert!(alarms.is_empty(), "{count} nodes: {} false alarms, first {:?}", alarms.len(), alarms[0]);
            assert!(world.settle(seconds(10)).is_some());
        }
    });
}

#[test]
fn a_machine_that_stops_as_a_whole_raises_no_alarm() {
    seeds(3, |seed| {
        let mut world = World::converged(seed, 5);
        world.network.loss_percent = 1.0;
        world.stall_at_random(seconds(1), ms(500));
        for _ in 0..200 {
            let (wait, stop) = (world.random_below(5_000), world.random_below(3_000));
            world.run(ms(wait as u64));
            (0..5).for_each(|index| world.pause(index, ms(stop as u64)));
            world.run(ms(stop as u64));
        }
        let alarms = world.false_alarms();
        assert!(alarms.is_empty(), "{} false alarms, first {:?}", alarms.len(), alarms[0]);
    });
}

#[test]
fn heavy_loss_is_survived() {
    seeds(1, |seed| {
        for count in [3, 20] {
            let mut world = World::converged(seed, count);
            world.network.loss_percent = 5.0;
            world.run(seconds(1_200));
            let alarms = world.false_alarms().len();
            println!("{count} nodes, 5 % loss, 20 min: {alarms} false alarms");
            assert_eq!(alarms, 0);
        }
    });
}

#[test]
fn loss_does_not_delay_the_verdict_much() {
    seeds(1, |seed| {
        let mut world = World::converged(seed, 5);
        world.network.loss_percent = 5.0;
        let mut took = Vec::new();
        for _ in 0..20 {
            let wait = ms(world.random_below(1_000) as u64);
            world.run(wait);
            world.crash(4);
            took.push(world.settle(seconds(10)).expect("noticed"));
            world.restart(4);
            world.settle(seconds(10)).expect("back");
        }
        let took = Times::new(took);
        println!("5 nodes, 5 % loss: all know {}", took.line());
        assert!(took.worst() <= ms(2_300), "{:?}", took.worst());
    });
}

#[test]
fn both_sides_of_a_healed_partition_merge() {
    seeds(2, |seed| {
        for (count, cut, length) in [(3, 1, 10), (5, 2, 60), (5, 1, 3_700), (50, 25, 120), (50, 1, 5_000)] {
            let mut world = World::converged(seed, count);
            world.network.cut(count - cut..count);
            world.run(seconds(length));
            for index in world.running() {
                let side = |index: usize| index >= count - cut;
                let seen = world.membership(index).members().filter(|member| member.state.is_active());
                assert!(seen.into_iter().all(|member| side(world.index_of(member.id.node)) == side(index)));
            }
            world.network.heal();
            let took = world.settle(seconds(20));
            println!("{cut} of {count} cut off for {length} s: merged in {took:?}");
            assert!(took.is_some_and(|took| took <= ms(4_500)), "{cut} of {count} for {length} s: {took:?}");
        }
    });
}

#[test]
fn a_goodbye_is_not_a_death() {
    seeds(3, |seed| {
        for count in [2, 3, 50] {
            let mut world = World::converged(seed, count);
            world.network.loss_percent = 1.0;
            let leaving = count - 1;
            let node = world.nodes[leaving].id;
            world.tell(leaving, |membership, now| membership.leave(now));
            world.run(ms(300));
            assert!(world.membership(leaving).has_left());
            world.crash(leaving);
            world.run(seconds(3));
            for index in 0..leaving {
                let seen = world.membership(index).member(node).expect("remembered");
                assert_eq!(seen.state, MemberState::Left, "{count} nodes, seen by {index}");
            }
            let deaths = world.log.iter().filter(|noticed| matches!(noticed.event, Event::Down(_)));
            assert_eq!(deaths.count(), 0, "{count} nodes");
            world.restart(leaving);
            assert!(world.settle(seconds(5)).is_some(), "and it may come back");
        }
    });
}

#[test]
fn a_restarted_node_is_back_at_once() {
    seeds(3, |seed| {
        for (count, away) in [(2, 100), (3, 100), (3, 5_000), (50, 100), (50, 5_000)] {
            let mut world = World::converged(seed, count);
            let node = count - 1;
            world.crash(node);
            world.run(ms(away));
            world.restart(node);
            let took = world.settle(seconds(10));
            assert!(took.is_some_and(|took| took <= ms(2_000)), "{count} nodes, away {away} ms: {took:?}");
            assert_eq!(world.false_alarms().len(), 0, "{count} nodes, away {away} ms");
        }
    });
}

#[test]
fn a_node_that_forgot_its_generation_is_told() {
    seeds(3, |seed| {
        let mut world = World::converged(seed, 5);
        world.crash(4);
        world.run(seconds(3));
        world.nodes[4].generation = 7;
        world.start(4);
        let took = world.settle(seconds(5));
        assert!(took.is_some(), "generations are {:?}", world.nodes[4].generation);
        assert!(world.nodes[4].generation > 1_000);
    });
}

#[test]
fn a_node_may_move_and_change_its_role() {
    seeds(3, |seed| {
        for count in [2, 5, 50] {
            let mut world = World::converged(seed, count);
            let addr = "10.9.9.9:2377".parse().unwrap();
            world.move_to(1, addr);
            world.tell(1, |membership, now| membership.change(now, false, addr));
            let took = world.settle(seconds(10));
            assert!(took.is_some_and(|took| took <= ms(2_500)), "{count} nodes: {took:?}");
            assert_eq!(world.false_alarms().len(), 0);
            let changed = |event: &Event| matches!(event, Event::Changed { member, before } if member.id.addr == addr && before.manager);
            assert!(world.noticed(LEADER, changed).is_some());

            // And with a restart at yet another address.
            let addr = "10.9.9.8:2377".parse().unwrap();
            world.crash(1);
            world.move_to(1, addr);
            world.restart(1);
            let took = world.settle(seconds(10));
            assert!(took.is_some_and(|took| took <= ms(2_500)), "{count} nodes, restarted: {took:?}");
        }
    });
}

#[test]
fn who_cannot_hear_does_not_judge() {
    seeds(5, |seed| {
        let mut world = World::converged(seed, 20);
        world.network.deaf.insert(7);
        world.run(ms(2_500));
        let deaf = world.nodes[7].id;
        let victims = world.log.iter().filter_map(|noticed| match noticed.event {
            Event::Down(member) if member.id.node != deaf && noticed.by != 7 => Some(member),
            _ => None,
        });
        assert_eq!(victims.count(), 0, "the deaf node is taken for dead, nobody else");
        world.network.deaf.clear();
        assert!(world.settle(seconds(10)).is_some());
    });
}

#[test]
fn a_frozen_node_comes_back_without_accusing_anybody() {
    seeds(5, |seed| {
        for count in [3, 20] {
            let mut world = World::converged(seed, count);
            let frozen = world.nodes[2].id;
            world.pause(2, seconds(20));
            world.run(seconds(20));
            let took = world.settle(seconds(5));
            assert!(took.is_some_and(|took| took <= ms(2_000)), "{count} nodes: {took:?}");
            let accused = world.false_alarms().into_iter().filter(|noticed| match noticed.event {
                Event::Down(member) => member.id.node != frozen,
                _ => false,
            });
            assert_eq!(accused.count(), 0, "{count} nodes");
        }
    });
}

#[test]
fn everybody_learns_who_leads_and_who_is_refused() {
    seeds(2, |seed| {
        for count in [3, 50, 300] {
            let mut world = World::converged(seed, count);
            world.network.loss_percent = 1.0;
            let hinted = |world: &World, node: usize| {
                let hint = world.membership(node).leader();
                hint.is_some_and(|hint| hint.node == world.nodes[1].id && hint.term == 5)
            };
            world.tell(0, |membership, now| membership.lead(now, 4));
            world.run(seconds(1));
            world.tell(0, |membership, _| membership.stop_leading());
            world.tell(1, |membership, now| membership.lead(now, 5));
            let took = world.run_until(seconds(5), |world| world.running().all(|index| hinted(world, index)));
            println!("{count} nodes: all know the leader in {took:?}");
            assert!(took.is_some_and(|took| took <= ms(1_000)), "{count} nodes: {took:?}");

            let refused = count - 1;
            let denied = Denied { node: world.nodes[refused].id, until: Timestamp(1) };
            world.tell(LEADER, |membership, now| membership.deny(now, denied));
            let knows = |world: &World, by: usize| {
                world.noticed(by, |event| *event == Event::Denied(denied)).is_some()
            };
            let took = world.run_until(seconds(5), |world| (0..refused).all(|index| knows(world, index)));
            assert!(took.is_some_and(|took| took <= ms(2_500)), "{count} nodes: {took:?}");
            world.run(seconds(5));
            for index in 0..refused {
                assert_eq!(world.membership(index).member(denied.node), None, "seen by {index}");
            }

            let late = world.add(false);
            world.start(late);
            let knows_all = |world: &World| hinted(world, late) && knows(world, late);
            let took = world.run_until(seconds(40), knows_all);
            assert!(took.is_some(), "{count} nodes: a late one learns all");
        }
    });
}

#[test]
fn workers_are_not_believed_about_refusals() {
    seeds(1, |seed| {
        let mut world = World::converged(seed, 6);
        let victim = world.nodes[0].id;
        world.tell(MANAGERS, |membership, now| {
            membership.deny(now, Denied { node: victim, until: Timestamp(1) })
        });
        world.run(seconds(30));
        let believers = world
            .log
            .iter()
            .filter(|noticed| noticed.by != MANAGERS && matches!(noticed.event, Event::Denied(_)));
        assert_eq!(believers.count(), 0);
    });
}

#[test]
fn ghosts_are_forgotten() {
    seeds(1, |seed| {
        let mut world = World::converged(seed, 5);
        let ghost = world.nodes[4].id;
        world.crash(4);
        world.run(seconds(3_000));
        assert!(world.membership(0).member(ghost).is_some());
        world.run(seconds(700));
        for index in world.running() {
            assert_eq!(world.membership(index).member(ghost), None);
        }
        world.restart(4);
        assert!(world.settle(seconds(5)).is_some());
    });
}

#[test]
fn a_quiet_cluster_costs_little() {
    seeds(1, |seed| {
        let mut world = World::converged(seed, 50);
        world.run(seconds(30));
        let (sent, bytes) = (world.network.sent, world.network.sent_bytes);
        world.run(seconds(60));
        let per_node = |total: u64| total as f64 / 60.0 / 50.0;
        let (sent, bytes) = (per_node(world.network.sent - sent), per_node(world.network.sent_bytes - bytes));
        println!("50 nodes at rest: {sent:.1} datagrams and {bytes:.0} bytes per second and node");
        assert!(sent <= 9.0 && bytes <= 900.0, "{sent} datagrams, {bytes} bytes");
    });
}
