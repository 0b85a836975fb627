//! Rules of assignments: a node that applies every update has what the tables say, and its digest agrees.

use super::*;
use common::limits::ASSIGNMENT_PAYLOAD_BYTES_MAX;
use common::object::container::{Driver, FileReference};
use common::object::payload::{PayloadSpec, PayloadVersion};
use common::object::sensitive::SensitiveBytes;
use common::object::{Payload, PayloadId, PayloadKind, Service, ServiceSpec, Slot};
use common::time::Timestamp;
use common::wire::assignment::digest;
use proptest::prelude::*;

const NODE: NodeId = NodeId(7);

/// A node that believes what it is told.
#[derive(Default)]
struct Listener {
    tasks: BTreeMap<TaskId, AssignedTask>,
    specs: BTreeMap<SpecKey, AssignedSpec>,
    payloads: BTreeMap<PayloadKey, AssignedPayload>,
    withheld: BTreeMap<PayloadKey, String>,
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
            update.payloads_removed.iter().for_each(|key| drop(self.payloads.remove(key)));
            let payloads = update.payloads.into_iter();
            self.payloads.extend(payloads.map(|payload| ((payload.id, payload.version), payload)));
            let used: BTreeSet<SpecKey> = self.tasks.values().map(|task| (task.service, task.spec)).collect();
            assert!(used.iter().all(|key| self.specs.contains_key(key)), "a task comes with its spec");
            self.specs.retain(|key, _| used.contains(key));
            self.withheld = update.withheld;
            if !update.more {
                assert_eq!(update.digest, digest(self.tasks.values(), self.payloads.keys().copied()));
            }
        }
    }
}

fn reference(id: u128, version: u64, refresh: Option<&str>) -> FileReference {
    FileReference {
        id: PayloadId(id).to_string(),
        target: Some("file".into()),
        version,
        refresh: refresh.map(String::from),
        ..FileReference::default()
    }
}

fn put_payload(tables: &mut Tables, id: u128, versions: u64, bytes: usize) {
    let spec = PayloadSpec { name: format!("p{id}"), ..PayloadSpec::default() };
    let data = || SensitiveBytes::new(vec![7; bytes]);
    let mut payload = Payload::new(PayloadId(id), PayloadKind::Secret, spec, data(), Timestamp(1));
    payload.versions.extend((2..=versions).map(|number| PayloadVersion {
        number,
        created_at: Timestamp(number),
        data: data(),
    }));
    tables.set_payload(payload.id, Some(Arc::new(payload)));
}

/// A secret whose value a driver has.
fn put_driven(tables: &mut Tables, id: u128) {
    let driver = Driver { name: "vault".into(), ..Driver::default() };
    let spec = PayloadSpec { name: format!("p{id}"), driver: Some(driver), ..PayloadSpec::default() };
    let none = SensitiveBytes::new(Vec::new());
    let payload = Payload::new(PayloadId(id), PayloadKind::Secret, spec, none, Timestamp(1));
    tables.set_payload(payload.id, Some(Arc::new(payload)));
}

