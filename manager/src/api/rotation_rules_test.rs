//! What a rotation writes, what it keeps, and what it refuses.

use common::object::container::{Driver, FileReference};
use common::object::payload::PayloadSpec;
use common::object::service::JobStatus;
use common::object::{PayloadKind, ServiceMode, Slot, Task, TaskId, TaskState};

use super::*;
use crate::store::{Proposal, Store};

const NOW: Timestamp = Timestamp(7);
const KEY: PayloadId = PayloadId(1);

struct World {
    store: Store,
}

impl World {
    fn new(bytes: usize) -> Self {
        let spec = PayloadSpec { name: "key".into(), ..PayloadSpec::default() };
        let key =
            Payload::new(KEY, PayloadKind::Config, spec, SensitiveBytes::new(vec![1; bytes]), Timestamp(1));
        let world = Self { store: Store::new() };
        world.put(vec![Change::Payload(Write::Create(key))]);
        world
    }

    fn put(&self, changes: Vec<Change>) {
        let index = self.store.snapshot().version.0 + 1;
        self.store.apply(index, &Proposal { id: index, at: NOW, changes }).expect("nothing against it");
    }

    fn service(&self, number: u128, name: &str, edit: impl FnOnce(&mut FileReference, &mut ServiceMode)) {
        let mut reference =
            FileReference { id: KEY.to_string(), name: "key".into(), version: 1, ..FileReference::default() };
        let mut spec = ServiceSpec { name: name.into(), ..ServiceSpec::default() };
        edit(&mut reference, &mut spec.mode);
        spec.task.container.configs = vec![reference];
        self.put(vec![Change::Service(Write::Create(Service::new(ServiceId(number), spec, NOW)))]);
    }

    fn key(&self) -> Arc<Payload> {
        self.store.snapshot().payloads.get(KEY).expect("there").clone()
    }

    fn rotate(&self, data: &[u8]) -> Result<Rotation, ApiError> {
        let data = SensitiveBytes::new(data.to_vec());
        let mut rotation = Rotation::default();
        while !rotation.whole {
            let (changes, next) = step(&self.store.snapshot(), &self.key(), &data, &rotation, NOW)?;
            if !changes.is_empty() {
                self.put(changes);
            }
            rotation = next;
        }
        Ok(rotation)
    }

    fn versions(&self) -> Vec<u64> {
        self.key().versions.iter().map(|version| version.number).collect()
    }

    fn get(&self, number: u128) -> Arc<Service> {
        self.store.snapshot().services.get(ServiceId(number)).expect("there").clone()
    }
}

#[test]
fn services_roll_and_those_that_are_refreshed_stay() {
    let world = World::new(1);
    world.service(1, "web", |_, _| ());
    world.service(2, "live", |reference, _| reference.refresh = Some("SIGHUP".into()));
    world.service(3, "job", |_, mode| {
        *mode = ServiceMode::ReplicatedJob { concurrent_max: 1, completions: 1 }
    });
    let rotation = world.rotate(b"new").expect("it is allowed");
    assert_eq!(rotation.number, 2);
    assert_eq!(rotation.rolled.values().map(String::as_str).collect::<Vec<_>>(), ["web", "job"]);
    let web = world.get(1);
    assert_eq!((web.spec().task.container.configs[0].version, web.previous), (2, Some(1)));
    let update = web.update.as_ref().expect("it is under way");
    assert_eq!((update.state, update.rotation), (UpdateState::Updating, true));
    assert_eq!(update.message, "rotation of config key to version 2");
    let live = world.get(2);
    assert_eq!((live.current.number, live.spec().task.container.configs[0].version), (1, 1));
    let job = world.get(3);
    let as_before = Some(JobStatus { iteration: 0, last_execution: NOW });
    assert_eq!((job.update.is_none(), job.job, job.current.number), (true, as_before, 2));

    let task = Task::new(TaskId(1), ServiceId(1), Slot::Number(1), 1, TaskState::Running);
    world.put(vec![Change::Task(Write::Create(task))]);
    let rows = history(&world.store.snapshot(), &world.key());
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.number, row.newest, row.bytes, row.services.join(" "), row.tasks))
        .collect();
    assert_eq!(rows, [(2, true, 3, "job live web".into(), 0), (1, false, 1, String::new(), 1)]);
}

#[test]
fn what_is_the_newest_already_only_brings_up_who_is_behind() {
    let world = World::new(1);
    world.service(1, "web", |_, _| ());
    world.rotate(b"new").expect("it is allowed");
    assert_eq!(world.rotate(b"new").expect("it is allowed").rolled.len(), 0);
    world.service(2, "late", |_, _| ());
    let again = world.rotate(b"new").expect("it is allowed");
    assert_eq!((again.number, again.rolled.len(), world.versions()), (2, 1, vec![1, 2]));
}

#[test]
fn versions_nobody_needs_are_forgotten() {
    let world = World::new(1);
    world.service(1, "old", |_, _| ());
    world.service(2, "web", |_, _| ());
    for number in 2..=9 {
        // One service goes back each time, and holds on to the first.
        world.rotate(&[number]).expect("it is allowed");
        let mut old = Service::clone(&world.get(1));
        assert!(old.return_to(1, NOW));
        old.earlier.clear();
        let mut web = Service::clone(&world.get(2));
        web.earlier.clear();
        world.put(vec![Change::Service(Write::update(old)), Change::Service(Write::update(web))]);
    }
    assert_eq!(world.versions(), [1, 5, 6, 7, 8, 9]);
}

#[test]
fn large_versions_make_room_as_far_as_nobody_needs_them() {
    let large = 1_000_000;
    let world = World::new(large);
    world.service(1, "web", |_, _| ());
    for number in 2..=6 {
        world.rotate(&vec![number; large]).expect("older ones give way");
        // The update has ended well.
        let mut web = Service::clone(&world.get(1));
        web.update = None;
        web.current.worked = true;
        world.put(vec![Change::Service(Write::update(web))]);
    }
    assert_eq!(world.versions(), [4, 5, 6]);
    // Tasks of every kept spec: all are needed.
    for (id, spec) in [(1, 4), (2, 5), (3, 6)] {
        let task = Task::new(TaskId(id), ServiceId(1), Slot::Number(id as u64), spec, TaskState::Running);
        world.put(vec![Change::Task(Write::Create(task))]);
    }
    let refused = world.rotate(&vec![9; large]).expect_err("there is no room").message;
    assert_eq!(
        refused,
        "the versions of config key that services use take 4000000 bytes with the new one, and 3145728 are allowed: wait for the updates under way"
    );
    assert_eq!(world.versions(), [4, 5, 6]);
}

#[test]
fn many_services_take_several_proposals() {
    let world = World::new(1);
    for number in 1..=450 {
        world.service(number, &format!("s{number}"), |_, _| ());
    }
    assert_eq!(world.rotate(b"new").expect("it is allowed").rolled.len(), 450);
    let behind = world.store.snapshot();
    assert!(behind.services.iter().all(|service| service.spec().task.container.configs[0].version == 2));
}

#[test]
fn what_cannot_be_rotated_says_why() {
    let world = World::new(1);
    let empty = world.rotate(b"").expect_err("no data").message;
    assert_eq!(empty, "config data must be larger than 0 and less than 1024000 bytes");
    let mut driven = Payload::clone(&world.key());
    driven.spec.driver = Some(Driver { name: "vault".into(), ..Driver::default() });
    world.put(vec![Change::Payload(Write::update(driven))]);
    let refused = world.rotate(b"x").expect_err("it has a driver").message;
    assert_eq!(refused, "config key has no value of its own: rotate it where its driver vault has it");
}
