//! Which tasks have to leave a node that changed.

use super::*;

fn leaving(world: &World, node: u128) -> Vec<(TaskId, Filter)> {
    let node = world.tables.nodes.get(NodeId(node)).expect("it is there");
    misfits(&world.tables, node).into_iter().map(|(task, refusal)| (task, refusal.filter)).collect()
}

#[test]
fn a_task_leaves_a_node_that_its_services_constraints_no_longer_name() {
    let mut world = World::with_nodes(1);
    world.service(1, |spec| spec.task.placement.constraints = vec!["node.labels.zone != a".into()]);
    let task = world.task(1, 1);
    world.place();
    assert_eq!(leaving(&world, 1), []);
    world.node(1, |node| drop(node.spec.labels.insert("zone".into(), "a".into())));
    assert_eq!(leaving(&world, 1), [(task, Filter::Constraints)]);
    let node = world.tables.nodes.get(NodeId(1)).expect("it is there");
    let spec = world.tables.services.get(ServiceId(1)).expect("it is there").spec();
    let refusal = fits(node, spec).expect_err("zone a");
    assert_eq!(refusal.to_string(), "scheduling constraints not satisfied: node.labels.zone != a");

    for availability in [Availability::Pause, Availability::Drain] {
        let mut world = world.clone();
        world.node(1, |node| node.spec.availability = availability);
        assert_eq!(leaving(&world, 1), [], "{availability} is for others to see to");
    }
    // The current spec decides, also about a task that has an older one.
    world.service(1, |spec| spec.task.placement.constraints.clear());
    assert_eq!(leaving(&world, 1), []);
    assert!(fits(world.tables.nodes.get(NodeId(1)).expect("it is there"), &ServiceSpec::default()).is_ok());
}

#[test]
fn the_newest_tasks_leave_a_node_that_shrank() {
    let mut world = World::with_nodes(1);
    world.service(1, |spec| spec.task.resources.reservations.memory_bytes = 400 * MIB);
    world.service(2, |_| {});
    let old = world.task(1, 1);
    world.place();
    world.later(Duration::from_secs(1));
    let new = world.task(1, 2);
    world.task(2, 1);
    world.place();
    assert_eq!(leaving(&world, 1), []);
    world.node(1, |node| described(node).resources.memory_bytes = 500 * MIB);
    assert_eq!(leaving(&world, 1), [(new, Filter::Resources)]);
    world.change_task(old, |task| task.desired = TaskState::Shutdown);
    assert_eq!(leaving(&world, 1), [], "what is to stop makes room");
}

#[test]
fn a_task_leaves_when_what_it_was_given_by_name_is_gone() {
    let mut world = World::with_nodes(1);
    world.node(1, |node| {
        described(node).resources.generic.insert("gpu".into(), names(&["a", "b"]));
    });
    world.service(1, |spec| {
        spec.task.resources.reservations.generic.insert("gpu".into(), 1);
    });
    let tasks = world.tasks(1, 2);
    world.place();
    assert_eq!(leaving(&world, 1), []);
    world.node(1, |node| {
        described(node).resources.generic.insert("gpu".into(), names(&["b", "c"]));
    });
    assert_eq!(leaving(&world, 1), [(tasks[0], Filter::Resources)]);
}
