//! Which of the nodes that may take a task gets it, and how tasks spread.

use super::*;

#[test]
fn tasks_spread_evenly_and_equal_nodes_are_taken_in_order() {
    let mut world = World::with_nodes(3);
    world.service(1, |_| {});
    let tasks = world.tasks(1, 7);
    world.place();
    let nodes: Vec<_> = tasks.iter().filter_map(|task| world.node_of(*task)).collect();
    assert_eq!(nodes, [1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn fewer_tasks_of_the_service_come_before_fewer_tasks_at_all() {
    let mut world = World::with_nodes(3);
    world.service(1, |_| {});
    world.service(2, |_| {});
    world.task_in(1, Slot::Node(NodeId(1)));
    for _ in 1..3 {
        world.task_in(2, Slot::Node(NodeId(2)));
    }
    for _ in 1..4 {
        world.task_in(2, Slot::Node(NodeId(3)));
    }
    world.place();
    let tasks = world.tasks(1, 3);
    world.place();
    let nodes: Vec<_> = tasks.iter().filter_map(|task| world.node_of(*task)).collect();
    assert_eq!(nodes, [2, 3, 1], "none of the service and fewest in all; none of it; one of it");
}

#[test]
fn tasks_that_are_to_stop_do_not_count_but_hold_their_resources() {
    let mut world = World::with_nodes(2);
    world.service(1, |spec| spec.task.resources.reservations.memory_bytes = 600 * MIB);
    let [first, second] = [world.task(1, 1), world.task(1, 2)];
    world.place();
    assert_eq!([world.node_of(first), world.node_of(second)], [Some(1), Some(2)]);
    world.change_task(first, |task| task.desired = TaskState::Shutdown);
    let next = world.task(1, 1);
    world.place();
    assert_eq!(world.error(next), "no suitable node (insufficient resources on 2 nodes)");
    world.ends(first, TaskState::Shutdown);
    world.place();
    assert_eq!(world.node_of(next), Some(1));
}

#[test]
fn five_failures_of_a_spec_in_five_minutes_speak_against_a_node() {
    for (failures, age, expected) in [
        (4, Duration::ZERO, 1),
        (5, Duration::ZERO, 2),
        (5, Duration::from_secs(299), 2),
        (5, Duration::from_secs(300), 1),
    ] {
        let mut world = World::with_nodes(2);
        world.service(1, |_| {});
        for slot in 0..failures {
            let task = world.task_in(1, Slot::Node(NodeId(1)));
            world.place();
            world.ends(task, if slot % 2 == 0 { TaskState::Failed } else { TaskState::Rejected });
            world.remove_task(task);
        }
        // Enough on the other node that it would come last but for the failures.
        for _ in 0..3 {
            world.task_in(1, Slot::Node(NodeId(2)));
        }
        world.place();
        world.later(age);
        let task = world.task(1, 1);
        world.place();
        assert_eq!(world.node_of(task), Some(expected), "{failures} failures, {age:?} ago");

        world.service(1, |spec| spec.task.force_update += 1);
        let task = world.task(1, 2);
        world.place();
        assert_eq!(world.node_of(task), Some(1), "a new spec starts anew");
    }
}

#[test]
fn a_failed_task_that_ended_by_itself_is_no_failure() {
    let mut world = World::with_nodes(2);
    world.service(1, |_| {});
    for _ in 0..9 {
        let task = world.task_in(1, Slot::Node(NodeId(1)));
        world.place();
        world.ends(task, TaskState::Complete);
    }
    let task = world.task(1, 1);
    world.place();
    assert_eq!(world.node_of(task), Some(1));
}

/// Six nodes: 1, 2, 3 in the east, 4 and 5 in the west, 6 without a zone; 1 and 4 in rack r, 2 and 3 in rack s.
fn zones(preferences: &[&str]) -> World {
    let mut world = World::with_nodes(6);
    let mut label = |key: &str, value: &str, nodes: &[u128]| {
        for id in nodes {
            world.node(*id, |node| drop(node.spec.labels.insert(key.into(), value.into())));
        }
    };
    label("zone", "east", &[1, 2, 3]);
    label("zone", "west", &[4, 5]);
    label("rack", "r", &[1, 4]);
    label("rack", "s", &[2, 3]);
    let spread_over: Vec<String> = preferences.iter().map(|text| (*text).into()).collect();
    world.service(1, |spec| spec.task.placement.spread_over = spread_over);
    world
}

#[test]
fn tasks_spread_over_values_of_a_label_first() {
    #[rustfmt::skip]
    let cases: [(&[&str], u64, [usize; 6]); 6] = [ // preferences, tasks, on each node
        (&[],                                          6, [1, 1, 1, 1, 1, 1]),
        (&["node.labels.zone"],                        6, [1, 1, 0, 1, 1, 2]),
        (&["node.labels.zone"],                        7, [1, 1, 0, 1, 1, 3]), // of equal branches, the first by value: none
        (&["node.labels.zone", "node.labels.rack"],   12, [2, 1, 1, 2, 2, 4]),
        (&["engine.labels.zone"],                      6, [1, 1, 1, 1, 1, 1]),
        (&["not.a.label"],                             6, [1, 1, 1, 1, 1, 1]),
    ];
    for (preferences, tasks, expected) in cases {
        let mut world = zones(preferences);
        world.tasks(1, tasks);
        world.place();
        assert_eq!(world.counts(), expected, "{preferences:?}");
    }
}

#[test]
fn a_branch_without_room_is_passed_over() {
    let mut world = zones(&["node.labels.zone"]);
    world.node(6, |node| node.status.state = NodeState::Down);
    world.service(1, |spec| spec.task.placement.replicas_max_per_node = 2);
    world.tasks(1, 9);
    world.place();
    assert_eq!(world.counts(), [2, 2, 1, 2, 2, 0]);
    let late = world.tasks(1, 2)[1];
    world.place();
    assert_eq!(world.counts(), [2, 2, 2, 2, 2, 0]);
    assert_eq!(
        world.error(late),
        "no suitable node (max replicas per node limit exceed; 1 node not available for new tasks)"
    );
}

#[test]
fn what_already_runs_in_a_branch_counts_to_it_also_on_a_node_that_takes_no_more() {
    let mut world = zones(&["node.labels.zone"]);
    for _ in 0..3 {
        world.task_in(1, Slot::Node(NodeId(4)));
    }
    world.place();
    world.node(4, |node| node.spec.availability = Availability::Pause);
    world.tasks(1, 6);
    world.place();
    assert_eq!(world.counts(), [1, 1, 1, 3, 0, 3]);
}

#[test]
fn spreading_and_failures_go_together() {
    let mut world = zones(&["node.labels.zone"]);
    for _ in 0..5 {
        let task = world.task_in(1, Slot::Node(NodeId(4)));
        world.place();
        world.ends(task, TaskState::Failed);
    }
    world.tasks(1, 6);
    world.place();
    assert_eq!(world.counts(), [1, 1, 0, 0, 2, 2]);
}
