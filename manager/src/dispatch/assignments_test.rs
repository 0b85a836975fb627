//! Rules of assignments: a node that applies every update has what the tables say, and its digest agrees.

use super::*;
use common::object::{Service, ServiceSpec, Slot};
use common::wire::assignment::digest;
use proptest::prelude::*;

const NODE: NodeId = NodeId(7);

/// A node that believes what it is told.
#[derive(Default)]
struct Listener {
    tasks: BTreeMap<TaskId, AssignedTask>,
    specs: BTreeMap<SpecKey, AssignedSpec>,
    sequence: u64,
}

impl Listener {
    fn hear(&mut self, updates: Vec<AssignmentUpdate>) {
        for update in updates {
            if update.applies_to == 0 {
                *self = Self::default();
            }
            assert_eq!(update.applies_to, self.sequence, "no gap");
            self.sequence = update.results_in;
            self.specs.extend(update.specs.into_iter().map(|spec| ((spec.service, spec.number), spec)));
            self.tasks.extend(update.tasks.into_iter().map(|task| (task.id, task)));
            update.removed.iter().for_each(|task| drop(self.tasks.remove(task)));
            let used: BTreeSet<SpecKey> = self.tasks.values().map(|task| (task.service, task.spec)).collect();
            assert!(used.iter().all(|key| self.specs.contains_key(key)), "a task comes with its spec");
            self.specs.retain(|key, _| used.contains(key));
            if !update.more {
                assert_eq!(update.digest, digest(self.tasks.values()));
            }
        }
    }
}

fn tables(services: u128) -> Tables {
    let mut tables = Tables::default();
    for id in 1..=services {
        let spec = ServiceSpec { name: format!("s{id}"), ..ServiceSpec::default() };
        let mut service = Service::new(ServiceId(id), spec.clone(), Default::default());
        service.replace_spec(Arc::new(spec), Default::default());
        tables.set_service(ServiceId(id), Some(Arc::new(service)));
    }
    tables
}

fn put(tables: &mut Tables, id: u128, change: impl FnOnce(&mut Task)) {
    let service = ServiceId(id % 3 + 1);
    let mut task = Task::new(TaskId(id), service, Slot::Number(1), 1, TaskState::Running);
    task.node = Some(NODE);
    task.status.state = TaskState::Assigned;
    change(&mut task);
    tables.set_task(task.id, Some(Arc::new(task)));
}

#[test]
fn what_a_node_is_told_of() {
    #[rustfmt::skip]
    let cases: [(TaskState, bool); 6] = [ // seen, told
        (TaskState::Pending,  false),
        (TaskState::Assigned, true),
        (TaskState::Running,  true),
        (TaskState::Failed,   true),
        (TaskState::Shutdown, true),
        (TaskState::Orphaned, false),
    ];
    for (state, told) in cases {
        let mut tables = tables(3);
        put(&mut tables, 1, |task| task.status.state = state);
        let updates = Told::default().update(&tables, NODE);
        assert_eq!(updates[0].tasks.len() == 1, told, "{state}");
        assert_eq!(updates[0].specs.len() == 1, told, "{state}");
    }
}

#[test]
fn only_what_is_wanted_makes_news() {
    let mut tables = tables(3);
    let mut told = Told::default();
    assert_eq!(told.update(&tables, NODE).len(), 1, "the first is sent even when empty");
    assert!(told.update(&tables, NODE).is_empty());
    put(&mut tables, 1, |_| {});
    assert_eq!(told.update(&tables, NODE)[0].tasks.len(), 1);
    put(&mut tables, 1, |task| task.status.state = TaskState::Running);
    assert!(told.update(&tables, NODE).is_empty(), "a node knows what it reported");
    put(&mut tables, 1, |task| task.desired = TaskState::Shutdown);
    let updates = told.update(&tables, NODE);
    assert_eq!((updates[0].tasks.len(), updates[0].specs.len()), (1, 0), "the spec is there");
    tables.set_task(TaskId(1), None);
    assert_eq!(told.update(&tables, NODE)[0].removed, [TaskId(1)]);
}

#[test]
fn many_tasks_come_in_parts() {
    let mut tables = tables(3);
    let count = ASSIGNMENT_TASKS_MAX * 2 + 1;
    (0..count as u128).for_each(|id| put(&mut tables, id, |_| {}));
    let updates = Told::default().update(&tables, NODE);
    let more: Vec<bool> = updates.iter().map(|update| update.more).collect();
    assert_eq!(more, [true, true, false]);
    let specs: usize = updates.iter().map(|update| update.specs.len()).sum();
    assert_eq!(specs, 3, "each spec once");
    let mut listener = Listener::default();
    listener.hear(updates);
    assert_eq!(listener.tasks.len(), count);
}

proptest! {
    /// Whatever happens to the tables between updates, and however often a node starts anew, it ends with what
    /// they say.
    #[test]
    fn a_node_ends_with_what_the_tables_say(
        steps in prop::collection::vec((0u128..8, 0u8..6, any::<bool>()), 1..40),
    ) {
        let mut tables = tables(3);
        let mut told = Told::default();
        let mut listener = Listener::default();
        for (id, what, again) in steps {
            match what {
                0 => drop(tables.set_task(TaskId(id), None)),
                1 => put(&mut tables, id, |task| task.desired = TaskState::Shutdown),
                2 => put(&mut tables, id, |task| task.status.state = TaskState::Orphaned),
                3 => put(&mut tables, id, |task| task.spec = 2),
                _ => put(&mut tables, id, |_| {}),
            }
            listener.hear(if again { told.everything(&tables, NODE) } else { told.update(&tables, NODE) });
            let wanted: BTreeMap<TaskId, AssignedTask> =
                tables.tasks_on_node(NODE).filter_map(|task| assigned(&tables, task)).collect();
            prop_assert_eq!(&listener.tasks, &wanted);
        }
    }
}
