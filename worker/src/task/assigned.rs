//! What the managers gave to this node: updates in, the difference out.
//!
//! Pure. An update that does not follow the last one, or does not come to the same digest, changes nothing: then a
//! whole set has to come. Parts that belong together count together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::limits::{ASSIGNED_PAYLOAD_BYTES_MAX, ASSIGNED_TASKS_MAX, MESH_KNOWN_MAX};
use common::object::{PayloadId, ServiceId, TaskId};
use common::wire::assignment::{
    AssignedPayload, AssignedSpec, AssignedTask, AssignmentUpdate, PayloadKey, digest, payload_digest,
    task_digest,
};

use crate::mesh::table::{Change, Table as Mesh};
use crate::payloads::{Given, Payloads, uses_any};

/// A version of a service's spec.
pub type SpecKey = (ServiceId, u64);

#[derive(Debug, Default)]
pub struct Assigned {
    position: Position,
    tasks: BTreeMap<TaskId, AssignedTask>,
    specs: BTreeMap<SpecKey, Arc<AssignedSpec>>,
    payloads: Payloads,
    mesh: Mesh,
    /// Of tasks and payloads.
    digest: u64,
    /// Parts of an update whose last part has not come.
    staged: Option<Staged>,
}

/// Where in the managers' numbering this node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// A whole set comes by itself.
    #[default]
    Before,
    /// A whole set was asked for; what comes before it is late and means nothing.
    Lost,
    At(u64),
}

#[derive(Debug, Default)]
struct Staged {
    is_whole: bool,
    number: u64,
    specs: BTreeMap<SpecKey, Arc<AssignedSpec>>,
    tasks: BTreeMap<TaskId, AssignedTask>,
    removed: BTreeSet<TaskId>,
    payloads: BTreeMap<PayloadKey, Arc<AssignedPayload>>,
    payloads_removed: BTreeSet<PayloadKey>,
    withheld: BTreeMap<PayloadKey, String>,
    mesh: Change,
}

/// What an update changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// It was a whole set: what is not in it is not this node's.
    pub is_whole: bool,
    /// New, or with something else wanted, or with its spec sent anew, or with another version of a payload.
    pub changed: Vec<TaskId>,
    pub removed: Vec<TaskId>,
    /// What is known of the mesh may be other than before.
    pub is_mesh_changed: bool,
}

/// Why an update does not fit. All has to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    #[error("the update follows number {found}, and not {expected}")]
    Order { expected: u64, found: u64 },
    #[error("the update is the first, and not a whole set")]
    NotWhole,
    #[error("the update has no number of its own")]
    Number,
    #[error("task {0} has a spec that was not sent")]
    Spec(TaskId),
    #[error("the tasks, the payloads and the mesh do not come to the managers' digest")]
    Digest,
    #[error("more than {ASSIGNED_TASKS_MAX} tasks")]
    TooMany,
    #[error("more than {MESH_KNOWN_MAX} services and tasks of the mesh")]
    MeshTooLarge,
    #[error("secrets and configs of more than {ASSIGNED_PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
}

impl Assigned {
    /// A session begins: its first update is a whole set. What is assigned stays until then.
    pub fn expect_whole(&mut self) {
        self.position = Position::Before;
        self.staged = None;
    }

    /// Takes one update; none while there is nothing to do about it.
    pub fn apply(&mut self, update: AssignmentUpdate) -> Result<Option<Delta>, Gap> {
        let applied = self.try_apply(update);
        if applied.is_err() {
            self.position = Position::Lost;
            self.staged = None;
        }
        applied
    }

    pub fn task(&self, task: TaskId) -> Option<(&AssignedTask, &Arc<AssignedSpec>)> {
        let task = self.tasks.get(&task)?;
        Some((task, self.specs.get(&(task.service, task.spec))?))
    }

    /// What a task of that spec has of secrets and configs.
    pub fn given(&self, task: TaskId, spec: &AssignedSpec) -> Given {
        self.payloads.given(task, &spec.task)
    }

    /// The secrets and configs this node has.
    pub fn payloads(&self) -> impl Iterator<Item = PayloadKey> {
        self.payloads.held.keys().copied()
    }

