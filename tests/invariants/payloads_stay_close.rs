//! A secret or config is on a node only because a task there uses it: whoever takes over a node gets what that node
//! works with, and nothing else. Once all is quiet, a node has just what its tasks use, and the tasks have it as files.

use std::collections::{BTreeMap, BTreeSet};

use common::object::{NodeId, PayloadId, Task, TaskId, TaskState};
use common::wire::assignment::PayloadKey;
use manager::store::Tables;

/// What one node has.
#[derive(Clone, Debug)]
pub struct Holding {
    pub node: NodeId,
    pub payloads: BTreeSet<PayloadKey>,
    /// Contents of the files that the engine was given for tasks that run, in the order of their spec.
    pub files: BTreeMap<TaskId, Vec<Vec<u8>>>,
}

/// Which payloads any task of a node ever used.
#[derive(Debug, Default)]
pub struct PayloadsStayClose {
    used: BTreeSet<(NodeId, PayloadId)>,
}

impl PayloadsStayClose {
    /// After every write.
    pub fn note(&mut self, after: &Tables, task: &Task) {
        let Some(node) = task.node else { return };
        let keys = keys(after, task).into_iter().flatten();
        self.used.extend(keys.map(|(payload, _)| (node, payload)));
    }

    /// At any time.
    pub fn check(&self, node: NodeId, payloads: &[PayloadKey]) -> Result<(), String> {
        let strange = payloads.iter().find(|(payload, _)| !self.used.contains(&(node, *payload)));
        strange.map_or(Ok(()), |(payload, version)| {
            Err(format!(
                "node {node} has version {version} of payload {payload}, which no task of it ever used"
            ))
        })
    }
}

/// Holds at the end.
pub fn check_at_rest(tables: &Tables, holding: &Holding) -> Result<(), String> {
    let node = holding.node;
    let tasks = tables.tasks_on_node(node);
    let users: Vec<&Task> =
        tasks.map(|task| &**task).filter(|task| task.is_wanted() && !task.status.state.is_final()).collect();
    let expected: BTreeSet<PayloadKey> = users.iter().flat_map(|task| keys(tables, task)).flatten().collect();
    if holding.payloads != expected {
        return Err(format!("node {node} has payloads {:?}, its tasks use {expected:?}", holding.payloads));
    }
    let none = Vec::new();
    for task in users.iter().filter(|task| task.status.state == TaskState::Running) {
        let value = |key: &Option<PayloadKey>| {
            let (id, version) = (*key)?;
            Some(tables.payloads.get(id)?.version(version)?.data.reveal().to_vec())
        };
        let expected: Vec<_> = keys(tables, task).iter().filter_map(value).collect();
        let found = holding.files.get(&task.id).unwrap_or(&none);
        if *found != expected {
            return Err(format!("task {} on node {node} does not have the files it should", task.id));
        }
    }
    Ok(())
}

/// What a task is to have, in the order of its spec; none for what is not there.
fn keys(tables: &Tables, task: &Task) -> Vec<Option<PayloadKey>> {
    let service = tables.services.get(task.service);
    let Some(spec) = service.and_then(|service| service.spec_at(task.spec)) else { return Vec::new() };
    let key = |reference: &common::object::container::FileReference| {
        let payload = tables.payloads.get(reference.payload()?)?;
        let newest = payload.newest().number;
        Some((payload.id, if reference.refresh.is_some() { newest } else { reference.version }))
    };
    spec.task.container.references().map(|(_, reference)| key(reference)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_noticed() {
        let kept = PayloadsStayClose { used: [(NodeId(1), PayloadId(1))].into() };
        assert!(kept.check(NodeId(1), &[(PayloadId(1), 7)]).is_ok());
        assert!(kept.check(NodeId(2), &[(PayloadId(1), 7)]).unwrap_err().contains("no task of it ever used"));
        let holding =
            Holding { node: NodeId(1), payloads: [(PayloadId(1), 1)].into(), files: BTreeMap::new() };
        assert!(check_at_rest(&Tables::default(), &holding).unwrap_err().contains("its tasks use {}"));
    }
}
