//! The tables as the steps of one decision have changed them so far, and what to propose for that.
//!
//! Pure. Later steps see what earlier ones did. At the end every touched object is compared with what it was, so
//! that an edit taken back, or one that changes nothing, costs no write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::limits::PROPOSAL_CHANGES_MAX;
use common::object::{Service, ServiceId, Slot, Task, TaskId};

use crate::store::table::Object;
use crate::store::{Change, Tables, Write};

pub struct Draft {
    before: Tables,
    after: Tables,
    services: BTreeSet<ServiceId>,
    tasks: BTreeSet<TaskId>,
    /// Touched since `take_unseen`; one may be named twice.
    unseen: Vec<TaskId>,
}

impl Draft {
    pub fn new(tables: &Tables) -> Self {
        Self {
            before: tables.clone(),
            after: tables.clone(),
            services: BTreeSet::new(),
            tasks: BTreeSet::new(),
            unseen: Vec::new(),
        }
    }

    /// As the steps so far have made them.
    pub fn tables(&self) -> &Tables {
        &self.after
    }

    /// As they are in the store.
    pub fn before(&self) -> &Tables {
        &self.before
    }

    pub fn set_task(&mut self, task: Task) {
        self.put_task(task.id, Some(Arc::new(task)));
    }

    pub fn remove_task(&mut self, id: TaskId) {
        self.put_task(id, None);
    }

    /// Changes a task that is there.
    pub fn edit_task(&mut self, id: TaskId, edit: impl FnOnce(&mut Task)) {
        let Some(present) = self.after.tasks.get(id) else { return };
        let mut task = Task::clone(present);
        edit(&mut task);
        if task != **present {
            self.set_task(task);
        }
    }

    pub fn remove_service(&mut self, id: ServiceId) {
        self.services.insert(id);
        self.after.set_service(id, None);
    }

    /// Changes a service that is there.
    pub fn edit_service(&mut self, id: ServiceId, edit: impl FnOnce(&mut Service)) {
        let Some(present) = self.after.services.get(id) else { return };
        let mut service = Service::clone(present);
        edit(&mut service);
        if service != **present {
            self.services.insert(id);
            self.after.set_service(id, Some(Arc::new(service)));
        }
    }

    /// Tasks touched since this was last asked.
    pub fn take_unseen(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.unseen)
    }

    fn put_task(&mut self, id: TaskId, task: Option<Arc<Task>>) {
        self.tasks.insert(id);
        self.unseen.push(id);
        self.after.set_task(id, task);
    }

    /// What has to be written: each inner list is one proposal.
    pub fn finish(self) -> Vec<Vec<Change>> {
        let mut groups: BTreeMap<ServiceId, Vec<(Slot, TaskId)>> = BTreeMap::new();
        for id in &self.services {
            groups.insert(*id, Vec::new());
        }
        for id in &self.tasks {
            let (before, after) = (self.before.tasks.get(*id), self.after.tasks.get(*id));
            let Some(task) = after.or(before).filter(|_| before != after) else { continue };
            groups.entry(task.service).or_default().push((task.slot, task.id));
        }
        let mut pack = Pack::default();
        for (service, mut tasks) in groups {
            // In order of slot: where a group is cut, a task and its successor mostly stay together.
            tasks.sort_unstable();
            let service = self.service_change(service);
            let is_removal = matches!(service, Some(Change::Service(Write::Remove { .. })));
            pack.begin(service.is_some(), tasks.len());
            let (first, last) = if is_removal { (None, service) } else { (service, None) };
            let tasks = tasks.into_iter().filter_map(|(_, task)| self.task_change(task));
            first.into_iter().chain(tasks).chain(last).for_each(|change| pack.push(change));
        }
        pack.finish()
    }

    fn service_change(&self, id: ServiceId) -> Option<Change> {
        let (before, after) = (self.before.services.get(id), self.after.services.get(id));
        difference(before, after, id).map(Change::Service)
    }

    fn task_change(&self, id: TaskId) -> Option<Change> {
        let (before, after) = (self.before.tasks.get(id), self.after.tasks.get(id));
        difference(before, after, id).map(Change::Task)
    }
}

/// Fills proposals, group by group. A write to a service may conflict with one of its owner's, and then fails all that
/// goes with it: so it goes with nothing of other services.
#[derive(Default)]
struct Pack {
    proposals: Vec<Vec<Change>>,
    shared: Vec<Change>,
    alone: Option<Vec<Change>>,
}

