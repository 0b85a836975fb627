//! The board keeps up with the tables, and a pass looks at what changed and nothing else.

use super::*;
use std::collections::BTreeSet;

#[test]
fn a_pass_with_nothing_new_does_nothing() {
    let mut world = World::with_nodes(2);
    world.service(1, |spec| spec.task.resources.reservations.memory_bytes = 600 * MIB);
    world.tasks(1, 3);
    assert_eq!(world.place().waiting.len(), 1);
    // Takes in that what was decided has been written.
    assert_eq!(world.place(), Placed::default());
    assert!(world.board.is_quiet());
    assert_eq!(world.place(), Placed::default());
}

type Happening = fn(&mut World, TaskId);

#[test]
fn what_waits_is_placed_when_there_is_room_or_a_node_or_a_label() {
    #[rustfmt::skip]
    let cases: [(&str, Happening); 5] = [
        ("a task ended",      |world, first| world.ends(first, TaskState::Failed)),
        ("a task is gone",    |world, first| world.remove_task(first)),
        ("a node came",       |world, _| { world.node(9, |node| drop(node.spec.labels.insert("zone".into(), "a".into()))); }),
        ("a node got a label", |world, _| world.node(2, |node| drop(node.spec.labels.insert("zone".into(), "a".into())))),
        ("a node grew",       |world, _| world.node(1, |node| described(node).resources.memory_bytes = 2048 * MIB)),
    ];
    for (what, change) in cases {
        let mut world = World::with_nodes(2);
        world.node(1, |node| drop(node.spec.labels.insert("zone".into(), "a".into())));
        world.service(1, |spec| {
            spec.task.resources.reservations.memory_bytes = 600 * MIB;
            spec.task.placement.constraints = vec!["node.labels.zone == a".into()];
        });
        let [first, second] = [world.task(1, 1), world.task(1, 2)];
        world.place();
        assert_eq!(
            world.error(second),
            "no suitable node (insufficient resources on 1 node; scheduling constraints not satisfied on 1 node)"
        );
        change(&mut world, first);
        assert_eq!(world.place().assigned.len(), 1, "{what}");
        assert!(world.node_of(second).is_some(), "{what}");
    }
}

#[test]
fn a_task_for_one_node_waits_for_that_node() {
    let mut world = World::with_nodes(2);
    world.node(1, |node| node.spec.availability = Availability::Pause);
    world.service(1, |_| {});
    let task = world.task_in(1, Slot::Node(NodeId(1)));
    let of_no_node = world.task_in(1, Slot::Node(NodeId(7)));
    world.place();
    assert_eq!(world.error(task), "1 node not available for new tasks");
    assert_eq!(world.error(of_no_node), "1 node not available for new tasks");
    assert_eq!(world.place(), Placed::default());
    world.node(1, |node| node.spec.availability = Availability::Active);
    world.place();
    assert_eq!(world.tables.tasks.get(task).expect("it is there").status.state, TaskState::Assigned);
    world.node(7, |_| {});
    assert_eq!(world.place().assigned.len(), 1, "the node came");
}

#[test]
fn a_placement_that_was_not_written_is_put_right_by_syncing() {
    let mut world = World::with_nodes(2);
    world.service(1, |spec| spec.task.resources.reservations.memory_bytes = 600 * MIB);
    let tasks = world.tasks(1, 3);
    let decided = place(&world.tables, &mut world.board, world.now);
    assert_eq!((decided.assigned.len(), decided.waiting.len()), (2, 1));
    for task in &tasks {
        world.board.sync_task(&world.tables, *task);
    }
    assert_eq!(state(&world.board, &world), state(&Board::new(&world.tables), &world));
    assert_eq!(world.place(), decided, "decided again, and the reason told again");
}

#[test]
fn a_reason_is_told_once_and_again_only_when_it_changes() {
    let mut world = World::with_nodes(1);
    world.service(1, |spec| spec.task.resources.reservations.memory_bytes = 600 * MIB);
    world.tasks(1, 3);
    assert_eq!(world.place().waiting.len(), 2);
    let newcomer = world.task(1, 9);
    let reason: Box<str> = "no suitable node (insufficient resources on 1 node)".into();
    assert_eq!(world.place().waiting, [(newcomer, reason)], "the others know");
    world.node(1, |node| node.spec.availability = Availability::Pause);
    let changed = world.place().waiting;
    assert_eq!(changed.len(), 3);
    assert!(
        changed
            .iter()
            .all(|(_, reason)| &**reason == "no suitable node (1 node not available for new tasks)")
    );
}