    /// What this node knows of the mesh.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    pub fn contains(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    fn try_apply(&mut self, update: AssignmentUpdate) -> Result<Option<Delta>, Gap> {
        if update.results_in == 0 {
            return Err(Gap::Number);
        }
        let mut staged = match (update.applies_to, self.staged.take(), self.position) {
            (0, ..) => Staged { is_whole: true, ..Staged::default() },
            (_, _, Position::Lost) => return Ok(None),
            (found, Some(staged), _) if found == staged.number => staged,
            (found, Some(staged), _) => return Err(Gap::Order { expected: staged.number, found }),
            (_, None, Position::Before) => return Err(Gap::NotWhole),
            (found, None, Position::At(number)) if found == number => Staged::default(),
            (found, None, Position::At(expected)) => return Err(Gap::Order { expected, found }),
        };
        let (more, digest) = (update.more, update.digest);
        staged.add(update);
        if staged.tasks.len() > ASSIGNED_TASKS_MAX {
            return Err(Gap::TooMany);
        }
        let bytes: usize = staged.payloads.values().map(|payload| payload.data.length()).sum();
        if bytes > ASSIGNED_PAYLOAD_BYTES_MAX {
            return Err(Gap::TooLarge);
        }
        if staged.mesh.items() > MESH_KNOWN_MAX {
            return Err(Gap::MeshTooLarge);
        }
        if more {
            // A whole set that has begun is what the next part follows, whatever was before.
            self.position = if staged.is_whole { Position::Before } else { self.position };
            self.staged = Some(staged);
            return Ok(None);
        }
        self.finish(staged, digest).map(Some)
    }

    fn finish(&mut self, mut staged: Staged, expected: u64) -> Result<Delta, Gap> {
        let known = |task: &AssignedTask| {
            let key = (task.service, task.spec);
            staged.specs.contains_key(&key) || self.specs.contains_key(&key)
        };
        if let Some(task) = staged.tasks.values().find(|task| !known(task)) {
            return Err(Gap::Spec(task.id));
        }
        let added = staged.tasks.keys().filter(|task| !self.tasks.contains_key(task)).count();
        if !staged.is_whole && self.tasks.len() + added > ASSIGNED_TASKS_MAX {
            return Err(Gap::TooMany);
        }
        let payloads = std::mem::take(&mut staged.payloads);
        let digest = if staged.is_whole {
            digest(staged.tasks.values(), payloads.keys().copied())
        } else {
            self.digest_with(&staged, payloads.keys().copied())
        };
        let is_mesh_changed = staged.is_whole || !staged.mesh.is_empty();
        let mesh =
            if is_mesh_changed { self.mesh.with(&staged.mesh, staged.is_whole) } else { self.mesh.clone() };
        if digest.wrapping_add(mesh.digest()) != expected {
            return Err(Gap::Digest);
        }
        if mesh.items() > MESH_KNOWN_MAX {
            return Err(Gap::MeshTooLarge);
        }
        let came: usize = payloads.values().map(|payload| payload.data.length()).sum();
        if !staged.is_whole && self.payloads.bytes() + came > ASSIGNED_PAYLOAD_BYTES_MAX {
            return Err(Gap::TooLarge);
        }
        let mut delta = Delta { is_whole: staged.is_whole, is_mesh_changed, ..Delta::default() };
        self.mesh = mesh;
        let renewed: BTreeSet<SpecKey> = staged
            .specs
            .iter()
            .filter(|(key, spec)| self.specs.get(key).is_some_and(|known| known != *spec))
            .map(|(key, _)| *key)
            .collect();
        let gone: Vec<TaskId> = if staged.is_whole {
            self.tasks.keys().filter(|task| !staged.tasks.contains_key(task)).copied().collect()
        } else {
            staged.removed.iter().copied().collect()
        };
        delta.removed = gone.into_iter().filter(|task| self.tasks.remove(task).is_some()).collect();
        delta.changed.extend(staged.tasks.keys());
        let mut given_anew = self.take_payloads(&staged, payloads);
        given_anew.extend(self.take_withheld(std::mem::take(&mut staged.withheld)));
        if !renewed.is_empty() || !given_anew.is_empty() {
            let is_user = |task: &&AssignedTask| {
                let key = (task.service, task.spec);
                let spec = self.specs.get(&key);
                renewed.contains(&key) || spec.is_some_and(|spec| uses_any(task.id, &spec.task, &given_anew))
            };
            let users = self.tasks.values().filter(is_user);
            delta.changed.extend(users.map(|task| task.id).filter(|task| !staged.tasks.contains_key(task)));
        }
        self.tasks.extend(staged.tasks);
        self.specs.extend(staged.specs);
        let used: BTreeSet<SpecKey> = self.tasks.values().map(|task| (task.service, task.spec)).collect();
        self.specs.retain(|key, _| used.contains(key));
        self.digest = digest;
        self.position = Position::At(staged.number);
        Ok(delta)
    }

    /// Takes what came, and lets go of what is not used any more. Gives the payloads of which other versions are here
    /// than before.
    fn take_payloads(
        &mut self,
        staged: &Staged,
        came: BTreeMap<PayloadKey, Arc<AssignedPayload>>,
    ) -> BTreeSet<PayloadId> {
        let mut changed = BTreeSet::new();
        self.payloads.held.retain(|key, _| {
            let goes = staged.payloads_removed.contains(key) || (staged.is_whole && !came.contains_key(key));
            if goes {
                changed.insert(key.0);
            }
            !goes
        });
        for (key, payload) in came {
            // What is here already stays where it is in memory.
            self.payloads.held.entry(key).or_insert_with(|| {
                changed.insert(key.0);
                payload
            });
        }
        changed
    }

    /// Takes why others do not come. Gives those of which something else is said than before.
    fn take_withheld(&mut self, now: BTreeMap<PayloadKey, String>) -> BTreeSet<PayloadId> {
        let before = std::mem::replace(&mut self.payloads.withheld, now);
        let now = &self.payloads.withheld;
        let all = before.keys().chain(now.keys());
        all.filter(|key| before.get(key) != now.get(key)).map(|key| key.0).collect()
    }

    /// The digest as it will be: one term less and one more for each task and payload that changes.
    fn digest_with(&self, staged: &Staged, came: impl Iterator<Item = PayloadKey>) -> u64 {
        let is_here = |key: &PayloadKey| self.payloads.held.contains_key(key);
        let goes = staged.payloads_removed.iter().filter(|key| is_here(key));
        let here = goes.fold(self.digest, |sum, key| sum.wrapping_sub(payload_digest(*key)));
        let is_new = |key: &PayloadKey| !is_here(key) || staged.payloads_removed.contains(key);
        let here = came.filter(is_new).fold(here, |sum, key| sum.wrapping_add(payload_digest(key)));
        let old = |task: &TaskId| self.tasks.get(task).map(task_digest).unwrap_or_default();
        let without = staged.removed.iter().chain(staged.tasks.keys()).map(old);
        let with = staged.tasks.values().map(task_digest);
        let less = without.fold(here, u64::wrapping_sub);
        with.fold(less, u64::wrapping_add)
    }
}