impl Pack {
    fn begin(&mut self, alone: bool, tasks: usize) {
        self.proposals.extend(self.alone.take().filter(|changes| !changes.is_empty()));
        if alone {
            self.alone = Some(Vec::with_capacity((tasks + 1).min(PROPOSAL_CHANGES_MAX)));
        } else if self.shared.len() + tasks > PROPOSAL_CHANGES_MAX && !self.shared.is_empty() {
            self.proposals.push(std::mem::take(&mut self.shared));
        }
    }

    fn push(&mut self, change: Change) {
        let into = self.alone.as_mut().unwrap_or(&mut self.shared);
        if into.len() == PROPOSAL_CHANGES_MAX {
            let next = Vec::with_capacity(PROPOSAL_CHANGES_MAX);
            self.proposals.push(std::mem::replace(into, next));
        }
        into.push(change);
    }

    fn finish(mut self) -> Vec<Vec<Change>> {
        self.proposals.extend(self.alone.take().into_iter().chain([self.shared]));
        self.proposals.retain(|changes| !changes.is_empty());
        self.proposals
    }
}

fn difference<T: Object + PartialEq>(
    before: Option<&Arc<T>>,
    after: Option<&Arc<T>>,
    id: T::Id,
) -> Option<Write<T>> {
    match (before, after) {
        (None, None) => None,
        (None, Some(after)) => Some(Write::Create(T::clone(after))),
        (Some(before), None) => Some(Write::Remove { id, read_at: before.meta().version }),
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) => {
            Some(Write::Update { value: T::clone(after), read_at: before.meta().version })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Proposal, Store};
    use common::object::{ServiceSpec, TaskState};
    use common::time::Timestamp;

    fn task(id: u128, service: u128) -> Task {
        Task::new(TaskId(id), ServiceId(service), Slot::Number(id as u64), 1, TaskState::Running)
    }

    fn service(id: u128) -> Service {
        let spec = ServiceSpec { name: format!("s{id}"), ..ServiceSpec::default() };
        Service::new(ServiceId(id), spec, Timestamp(1))
    }

    fn stored(services: u128, tasks: &[Task]) -> Store {
        let store = Store::new();
        let services = (1..=services).map(|id| Change::Service(Write::Create(service(id))));
        let tasks = tasks.iter().map(|task| Change::Task(Write::Create(task.clone())));
        let changes = services.chain(tasks).collect();
        store.apply(1, &Proposal { id: 1, at: Timestamp(1), changes }).unwrap();
        store
    }

    #[test]
    fn an_edit_taken_back_is_no_write() {
        let store = stored(1, &[task(1, 1)]);
        let mut draft = Draft::new(&store.snapshot());
        draft.edit_task(TaskId(1), |task| task.desired = TaskState::Shutdown);
        assert_eq!(draft.tables().tasks.get(TaskId(1)).unwrap().desired, TaskState::Shutdown);
        draft.edit_task(TaskId(1), |task| task.desired = TaskState::Running);
        draft.set_task(task(2, 1));
        draft.remove_task(TaskId(2));
        draft.edit_task(TaskId(404), |task| task.spec = 7);
        assert!(draft.finish().is_empty());
    }

    #[test]
    fn a_write_to_a_service_goes_with_its_tasks_alone_and_others_share() {
        let store = stored(3, &[task(1, 1), task(2, 2), task(3, 3)]);
        let mut draft = Draft::new(&store.snapshot());
        for id in 1..=3 {
            draft.edit_task(TaskId(id), |task| task.desired = TaskState::Shutdown);
        }
        draft.edit_service(ServiceId(2), |service| service.rebalance = 1);
        let proposals = draft.finish();
        let sizes: Vec<usize> = proposals.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2]);
        assert!(matches!(&proposals[0][0], Change::Service(_)), "service 2 and its task");
        assert!(proposals[1].iter().all(|change| matches!(change, Change::Task(_))), "services 1 and 3");
        for (index, changes) in proposals.into_iter().enumerate() {
            let proposal = Proposal { id: index as u64 + 2, at: Timestamp(2), changes };
            store.apply(index as u64 + 2, &proposal).unwrap();
        }
    }

    #[test]
    fn no_proposal_is_larger_than_apply_allows() {
        let store = stored(2, &[]);
        let mut draft = Draft::new(&store.snapshot());
        (1..=450).for_each(|id| draft.set_task(task(id, 1)));
        (451..=500).for_each(|id| draft.set_task(task(id, 2)));
        draft.edit_service(ServiceId(2), |service| service.rebalance = 1);
        let sizes: Vec<usize> = draft.finish().iter().map(Vec::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 501);
        assert!(sizes.iter().all(|size| *size <= PROPOSAL_CHANGES_MAX), "{sizes:?}");
    }
}
