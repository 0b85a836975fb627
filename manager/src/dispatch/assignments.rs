//! What a node should run, as the difference to what it was told.
//!
//! Pure. A node is told of every task that was placed on it and is still known: of finished ones too, so that it
//! keeps their containers until their history is forgotten. Not of orphaned ones: those were given up, and a node
//! that comes back with one ends it.
//!
//! Secrets and configs go to it with the first task that uses them, and are taken back with the last: see `payloads`.
//! Where a driver has the value the task goes first, and the value follows when it is there, or why it is not. What its
//! mesh has to know goes along: see `mesh`.
//!
//! Not here: sending (`session`), asking drivers (`secret_driver`), and what the node does with it (`worker::agent`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::limits::{ASSIGNMENT_TASKS_MAX, WITHHELD_REASONS_MAX};
use common::object::sensitive::SensitiveBytes;
use common::object::{NodeId, ServiceId, Task, TaskId, TaskState};
use common::wire::assignment::{
    AssignedPayload, AssignedSpec, AssignedTask, AssignmentUpdate, PayloadKey, payload_digest, task_digest,
};
use common::wire::mesh::MeshUpdate;

use super::mesh;
use super::payloads::{self, Question};
use crate::store::Tables;

type SpecKey = (ServiceId, u64);

/// What drivers are to be asked for. The number counts the times that a node has begun anew: a key is asked for once
/// in each.
pub type Questions = BTreeMap<(u64, PayloadKey), Question>;

/// What one node was told in its session.
#[derive(Debug, Default)]
pub struct Told {
    tasks: BTreeMap<TaskId, AssignedTask>,
    /// Specs the node has, by how many of its tasks use them.
    specs: BTreeMap<SpecKey, usize>,
    payloads: BTreeSet<PayloadKey>,
    mesh: mesh::Told,
    /// Values that drivers gave, until the node is told of them: here, and in no store.
    given: BTreeMap<PayloadKey, SensitiveBytes>,
    /// Why drivers do not give others.
    refused: BTreeMap<PayloadKey, String>,
    /// What the node was told of that.
    withheld: BTreeMap<PayloadKey, String>,
    /// Times that the node has begun anew.
    round: u64,
    digest: u64,
    /// Number of the last update; 0 before the first.
    sequence: u64,
}

/// What may be other than the node was told.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Its tasks, and what they use.
    pub own: bool,
    pub mesh: mesh::Look,
}

impl Look {
    pub fn at_everything() -> Self {
        Self { own: true, mesh: mesh::Look::at_everything() }
    }
}

/// What of a node's own tasks is news.
#[derive(Default)]
struct News {
    removed: Vec<TaskId>,
    changed: Vec<AssignedTask>,
    added: Vec<AssignedPayload>,
    payloads_removed: Vec<PayloadKey>,
    withheld: BTreeMap<PayloadKey, String>,
}

impl Told {
    /// What has to be sent so that the node has what `tables` say; nothing when it has it already. The first
    /// update of a session is always sent, even an empty one: the node learns from it what it should not have.
    pub fn update(&mut self, tables: &Tables, node: NodeId) -> Vec<AssignmentUpdate> {
        self.update_of(tables, node, &Look::at_everything())
    }

    /// As `update`, where nothing else than what is looked at can have changed.
    pub fn update_of(&mut self, tables: &Tables, node: NodeId, look: &Look) -> Vec<AssignmentUpdate> {
        let news = if look.own {
            self.news(tables, node)
        } else {
            News { withheld: self.withheld.clone(), ..News::default() }
        };
        let mesh = self.mesh.update(tables, node, &look.mesh);
        let News { removed, changed, added, payloads_removed, withheld } = news;
        let is_same =
            removed.is_empty() && changed.is_empty() && withheld == self.withheld && mesh.is_empty();
        if is_same && added.is_empty() && payloads_removed.is_empty() && self.sequence > 0 {
            return Vec::new();
        }
        removed.iter().for_each(|task| self.forget(*task));
        payloads_removed.iter().for_each(|payload| {
            self.payloads.remove(payload);
            self.digest = self.digest.wrapping_sub(payload_digest(*payload));
        });
        let mut updates = self.in_parts(tables, added, changed, mesh::in_parts(mesh));
        if let Some(first) = updates.first_mut() {
            first.removed = removed;
            first.payloads_removed = payloads_removed;
        }
        if let Some(last) = updates.last_mut() {
            last.more = false;
            last.withheld = withheld.clone();
            last.digest = self.digest.wrapping_add(self.mesh.digest());
        }
        self.withheld = withheld;
        updates
    }

    fn news(&mut self, tables: &Tables, node: NodeId) -> News {
        let wanted: BTreeMap<TaskId, AssignedTask> =
            tables.tasks_on_node(node).filter_map(|task| assigned(tables, task)).collect();
        let removed: Vec<TaskId> =
            self.tasks.keys().filter(|task| !wanted.contains_key(task)).copied().collect();
        let changed: Vec<AssignedTask> = wanted
            .into_values()
            .filter(|task| self.tasks.get(&task.id).is_none_or(|told| told != task))
            .collect();
        let driven = payloads::driven(tables, node);
        let mut used = payloads::used(tables, node);
        let mut added: Vec<AssignedPayload> =
            used.difference(&self.payloads).filter_map(|key| payloads::assigned(tables, *key)).collect();
        used.extend(driven.keys().filter(|key| self.payloads.contains(key)));
        let given = std::mem::take(&mut self.given).into_iter();
        added.extend(given.filter_map(|(key, value)| payloads::given(tables, key, driven.get(&key)?, value)));
        self.refused.retain(|key, _| driven.get(key).is_some_and(|driven| driven.is_due));
        let withheld: BTreeMap<PayloadKey, String> =
            self.refused.iter().take(WITHHELD_REASONS_MAX).map(|(key, why)| (*key, why.clone())).collect();
        let payloads_removed: Vec<PayloadKey> = self.payloads.difference(&used).copied().collect();
        News { removed, changed, added, payloads_removed, withheld }
    }