#[test]
fn a_changed_spec_is_another_group_and_a_removed_service_places_nothing() {
    let mut world = World::with_nodes(1);
    world.service(1, |spec| spec.task.placement.constraints = vec!["node.id == gone".into()]);
    let old = world.task(1, 1);
    world.place();
    world.service(1, |spec| spec.task.placement.constraints.clear());
    let new = world.task(1, 1);
    world.place();
    assert_eq!((world.node_of(old), world.node_of(new)), (None, Some(1)));
    world.change_task(old, |task| task.desired = TaskState::Shutdown);
    world.change_task(new, |task| task.desired = TaskState::Shutdown);
    assert_eq!(world.place(), Placed::default());
    assert_eq!(state(&world.board, &world), state(&Board::new(&world.tables), &world));
}

#[test]
fn needs_that_change_under_one_number_are_counted_anew() {
    let mut world = World::with_nodes(1);
    world.service(1, |spec| spec.task.resources.reservations.memory_bytes = 600 * MIB);
    world.tasks(1, 2);
    world.place();
    assert_eq!(world.counts(), [1]);
    let mut service = Service::clone(world.tables.services.get(ServiceId(1)).expect("it is there"));
    let mut spec = ServiceSpec::clone(service.spec());
    spec.task.resources.reservations.memory_bytes = 300 * MIB;
    service.current.spec = spec.into();
    world.write(Change::Service(Write::update(service)));
    world.board.sync_service(&world.tables, ServiceId(1));
    assert_eq!(state(&world.board, &world), state(&Board::new(&world.tables), &world));
    world.place();
    assert_eq!(world.counts(), [2]);
}

#[test]
fn a_removed_node_takes_nothing_and_its_tasks_are_forgotten_with_them() {
    let mut world = World::with_nodes(2);
    world.service(1, |_| {});
    let tasks = world.tasks(1, 2);
    world.place();
    world.remove_node(1);
    world.tasks(1, 2);
    world.place();
    assert_eq!(world.spread()[&2], 3);
    world.ends(tasks[0], TaskState::Orphaned);
    assert_eq!(state(&world.board, &world), state(&Board::new(&world.tables), &world));
    world.node(3, |_| {});
    let task = world.task(1, 5);
    world.place();
    assert_eq!(world.node_of(task), Some(3));
}

/// All that a board counts, in an order that does not depend on how it came about.
pub(super) fn state(board: &Board, world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    let ids: BTreeSet<NodeId> = world
        .tables
        .tasks
        .iter()
        .filter_map(|task| task.node)
        .chain(world.tables.nodes.iter().map(|node| node.id))
        .collect();
    for id in ids {
        match board.nodes.find(id) {
            Some((_, entry)) => lines.push(format!("{id:?} {:?} {:?}", entry.load, entry.pinned)),
            None => lines.push(format!("{id:?} unknown")),
        }
    }
    for service in world.tables.services.iter() {
        let number = board.service_number(service.id);
        let entry = number.and_then(|number| board.services.get(number));
        let mut counts: Vec<(NodeId, u32)> = entry
            .iter()
            .flat_map(|entry| entry.counts.iter().map(|(node, count)| (board.nodes.entry(*node).id, *count)))
            .collect();
        counts.sort_unstable();
        let groups = entry.iter().flat_map(|entry| &entry.groups);
        let waiting: BTreeSet<(u64, TaskId)> = groups
            .filter_map(|(spec, group)| Some((spec, *group, board.groups.get(*group)?)))
            .flat_map(|(spec, number, group)| {
                let waiting = group.queue.waiting.iter().map(|waiting| waiting.task);
                waiting.filter(move |task| board.is_queued(*task, number)).map(|task| (*spec, task))
            })
            .collect();
        lines.push(format!("{:?} {counts:?} {waiting:?}", service.id));
    }
    lines
}
