//! What this node was told and has done, across restarts of its daemon: one journal in the node's folder.
//!
//! Losing it costs nothing but knowledge: with the next session the managers say everything again, and the runtimes
//! say what is there. Credentials are not written: a task that still has to pull waits for that session. The rest is
//! sealed: environments and labels are nobody's business who finds the disk of a locked manager.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::disk::DiskError;
use common::identity::{DataKey, LocalSealer};
use common::journal::Journal;
use common::object::{TaskId, TaskStatus};
use common::wire::assignment::{AssignedSpec, AssignedTask};
use common::wire::codec;
use serde::{Deserialize, Serialize};
use tracing::warn;
use zeroize::Zeroizing;

use crate::task::assigned::SpecKey;
use crate::task::next_step::Stopping;

const KIND: &str = "tasks";
const FORMAT: u32 = 1;

/// The journal's file in the agent's folder.
pub const FILE: &str = "tasks.journal";

/// One change of what is known.
#[derive(Debug, Serialize, Deserialize)]
pub enum Record {
    Spec(Box<StoredSpec>),
    Task(Box<StoredTask>),
    Forgotten(TaskId),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSpec {
    pub spec: Arc<AssignedSpec>,
    /// It had credentials, which are not here.
    pub is_incomplete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTask {
    pub assigned: AssignedTask,
    pub status: TaskStatus,
    pub stopping: Option<Stopping>,
    /// The managers have taken it off this node, and not all of it is gone.
    pub is_leaving: bool,
}

/// What was known when the daemon ended.
#[derive(Debug, Default)]
pub struct Restored {
    pub tasks: BTreeMap<TaskId, StoredTask>,
    pub specs: BTreeMap<SpecKey, StoredSpec>,
}

#[derive(Debug)]
pub struct Disk {
    journal: Journal,
    sealer: LocalSealer,
}

impl Disk {
    pub fn open(folder: &Path, key: &DataKey) -> Result<(Self, Restored), DiskError> {
        let path = folder.join(FILE);
        let sealer = LocalSealer::new(key, KIND);
        let (journal, found) = Journal::open(&path, KIND, FORMAT)?;
        if let Some(damage) = found.damage {
            let set_aside = damage.set_aside.display().to_string();
            warn!(set_aside, reason = damage.reason, "what this node knew of its tasks was damaged");
        }
        let mut restored = Restored::default();
        for record in &found.records {
            let skipped = match sealer.open(record) {
                Err(error) => error.to_string(),
                Ok(record) => match codec::decode(&record) {
                    Ok(record) => {
                        restored.add(record);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
            };
            warn!(file = %path.display(), reason = skipped, "skipped a record of this node's tasks");
        }
        restored.settle();
        Ok((Self { journal, sealer }, restored))
    }

    /// On disk when this returns. Blocks.
    pub fn append(&mut self, records: &[Record]) -> Result<(), DiskError> {
        self.journal.append(&self.encode(records))
    }

    pub fn is_worth_replacing(&self) -> bool {
        self.journal.is_worth_replacing()
    }

    /// Puts these in place of everything. Blocks.
    pub fn replace(&mut self, records: &[Record]) -> Result<(), DiskError> {
        self.journal.replace(&self.encode(records))
    }

    fn encode(&self, records: &[Record]) -> Vec<Vec<u8>> {
        let seal = |record| self.sealer.seal(&Zeroizing::new(codec::encode(record)));
        records.iter().map(seal).collect()
    }
}

impl StoredSpec {
    pub fn new(spec: &Arc<AssignedSpec>, is_incomplete: bool) -> Self {
        if spec.task.registry_auth.is_none() {
            return Self { spec: spec.clone(), is_incomplete };
        }
        let mut bare = AssignedSpec::clone(spec);
        Arc::make_mut(&mut bare.task).registry_auth = None;
        Self { spec: Arc::new(bare), is_incomplete: true }
    }

    pub fn key(&self) -> SpecKey {
        (self.spec.service, self.spec.number)
    }
}

impl Restored {
    fn add(&mut self, record: Record) {
        match record {
            Record::Spec(spec) => drop(self.specs.insert(spec.key(), *spec)),
            Record::Task(task) => drop(self.tasks.insert(task.assigned.id, *task)),
            Record::Forgotten(task) => drop(self.tasks.remove(&task)),
        }
    }

    /// Nothing without its spec, and no spec that nobody uses.
    fn settle(&mut self) {
        let key = |task: &StoredTask| (task.assigned.service, task.assigned.spec);
        self.tasks.retain(|id, task| {
            let known = self.specs.contains_key(&key(task));
            if !known {
                warn!(task.id = %id, "forgot a task whose spec is lost");
            }
            known
        });
        let tasks = &self.tasks;
        self.specs.retain(|spec, _| tasks.values().any(|task| key(task) == *spec));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::sensitive::Sensitive;
    use common::object::{ServiceId, Slot, TaskSpec, TaskState};
    use common::random::SeededRandom;

    fn key() -> DataKey {
        DataKey::generate(&mut SeededRandom::new(1, "local key"))
    }

    fn spec(auth: Option<&str>) -> Arc<AssignedSpec> {
        let registry_auth = auth.map(|text| Sensitive::new(text.into()));
        Arc::new(AssignedSpec {
            service: ServiceId(1),
            number: 3,
            service_name: "web".into(),
            service_labels: BTreeMap::new(),
            task: Arc::new(TaskSpec { registry_auth, ..TaskSpec::default() }),
            ports: Vec::new(),
        })
    }

    fn task(id: u128, state: TaskState) -> StoredTask {
        StoredTask {
            assigned: AssignedTask {
                id: TaskId(id),
                service: ServiceId(1),
                slot: Slot::Number(1),
                spec: 3,
                desired: TaskState::Running,
                granted: None,
                iteration: None,
            },
            status: TaskStatus { state, ..TaskStatus::default() },
            stopping: Some(Stopping::Unhealthy { reason: "503".into() }),
            is_leaving: true,
        }
    }

    fn record(task: StoredTask) -> Record {
        Record::Task(Box::new(task))
    }

    #[test]
    fn the_newest_of_each_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, restored) = Disk::open(folder.path(), &key()).unwrap();
        assert!(restored.tasks.is_empty());
        let spec = Record::Spec(Box::new(StoredSpec::new(&spec(None), false)));
        disk.append(&[spec, record(task(1, TaskState::Accepted)), record(task(2, TaskState::Ready))])
            .unwrap();
        disk.append(&[record(task(1, TaskState::Running)), Record::Forgotten(TaskId(2))]).unwrap();
        drop(disk);
        let (_, restored) = Disk::open(folder.path(), &key()).unwrap();
        assert_eq!(restored.tasks, BTreeMap::from([(TaskId(1), task(1, TaskState::Running))]));
        assert_eq!(restored.specs.len(), 1);
    }

    #[test]
    fn credentials_stay_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, _) = Disk::open(folder.path(), &key()).unwrap();
        let stored = StoredSpec::new(&spec(Some("hunter2hunter2")), false);
        disk.append(&[Record::Spec(Box::new(stored)), record(task(1, TaskState::Ready))]).unwrap();
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"hunter2h"));
        let (_, restored) = Disk::open(folder.path(), &key()).unwrap();
        let spec = &restored.specs[&(ServiceId(1), 3)];
        assert!(spec.is_incomplete && spec.spec.task.registry_auth.is_none());
    }

    #[test]
    fn nothing_is_readable_and_another_node_s_key_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, _) = Disk::open(folder.path(), &key()).unwrap();
        let mut stored = StoredSpec::new(&spec(None), false);
        Arc::make_mut(&mut stored.spec).service_name = "a-name-that-is-nobodys-business".into();
        disk.append(&[Record::Spec(Box::new(stored)), record(task(1, TaskState::Running))]).unwrap();
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"a-name-t"));
        let other = DataKey::generate(&mut SeededRandom::new(2, "local key"));
        let (_, restored) = Disk::open(folder.path(), &other).unwrap();
        assert!(restored.tasks.is_empty() && restored.specs.is_empty());
    }

    #[test]
    fn a_damaged_journal_is_no_crash_and_keeps_what_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, _) = Disk::open(folder.path(), &key()).unwrap();
        let spec = Record::Spec(Box::new(StoredSpec::new(&spec(None), false)));
        disk.append(&[spec, record(task(1, TaskState::Running))]).unwrap();
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            let (_, restored) = Disk::open(folder.path(), &key()).unwrap();
            assert!(restored.tasks.len() <= 1);
        }
    }
}