/// Service 1 uses version 1 of payload 1, service 2 the newest of it, service 3 both payload 2 and none that is there.
fn tables(services: u128) -> Tables {
    let mut tables = Tables::default();
    put_payload(&mut tables, 1, 2, 10);
    put_payload(&mut tables, 2, 1, 10);
    for id in 1..=services {
        let mut spec = ServiceSpec { name: format!("s{id}"), ..ServiceSpec::default() };
        let task = &mut spec.task;
        match id {
            1 => task.container.secrets = vec![reference(1, 1, None)],
            2 => task.container.configs = vec![reference(1, 1, Some("SIGHUP"))],
            _ => task.container.secrets = vec![reference(2, 1, None), reference(9, 1, None)],
        }
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

/// Payloads by their numbers and versions.
type Versions = Vec<(u128, u64)>;

/// What was told of payloads: those added, those taken back.
fn payloads(updates: &[AssignmentUpdate]) -> (Versions, Versions) {
    let added = updates.iter().flat_map(|update| &update.payloads).map(|one| (one.id.0, one.version));
    let removed =
        updates.iter().flat_map(|update| &update.payloads_removed).map(|(id, version)| (id.0, *version));
    (added.collect(), removed.collect())
}

#[test]
fn a_value_comes_with_its_first_user_and_goes_with_the_last() {
    let mut tables = tables(3);
    let mut told = Told::default();
    // The services of tasks 3 and 6 are the first, which uses version 1.
    put(&mut tables, 3, |task| task.node = Some(NodeId(8)));
    put(&mut tables, 6, |task| task.status.state = TaskState::Pending);
    assert_eq!(payloads(&told.update(&tables, NODE)), (vec![], vec![]), "other nodes' values stay away");
    put(&mut tables, 3, |_| {});
    put(&mut tables, 6, |_| {});
    assert_eq!(payloads(&told.update(&tables, NODE)), (vec![(1, 1)], vec![]), "once");
    put(&mut tables, 3, |task| task.desired = TaskState::Shutdown);
    assert_eq!(payloads(&told.update(&tables, NODE)), (vec![], vec![]), "there is another user");
    put(&mut tables, 6, |task| task.status.state = TaskState::Failed);
    assert_eq!(payloads(&told.update(&tables, NODE)), (vec![], vec![(1, 1)]), "it has ended");
}

#[test]
fn a_reference_that_refreshes_has_the_newest_version_and_others_have_theirs() {
    let mut tables = tables(3);
    let mut told = Told::default();
    put(&mut tables, 3, |_| {});
    put(&mut tables, 4, |_| {});
    assert_eq!(payloads(&told.update(&tables, NODE)).0, [(1, 1), (1, 2)]);
    put_payload(&mut tables, 1, 3, 10);
    assert_eq!(payloads(&told.update(&tables, NODE)), (vec![(1, 3)], vec![(1, 2)]));
    assert_eq!(payloads::users(&tables, PayloadId(1)), [NODE].into());
    assert!(payloads::users(&tables, PayloadId(2)).is_empty());
}

#[test]
fn large_values_come_in_parts_and_before_their_tasks() {
    let mut tables = tables(3);
    put_payload(&mut tables, 1, 2, ASSIGNMENT_PAYLOAD_BYTES_MAX);
    put_payload(&mut tables, 2, 1, ASSIGNMENT_PAYLOAD_BYTES_MAX);
    (0..3).for_each(|id| put(&mut tables, id, |_| {}));
    let updates = Told::default().update(&tables, NODE);
    let shape: Vec<_> =
        updates.iter().map(|update| (update.payloads.len(), update.tasks.len(), update.more)).collect();
    assert_eq!(shape, [(1, 0, true), (1, 0, true), (1, 3, false)]);
    let mut listener = Listener::default();
    listener.hear(updates);
    assert_eq!(listener.payloads.len(), 3);
}

/// Under which the node has the value of payload 1 for one of its tasks.
fn own(task: u128) -> PayloadKey {
    (PayloadId(1).of_task(TaskId(task)), 1)
}

/// For whom drivers are to be asked, and in which round.
fn asked(told: &Told, tables: &Tables) -> Vec<(u64, PayloadKey)> {
    told.questions(tables, NODE).into_keys().collect()
}

#[test]
fn a_driver_is_asked_for_each_task_and_its_value_follows_the_task() {
    let mut tables = tables(3);
    put_driven(&mut tables, 1);
    let (mut told, mut listener) = (Told::default(), Listener::default());
    let value = |text: &str| SensitiveBytes::new(text.into());
    put(&mut tables, 3, |_| {});
    put(&mut tables, 6, |_| {});
    put(&mut tables, 9, |task| task.node = Some(NodeId(8)));
    put(&mut tables, 12, |task| task.status.state = TaskState::Pending);
    listener.hear(told.update(&tables, NODE));
    assert_eq!((listener.tasks.len(), listener.payloads.len()), (2, 0), "the tasks do not wait here");
    let questions = told.questions(&tables, NODE);
    assert_eq!(questions.keys().copied().collect::<BTreeSet<_>>(), [(0, own(3)), (0, own(6))].into());
    let question = &questions[&(0, own(3))];
    assert_eq!((question.driver.as_str(), question.request.secret_name.as_str()), ("vault", "p1"));
    assert_eq!(question.request.task_id, TaskId(3).to_string());

    told.answered(own(3), Err("away".into()));
    told.answered(own(6), Ok(value("six")));
    assert_eq!(asked(&told, &tables), [(0, own(3))]);
    listener.hear(told.update(&tables, NODE));
    assert_eq!(listener.payloads.keys().copied().collect::<Vec<_>>(), [own(6)]);
    assert_eq!(listener.withheld, [(own(3), "away".to_string())].into());
    assert!(!format!("{told:?}").contains("six"));
    told.answered(own(3), Err("away".into()));
    assert!(told.update(&tables, NODE).is_empty(), "nothing new");
    told.answered(own(3), Err("late".into()));
    listener.hear(told.update(&tables, NODE));
    assert_eq!(listener.withheld[&own(3)], "late");
    told.answered(own(3), Ok(value("three")));
    listener.hear(told.update(&tables, NODE));
    let data = |task| listener.payloads[&own(task)].data.reveal();
    assert_eq!((data(3), data(6), listener.withheld.len()), (&b"three"[..], &b"six"[..], 0));
    assert!(asked(&told, &tables).is_empty() && told.given.is_empty(), "told and forgotten");

    // A node that begins anew has it asked for again, but not for what runs.
    put(&mut tables, 3, |task| task.status.state = TaskState::Running);
    assert!(told.update(&tables, NODE).is_empty(), "it keeps what it has");
    listener.hear(told.everything(&tables, NODE));
    assert_eq!((asked(&told, &tables), listener.payloads.len()), (vec![(1, own(6))], 0));
    told.answered(own(6), Ok(value("six")));
    listener.hear(told.update(&tables, NODE));
    put(&mut tables, 6, |task| task.status.state = TaskState::Failed);
    assert_eq!(told.update(&tables, NODE)[0].payloads_removed, [own(6)]);
}

#[test]
fn what_a_driver_says_too_late_is_dropped() {
    let mut tables = tables(3);
    put_driven(&mut tables, 1);
    let mut told = Told::default();
    put(&mut tables, 3, |_| {});
    told.update(&tables, NODE);
    put(&mut tables, 3, |task| task.desired = TaskState::Shutdown);
    told.answered(own(3), Ok(SensitiveBytes::new(vec![7])));
    let updates = told.update(&tables, NODE);
    assert!(updates.iter().all(|update| update.payloads.is_empty()) && told.given.is_empty());
    told.answered(own(3), Err("away".into()));
    assert!(told.update(&tables, NODE).is_empty() && told.refused.is_empty());
}

#[test]
fn a_task_that_reads_its_files_again_has_the_value_while_it_runs() {
    let mut tables = tables(3);
    put_driven(&mut tables, 1);
    let mut told = Told::default();
    // Of the service that refreshes.
    put(&mut tables, 1, |task| task.status.state = TaskState::Running);
    told.update(&tables, NODE);
    assert_eq!(asked(&told, &tables), [(0, own(1))]);
}

proptest! {
    /// Whatever happens to the tables between updates, and however often a node starts anew, it ends with what
    /// they say.
    #[test]
    fn a_node_ends_with_what_the_tables_say(
        steps in prop::collection::vec((0u128..8, 0u8..7, any::<bool>(), 0u8..3), 1..40),
        is_driven: bool,
    ) {
        let mut tables = tables(3);
        if is_driven {
            put_driven(&mut tables, 2);
        }
        let mut told = Told::default();
        let mut listener = Listener::default();
        for (id, what, again, says) in steps {
            match what {
                0 => drop(tables.set_task(TaskId(id), None)),
                1 => put(&mut tables, id, |task| task.desired = TaskState::Shutdown),
                2 => put(&mut tables, id, |task| task.status.state = TaskState::Orphaned),
                3 => put(&mut tables, id, |task| task.spec = 2),
                4 => put_payload(&mut tables, if is_driven { 1 } else { id % 2 + 1 }, id as u64 + 1, 10),
                _ => put(&mut tables, id, |_| {}),
            }
            listener.hear(if again { told.everything(&tables, NODE) } else { told.update(&tables, NODE) });
            let wanted: BTreeMap<TaskId, AssignedTask> =
                tables.tasks_on_node(NODE).filter_map(|task| assigned(&tables, task)).collect();
            prop_assert_eq!(&listener.tasks, &wanted);
            let held: BTreeSet<PayloadKey> = listener.payloads.keys().copied().collect();
            let (used, driven) = (payloads::used(&tables, NODE), payloads::driven(&tables, NODE));
            prop_assert!(used.is_subset(&held));
            prop_assert!(held.difference(&used).all(|key| driven.contains_key(key)));
            let due = driven.iter().filter(|(key, driven)| driven.is_due && !held.contains(key));
            let due: Vec<PayloadKey> = due.map(|(key, _)| *key).collect();
            let asked: Vec<PayloadKey> = told.questions(&tables, NODE).into_keys().map(|(_, key)| key).collect();
            prop_assert_eq!(&asked, &due);
            for key in asked {
                match says {
                    0 => {}
                    1 => told.answered(key, Err("away".into())),
                    _ => told.answered(key, Ok(SensitiveBytes::new(vec![7]))),
                }
            }
            listener.hear(told.update(&tables, NODE));
            prop_assert!(says != 2 || told.questions(&tables, NODE).is_empty());
        }
    }
}