impl Staged {
    fn add(&mut self, update: AssignmentUpdate) {
        let AssignmentUpdate {
            results_in,
            specs,
            tasks,
            removed,
            payloads,
            payloads_removed,
            withheld,
            mesh,
            ..
        } = update;
        self.withheld = withheld;
        self.number = results_in;
        self.mesh.add(mesh);
        for key in payloads_removed {
            self.payloads.remove(&key);
            self.payloads_removed.insert(key);
        }
        for payload in payloads {
            self.payloads.insert((payload.id, payload.version), Arc::new(payload));
        }
        self.specs.extend(specs.into_iter().map(|spec| ((spec.service, spec.number), Arc::new(spec))));
        for task in removed {
            self.tasks.remove(&task);
            self.removed.insert(task);
        }
        for task in tasks {
            self.removed.remove(&task.id);
            self.tasks.insert(task.id, task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payloads::tests::{payload, reference};
    use common::object::{Slot, TaskSpec, TaskState};
    use proptest::prelude::*;

    fn spec(number: u64) -> AssignedSpec {
        AssignedSpec {
            service: ServiceId(1),
            number,
            service_name: "web".into(),
            service_labels: BTreeMap::new(),
            task: Arc::new(TaskSpec::default()),
            ports: Vec::new(),
        }
    }

    fn task(id: u128, spec: u64, desired: TaskState) -> AssignedTask {
        AssignedTask {
            id: TaskId(id),
            service: ServiceId(1),
            slot: Slot::Number(1),
            spec,
            desired,
            granted: None,
            iteration: None,
        }
    }

    fn running(id: u128) -> AssignedTask {
        task(id, 1, TaskState::Running)
    }

    /// An update that is right when the node then has `all`.
    fn update(
        applies_to: u64,
        tasks: &[AssignedTask],
        removed: &[u128],
        all: &[AssignedTask],
    ) -> AssignmentUpdate {
        AssignmentUpdate {
            applies_to,
            results_in: applies_to + 1,
            more: false,
            specs: if applies_to == 0 { vec![spec(1)] } else { Vec::new() },
            tasks: tasks.to_vec(),
            removed: removed.iter().map(|id| TaskId(*id)).collect(),
            digest: digest(all.iter(), std::iter::empty()),
            ..AssignmentUpdate::default()
        }
    }

    fn ids(ids: &[u128]) -> Vec<TaskId> {
        ids.iter().map(|id| TaskId(*id)).collect()
    }

    /// What a whole set changes.
    fn whole(changed: &[u128], removed: &[u128]) -> Delta {
        Delta { is_whole: true, changed: ids(changed), removed: ids(removed), is_mesh_changed: true }
    }

    #[test]
    fn the_mesh_comes_along_and_counts_in_the_digest() {
        use crate::mesh::table::tests::{endpoint, service};
        use common::wire::mesh::{MeshUpdate, endpoint_digest, service_digest};
        let mut assigned = Assigned::default();
        let (web, task) = (service(1, 8080), endpoint(1, 1, 1, false));
        let share = service_digest(&web).wrapping_add(endpoint_digest(&task));
        let mut first = update(0, &[], &[], &[]);
        first.mesh = MeshUpdate { services: vec![web], endpoints: vec![task], ..MeshUpdate::default() };
        first.digest = first.digest.wrapping_add(share);
        assert_eq!(assigned.apply(first.clone()), Ok(Some(whole(&[], &[]))));
        assert_eq!(assigned.mesh().items(), 2);
        // Tasks of its own leave the mesh as it is.
        let one = [running(1)];
        let mut second = AssignmentUpdate { specs: vec![spec(1)], ..update(1, &one, &[], &one) };
        second.digest = second.digest.wrapping_add(share);
        let delta = assigned.apply(second).unwrap().unwrap();
        assert!(!delta.is_mesh_changed && assigned.mesh().items() == 2);
        let mut wrong = update(2, &one, &[], &one);
        wrong.mesh.endpoints_removed = vec![TaskId(1)];
        wrong.digest = wrong.digest.wrapping_add(share);
        assert_eq!(assigned.apply(wrong), Err(Gap::Digest));
        assert_eq!(assigned.mesh().items(), 2, "nothing has changed");
        first.mesh = MeshUpdate::default();
        first.digest = first.digest.wrapping_sub(share);
        assigned.apply(first).unwrap();
        assert_eq!(assigned.mesh().items(), 0, "a whole set is all there is");
    }

    #[test]
    fn a_whole_set_and_what_follows() {
        let mut assigned = Assigned::default();
        let (one, two, three) = (running(1), running(2), running(3));
        let both = [one.clone(), two.clone()];
        let delta = assigned.apply(update(0, &both, &[], &both)).unwrap().unwrap();
        assert_eq!(delta, whole(&[1, 2], &[]));
        let stopped = task(1, 1, TaskState::Shutdown);
        let now = [stopped.clone(), three.clone()];
        let delta = assigned.apply(update(1, &now, &[2, 9], &now)).unwrap().unwrap();
        assert_eq!(delta, Delta { changed: ids(&[1, 3]), removed: ids(&[2]), ..Delta::default() });
        // A second whole set says what is gone.
        let delta =
            assigned.apply(update(0, std::slice::from_ref(&three), &[], std::slice::from_ref(&three)));
        assert_eq!(delta.unwrap().unwrap(), whole(&[3], &[1]));
        assert!(assigned.task(TaskId(3)).is_some() && !assigned.contains(TaskId(1)));
    }

    #[test]
    fn parts_count_together() {
        let mut assigned = Assigned::default();
        let all = [running(1), running(2)];
        let first = AssignmentUpdate { more: true, digest: 0, ..update(0, &all[..1], &[], &[]) };
        assert_eq!(assigned.apply(first), Ok(None));
        assert!(!assigned.contains(TaskId(1)), "not before the last part");
        let delta = assigned.apply(update(1, &all[1..], &[], &all)).unwrap().unwrap();
        assert_eq!(delta, whole(&[1, 2], &[]));
    }

    #[test]
    fn what_does_not_fit_changes_nothing_and_a_whole_set_puts_it_right() {
        let one = [running(1)];
        let two = [running(1), running(2)];
        let other_spec = [task(1, 1, TaskState::Running), task(2, 7, TaskState::Running)];
        #[rustfmt::skip]
        let cases = [ // the update, the gap
            (update(5, &two[1..], &[], &two), Gap::Order { expected: 1, found: 5 }),
            (update(1, &two[1..], &[], &one), Gap::Digest),
            (update(1, &other_spec[1..], &[], &other_spec), Gap::Spec(TaskId(2))),
            (AssignmentUpdate { results_in: 0, ..update(1, &two[1..], &[], &two) }, Gap::Number),
        ];
        for (bad, gap) in cases {
            let mut assigned = Assigned::default();
            assert_eq!(assigned.apply(update(1, &one, &[], &one)), Err(Gap::NotWhole));
            assigned.apply(update(0, &one, &[], &one)).unwrap();
            assert_eq!(assigned.apply(bad), Err(gap));
            // What was on its way is late, and asks for nothing more.
            assert_eq!(assigned.apply(update(1, &two[1..], &[], &two)), Ok(None));
            assert!(assigned.contains(TaskId(1)) && !assigned.contains(TaskId(2)));
            assert!(assigned.apply(update(0, &two, &[], &two)).unwrap().is_some());
            assert!(assigned.contains(TaskId(2)));
        }
    }

    #[test]
    fn a_spec_goes_with_its_last_task_and_a_new_one_reaches_those_that_use_it() {
        let mut assigned = Assigned::default();
        let one = [running(1)];
        assigned.apply(update(0, &one, &[], &one)).unwrap();
        let mut labelled = spec(1);
        labelled.service_labels.insert("a".into(), "b".into());
        let renewed = AssignmentUpdate { specs: vec![labelled], ..update(1, &[], &[], &one) };
        assert_eq!(assigned.apply(renewed).unwrap().unwrap().changed, ids(&[1]));
        assigned.apply(update(2, &[], &[1], &[])).unwrap();
        assert!(assigned.specs.is_empty());
        assert_eq!(assigned.apply(update(3, &one, &[], &one)), Err(Gap::Spec(TaskId(1))));
    }

    #[test]
    fn payloads_come_and_go_and_their_users_hear_of_it() {
        let mut assigned = Assigned::default();
        let one = [running(1)];
        let mut user = spec(1);
        Arc::make_mut(&mut user.task).container.secrets = vec![reference(1, 1, Some(""))];
        let key = |version| (PayloadId(1), version);
        let told = |applies_to, came: &[u64], gone: &[u64], all: &[u64]| AssignmentUpdate {
            payloads: came.iter().map(|version| payload(1, *version, "value")).collect(),
            payloads_removed: gone.iter().map(|version| key(*version)).collect(),
            digest: digest(one.iter(), all.iter().map(|version| key(*version))),
            ..update(applies_to, &[], &[], &[])
        };
        let first =
            AssignmentUpdate { specs: vec![user.clone()], tasks: one.to_vec(), ..told(0, &[1], &[], &[1]) };
        assigned.apply(first).unwrap();
        assert_eq!(assigned.payloads().collect::<Vec<_>>(), [key(1)]);
        let delta = assigned.apply(told(1, &[2], &[1], &[2])).unwrap().unwrap();
        assert_eq!(delta.changed, ids(&[1]));
        assert_eq!(assigned.payloads().collect::<Vec<_>>(), [key(2)]);
        assert_eq!(assigned.apply(told(2, &[3], &[], &[2])), Err(Gap::Digest));
        assert_eq!(assigned.payloads().collect::<Vec<_>>(), [key(2)], "what does not fit changes nothing");
        let whole = AssignmentUpdate { specs: vec![user], tasks: one.to_vec(), ..told(0, &[], &[], &[]) };
        assert_eq!(assigned.apply(whole).unwrap().unwrap().changed, ids(&[1]));
        assert_eq!(assigned.payloads().count(), 0);
    }

    #[test]
    fn why_a_value_does_not_come_reaches_its_task() {
        let mut assigned = Assigned::default();
        let both = [running(1), running(2)];
        let mut user = spec(1);
        Arc::make_mut(&mut user.task).container.secrets = vec![reference(1, 1, None)];
        let alone = (PayloadId(1).of_task(TaskId(2)), 1);
        let why = |text: &str| BTreeMap::from([(alone, text.to_string())]);
        let first = AssignmentUpdate { specs: vec![user], ..update(0, &both, &[], &both) };
        assigned.apply(first).unwrap();
        for (applies_to, withheld, changed) in [
            (1, why("away"), ids(&[2])),
            (2, why("away"), ids(&[])),
            (3, why("late"), ids(&[2])),
            (4, BTreeMap::new(), ids(&[2])),
        ] {
            let told = AssignmentUpdate { withheld, ..update(applies_to, &[], &[], &both) };
            assert_eq!(assigned.apply(told).unwrap().unwrap().changed, changed, "{applies_to}");
        }
        let came = AssignmentUpdate {
            payloads: vec![AssignedPayload { id: alone.0, ..payload(1, 1, "value") }],
            digest: digest(both.iter(), [alone].into_iter()),
            ..update(5, &[], &[], &[])
        };
        assert_eq!(assigned.apply(came).unwrap().unwrap().changed, ids(&[2]));
    }

    proptest! {
        /// Whatever arrives, nothing breaks, and the digest that is kept is the digest of what is there.
        #[test]
        fn any_updates(updates in prop::collection::vec(
            (0..3u64, 0..3u64, any::<bool>(), any::<bool>(),
             prop::collection::vec((0..4u128, 0..2u64), 0..3), prop::collection::vec(0..4u128, 0..3),
             prop::collection::vec((0..2u128, 0..3u64), 0..3), prop::collection::vec((0..2u128, 0..3u64), 0..3)),
            0..12,
        )) {
            let mut assigned = Assigned::default();
            for (applies_to, results_in, more, right, tasks, removed, came, gone) in updates {
                let tasks: Vec<_> =
                    tasks.into_iter().map(|(id, spec)| task(id, spec, TaskState::Running)).collect();
                let mut update = AssignmentUpdate {
                    applies_to, results_in, more, specs: vec![spec(0), spec(1)], tasks,
                    payloads: came.into_iter().map(|(id, version)| payload(id, version, "value")).collect(),
                    payloads_removed: gone.into_iter().map(|(id, version)| (PayloadId(id), version)).collect(),
                    removed: ids(&removed), ..AssignmentUpdate::default()
                };
                if right && let Position::At(_) = assigned.position {
                    let mut staged = Staged::default();
                    staged.add(update.clone());
                    let came: Vec<PayloadKey> = staged.payloads.keys().copied().collect();
                    let came = came.into_iter();
                    update.digest = if applies_to == 0 { digest(staged.tasks.values(), came) } else { assigned.digest_with(&staged, came) };
                }
                let _ = assigned.apply(update);
                prop_assert_eq!(assigned.digest, digest(assigned.tasks.values(), assigned.payloads()));
                prop_assert!(assigned.tasks.keys().all(|task| assigned.task(*task).is_some()));
            }
        }
    }
}
