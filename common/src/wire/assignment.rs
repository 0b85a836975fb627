//! What a node should run: sent whole once per session, then as differences.
//!
//! A task names its spec by service and number; a spec is sent once per node, before or with the first task that
//! uses it, and forgotten there with the last one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::mesh::MeshUpdate;
use crate::object::ports::Port;
use crate::object::resources::GenericGrant;
use crate::object::sensitive::SensitiveBytes;
use crate::object::{PayloadId, PayloadKind, ServiceId, Slot, TaskId, TaskSpec, TaskState, TaskStatus};

/// One step from what a node has to what it should have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentUpdate {
    /// The number of the update this one follows; 0 for the first of a whole set, which replaces everything.
    pub applies_to: u64,
    pub results_in: u64,
    /// Another part follows, and only with the last one all of it holds.
    pub more: bool,
    pub specs: Vec<AssignedSpec>,
    pub tasks: Vec<AssignedTask>,
    pub removed: Vec<TaskId>,
    /// Sent before or with the first task that uses them, and again when a task follows the newest version.
    pub payloads: Vec<AssignedPayload>,
    /// No task of the node uses these any more: they leave its memory.
    pub payloads_removed: Vec<(PayloadId, u64)>,
    /// Why others do not come, as people are told: all that are waited for now. What the last part says holds.
    pub withheld: BTreeMap<PayloadKey, String>,
    /// Services the node can connect to, and where their tasks are.
    pub mesh: MeshUpdate,
    /// `digest` of all tasks and payloads the node should have after this update, and the shares of what its mesh
    /// should have; not looked at where `more` is set.
    pub digest: u64,
}

/// What tasks of one service and spec version share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedSpec {
    pub service: ServiceId,
    pub number: u64,
    pub service_name: String,
    pub service_labels: BTreeMap<String, String>,
    pub task: Arc<TaskSpec>,
    /// All published ports of the service, numbers given out.
    pub ports: Vec<Port>,
}

/// One version of a secret or config. Held in memory, and never written where it outlives the tasks that use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedPayload {
    pub id: PayloadId,
    pub version: u64,
    pub kind: PayloadKind,
    /// Filled in for each task before it is given to it.
    pub templated: bool,
    /// Sealed in a session's messages (`identity::sealed`), and as it is before and after.
    pub data: SensitiveBytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTask {
    pub id: TaskId,
    pub service: ServiceId,
    pub slot: Slot,
    pub spec: u64,
    pub desired: TaskState,
    pub granted: Option<Box<[GenericGrant]>>,
    pub iteration: Option<u64>,
}

/// What a node has seen of one task; `applied_at` means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    pub task: TaskId,
    pub status: TaskStatus,
}

/// One version of one payload; of a value that is a task's alone, `PayloadId::of_task` of it.
pub type PayloadKey = (PayloadId, u64);

/// Both sides of a session come to the same number when they agree on the tasks, on what is wanted of each, and on
/// the payloads.
pub fn digest<'a>(
    tasks: impl Iterator<Item = &'a AssignedTask>,
    payloads: impl Iterator<Item = PayloadKey>,
) -> u64 {
    // Sum of one hash each: the order does not matter, and one change costs one term.
    let tasks = tasks.fold(0, |sum: u64, task| sum.wrapping_add(task_digest(task)));
    payloads.fold(tasks, |sum, payload| sum.wrapping_add(payload_digest(payload)))
}

/// The share of one task in `digest`.
pub fn task_digest(task: &AssignedTask) -> u64 {
    mixed(0, [task.id.0 as u64, (task.id.0 >> 64) as u64, task.spec, task.desired as u64])
}

/// The share of one payload. A version never changes, so its number stands for its bytes.
pub fn payload_digest((payload, version): PayloadKey) -> u64 {
    mixed(1, [payload.0 as u64, (payload.0 >> 64) as u64, version, 0])
}

pub(super) fn mixed(kind: u64, words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325 ^ kind, |hash: u64, word| {
        // splitmix64: every bit of the input moves every bit of the output.
        let mut mixed = hash ^ word;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).wrapping_add(0x9e37_79b9_7f4a_7c15)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: u128, desired: TaskState) -> AssignedTask {
        AssignedTask {
            id: TaskId(id),
            service: ServiceId(1),
            slot: Slot::Number(1),
            spec: 1,
            desired,
            granted: None,
            iteration: None,
        }
    }

    #[test]
    fn a_digest_tells_sets_apart_and_not_their_order() {
        let (a, b) = (task(1, TaskState::Running), task(2, TaskState::Running));
        let of = |tasks: &[&AssignedTask], payloads: &[u128]| {
            let payloads = payloads.iter().map(|id| (PayloadId(*id), 1));
            digest(tasks.iter().copied(), payloads)
        };
        assert_eq!(of(&[&a, &b], &[]), of(&[&b, &a], &[]));
        assert_ne!(of(&[&a, &b], &[]), of(&[&a], &[]));
        assert_ne!(of(&[&a], &[]), of(&[&task(1, TaskState::Shutdown)], &[]));
        assert_ne!(of(&[&a], &[]), of(&[&b], &[]));
        assert_eq!(of(&[&a], &[1, 2]), of(&[&a], &[2, 1]));
        assert_ne!(of(&[&a], &[1]), of(&[&a], &[2]));
        assert_ne!(of(&[&a], &[1]), of(&[&a], &[]));
        let payload = |version| digest([].into_iter(), [(PayloadId(1), version)].into_iter());
        assert_ne!(payload(1), payload(2));
    }
}