    /// As `update`, for a node that has lost the thread: everything, from the beginning.
    pub fn everything(&mut self, tables: &Tables, node: NodeId) -> Vec<AssignmentUpdate> {
        let Self { given, refused, round, .. } = std::mem::take(self);
        *self = Self { given, refused, round: round + 1, ..Self::default() };
        self.update(tables, node)
    }

    /// What drivers are to be asked for now, on behalf of tasks that the node was told of.
    pub fn questions(&self, tables: &Tables, node: NodeId) -> Questions {
        let driven = payloads::driven(tables, node).into_iter();
        let due = driven.filter(|(key, driven)| {
            driven.is_due && !self.payloads.contains(key) && !self.given.contains_key(key)
        });
        due.filter_map(|(key, driven)| Some(((self.round, key), payloads::question(tables, &driven)?)))
            .collect()
    }

    /// What a driver said; the node hears of it with the next update.
    pub fn answered(&mut self, key: PayloadKey, answer: Result<SensitiveBytes, String>) {
        if self.payloads.contains(&key) {
            return;
        }
        match answer {
            Ok(value) => {
                self.refused.remove(&key);
                self.given.insert(key, value);
            }
            Err(why) => drop(self.refused.insert(key, why)),
        }
    }

    /// Tells what is new in messages of bounded size. Payloads go before the tasks that use them, a spec goes along
    /// with its first task.
    fn in_parts(
        &mut self,
        tables: &Tables,
        added: Vec<AssignedPayload>,
        changed: Vec<AssignedTask>,
        mesh: Vec<MeshUpdate>,
    ) -> Vec<AssignmentUpdate> {
        for payload in &added {
            let key = (payload.id, payload.version);
            self.payloads.insert(key);
            self.digest = self.digest.wrapping_add(payload_digest(key));
        }
        let mut parts: Vec<_> =
            payloads::in_parts(added).into_iter().map(|payloads| (payloads, Vec::new())).collect();
        let mut tasks = changed.chunks(ASSIGNMENT_TASKS_MAX).map(<[AssignedTask]>::to_vec);
        match parts.last_mut() {
            Some((_, last)) => *last = tasks.next().unwrap_or_default(),
            None => parts.push((Vec::new(), tasks.next().unwrap_or_default())),
        }
        parts.extend(tasks.map(|tasks| (Vec::new(), tasks)));
        parts.resize_with(parts.len().max(mesh.len()), Default::default);
        let mut mesh = mesh.into_iter();
        let part = |(payloads, tasks): (Vec<AssignedPayload>, Vec<AssignedTask>)| {
            let known: BTreeSet<SpecKey> = self.specs.keys().copied().collect();
            let needed: BTreeSet<SpecKey> = tasks.iter().map(|task| (task.service, task.spec)).collect();
            let specs = needed.difference(&known).filter_map(|key| spec(tables, *key)).collect();
            tasks.iter().for_each(|task| self.learn(task.clone()));
            let applies_to = self.sequence;
            self.sequence += 1;
            AssignmentUpdate {
                applies_to,
                results_in: self.sequence,
                more: true,
                specs,
                tasks,
                payloads,
                mesh: mesh.next().unwrap_or_default(),
                ..Default::default()
            }
        };
        parts.into_iter().map(part).collect()
    }

    fn learn(&mut self, task: AssignedTask) {
        self.forget(task.id);
        self.digest = self.digest.wrapping_add(task_digest(&task));
        *self.specs.entry((task.service, task.spec)).or_default() += 1;
        self.tasks.insert(task.id, task);
    }

    fn forget(&mut self, task: TaskId) {
        let Some(task) = self.tasks.remove(&task) else { return };
        self.digest = self.digest.wrapping_sub(task_digest(&task));
        let key = (task.service, task.spec);
        if let Some(users) = self.specs.get_mut(&key) {
            *users -= 1;
            if *users == 0 {
                self.specs.remove(&key);
            }
        }
    }
}

/// A task as its node is told of it; none when it is not to be there.
fn assigned(tables: &Tables, task: &Arc<Task>) -> Option<(TaskId, AssignedTask)> {
    let placed = task.status.state >= TaskState::Assigned && task.status.state != TaskState::Orphaned;
    let described = tables.services.get(task.service)?.version_at(task.spec).is_some();
    let assigned = AssignedTask {
        id: task.id,
        service: task.service,
        slot: task.slot,
        spec: task.spec,
        desired: task.desired,
        granted: task.granted.clone(),
        iteration: task.iteration,
    };
    (placed && described).then_some((task.id, assigned))
}

fn spec(tables: &Tables, (service, number): SpecKey) -> Option<AssignedSpec> {
    let service = tables.services.get(service)?;
    let spec = service.spec_at(number)?;
    Some(AssignedSpec {
        service: service.id,
        number,
        service_name: spec.name.clone(),
        service_labels: spec.labels.clone(),
        task: Arc::new(spec.task.clone()),
        ports: service.ports.clone(),
    })
}

#[cfg(test)]
#[path = "assignments_test.rs"]
mod tests;
