//! What the managers gave to this node: updates in, the difference out.
//!
//! Pure. An update that does not follow the last one, or does not come to the same digest, changes nothing: then a
//! whole set has to come. Parts that belong together count together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::limits::ASSIGNED_TASKS_MAX;
use common::object::{ServiceId, TaskId};
use common::wire::assignment::{AssignedSpec, AssignedTask, AssignmentUpdate, digest, task_digest};

/// A version of a service's spec.
pub type SpecKey = (ServiceId, u64);

#[derive(Debug, Default)]
pub struct Assigned {
    position: Position,
    tasks: BTreeMap<TaskId, AssignedTask>,
    specs: BTreeMap<SpecKey, Arc<AssignedSpec>>,
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
}

/// What an update changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// It was a whole set: what is not in it is not this node's.
    pub is_whole: bool,
    /// New, or with something else wanted, or with its spec sent anew.
    pub changed: Vec<TaskId>,
    pub removed: Vec<TaskId>,
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
    #[error("the tasks do not come to the managers' digest")]
    Digest,
    #[error("more than {ASSIGNED_TASKS_MAX} tasks")]
    TooMany,
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
        staged.add(update.results_in, update.specs, update.tasks, update.removed);
        if staged.tasks.len() > ASSIGNED_TASKS_MAX {
            return Err(Gap::TooMany);
        }
        if update.more {
            // A whole set that has begun is what the next part follows, whatever was before.
            self.position = if staged.is_whole { Position::Before } else { self.position };
            self.staged = Some(staged);
            return Ok(None);
        }
        self.finish(staged, update.digest).map(Some)
    }

    fn finish(&mut self, staged: Staged, expected: u64) -> Result<Delta, Gap> {
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
        let digest = if staged.is_whole { digest(staged.tasks.values()) } else { self.digest_with(&staged) };
        if digest != expected {
            return Err(Gap::Digest);
        }
        let mut delta = Delta { is_whole: staged.is_whole, ..Delta::default() };
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
        if !renewed.is_empty() {
            let users = self.tasks.values().filter(|task| renewed.contains(&(task.service, task.spec)));
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

    /// The digest as it will be: one term less and one more for each task that changes.
    fn digest_with(&self, staged: &Staged) -> u64 {
        let old = |task: &TaskId| self.tasks.get(task).map(task_digest).unwrap_or_default();
        let without = staged.removed.iter().chain(staged.tasks.keys()).map(old);
        let with = staged.tasks.values().map(task_digest);
        let less = without.fold(self.digest, u64::wrapping_sub);
        with.fold(less, u64::wrapping_add)
    }
}

impl Staged {
    fn add(&mut self, number: u64, specs: Vec<AssignedSpec>, tasks: Vec<AssignedTask>, removed: Vec<TaskId>) {
        self.number = number;
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
            digest: digest(all.iter()),
            ..AssignmentUpdate::default()
        }
    }

    fn ids(ids: &[u128]) -> Vec<TaskId> {
        ids.iter().map(|id| TaskId(*id)).collect()
    }

    #[test]
    fn a_whole_set_and_what_follows() {
        let mut assigned = Assigned::default();
        let (one, two, three) = (running(1), running(2), running(3));
        let both = [one.clone(), two.clone()];
        let delta = assigned.apply(update(0, &both, &[], &both)).unwrap().unwrap();
        assert_eq!(delta, Delta { is_whole: true, changed: ids(&[1, 2]), removed: vec![] });
        let stopped = task(1, 1, TaskState::Shutdown);
        let now = [stopped.clone(), three.clone()];
        let delta = assigned.apply(update(1, &now, &[2, 9], &now)).unwrap().unwrap();
        assert_eq!(delta, Delta { is_whole: false, changed: ids(&[1, 3]), removed: ids(&[2]) });
        // A second whole set says what is gone.
        let delta =
            assigned.apply(update(0, std::slice::from_ref(&three), &[], std::slice::from_ref(&three)));
        assert_eq!(delta.unwrap().unwrap(), Delta { is_whole: true, changed: ids(&[3]), removed: ids(&[1]) });
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
        assert_eq!(delta, Delta { is_whole: true, changed: ids(&[1, 2]), removed: vec![] });
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

    proptest! {
        /// Whatever arrives, nothing breaks, and the digest that is kept is the digest of what is there.
        #[test]
        fn any_updates(updates in prop::collection::vec(
            (0..3u64, 0..3u64, any::<bool>(), any::<bool>(),
             prop::collection::vec((0..4u128, 0..2u64), 0..3), prop::collection::vec(0..4u128, 0..3)),
            0..12,
        )) {
            let mut assigned = Assigned::default();
            for (applies_to, results_in, more, right, tasks, removed) in updates {
                let tasks: Vec<_> =
                    tasks.into_iter().map(|(id, spec)| task(id, spec, TaskState::Running)).collect();
                let mut update = AssignmentUpdate {
                    applies_to, results_in, more, specs: vec![spec(0), spec(1)], tasks,
                    removed: ids(&removed), ..AssignmentUpdate::default()
                };
                if right && let Position::At(_) = assigned.position {
                    let mut staged = Staged::default();
                    staged.add(1, Vec::new(), update.tasks.clone(), update.removed.clone());
                    update.digest = if applies_to == 0 { digest(staged.tasks.values()) } else { assigned.digest_with(&staged) };
                }
                let _ = assigned.apply(update);
                prop_assert_eq!(assigned.digest, digest(assigned.tasks.values()));
                prop_assert!(assigned.tasks.keys().all(|task| assigned.task(*task).is_some()));
            }
        }
    }
}
