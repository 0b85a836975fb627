//! Secrets and configs that this node's tasks use: in memory, and nowhere else.
//!
//! They come with assignments and go with the last task that uses them; when the last holder lets go, the bytes are
//! overwritten. They are not in the journal: after a restart of the daemon a task that runs keeps the files it has,
//! and one that is to start waits until a manager has sent them again.
//!
//! Not here: the files that tasks get (`runtime::files`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::limits::WITHHELD_REASON_CHARS_MAX;
use common::object::container::{ContainerSpec, FileReference};
use common::object::payload_template::{Known, fill_in};
use common::object::sensitive::SensitiveBytes;
use common::object::template::Values;
use common::object::{PayloadId, PayloadKind, TaskId, TaskSpec};
use common::wire::assignment::{AssignedPayload, PayloadKey};

use crate::runtime::TaskFile;

type Held = BTreeMap<PayloadKey, Arc<AssignedPayload>>;
/// Why managers do not send others, as people are told.
type Withheld = BTreeMap<PayloadKey, String>;

/// All that this node has.
#[derive(Debug, Default)]
pub struct Payloads {
    pub held: Held,
    pub withheld: Withheld,
}

/// What one task uses of it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    held: Held,
    withheld: Withheld,
}

/// Why a task cannot have its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// They have not come yet.
    Missing(String),
    /// They never can be as they are asked for.
    Refused(String),
}

/// A version's bytes never change: the same versions are the same.
impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        self.held.keys().eq(other.held.keys()) && self.withheld == other.withheld
    }
}

impl Payloads {
    /// What a task of that spec uses. Of references that refresh, the newest version that is here.
    pub fn given(&self, task: TaskId, spec: &TaskSpec) -> Given {
        let references = || spec.container.references().map(|(_, reference)| reference);
        let held = references().filter_map(|reference| find(&self.held, task, reference));
        let withheld = references().filter_map(|reference| find(&self.withheld, task, reference));
        Given {
            held: held.map(|(key, payload)| (*key, payload.clone())).collect(),
            withheld: withheld.map(|(key, why)| (*key, why.clone())).collect(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.held.values().map(|payload| payload.data.length()).sum()
    }
}

impl Given {
    /// The files of a task, templates filled in. `spec` is filled in too.
    pub fn files(&self, spec: &ContainerSpec, values: Values<'_>) -> Result<Vec<TaskFile>, Problem> {
        let task = values.task;
        let mut found = Vec::new();
        for (kind, reference) in spec.references() {
            let Some(target) = &reference.target else { continue };
            let payload = find(&self.held, task, reference).map(|(_, payload)| payload);
            let payload = payload.ok_or_else(|| {
                let why = find(&self.withheld, task, reference).map(|(_, why)| why);
                let why = why.map(|why| why.chars().take(WITHHELD_REASON_CHARS_MAX).collect());
                Problem::Missing(why.unwrap_or_else(|| waiting(kind, reference)))
            })?;
            found.push((kind, target.as_str(), reference, payload));
        }
        let known: Vec<(PayloadKind, &str, &SensitiveBytes)> =
            found.iter().map(|(kind, target, _, payload)| (*kind, *target, &payload.data)).collect();
        let known = Known { values, env: &spec.env, files: &known };
        let file = |(kind, target, reference, payload): &(_, &str, &FileReference, &Arc<AssignedPayload>)| {
            let refused = |reason: String| Problem::Refused(format!("{kind} {}: {reason}", reference.name));
            let number = |what: &str, text: &str| match text {
                "" => Ok(0),
                text => text.parse().map_err(|_| refused(format!("its {what} '{text}' is not a number"))),
            };
            let data = if payload.templated {
                fill_in(*kind, &payload.data, &known)
                    .map_err(|reason| refused(format!("expanding it failed: {reason}")))?
            } else {
                payload.data.clone()
            };
            Ok(TaskFile {
                kind: *kind,
                name: reference.name.clone(),
                target: target.to_string(),
                uid: number("uid", &reference.uid)?,
                gid: number("gid", &reference.gid)?,
                mode: reference.mode,
                refresh: reference.refresh.clone(),
                data,
            })
        };
        found.iter().map(file).collect()
    }
}

/// Whether a task has any files of ours.
pub fn has_files(spec: &ContainerSpec) -> bool {
    spec.references().any(|(_, reference)| reference.target.is_some())
}

/// Whether any of them may change while the task runs.
pub fn has_refreshing_files(spec: &ContainerSpec) -> bool {
    spec.references().any(|(_, reference)| reference.target.is_some() && reference.refresh.is_some())
}

/// Whether a task of that spec uses any version of one of these payloads.
pub fn uses_any(task: TaskId, spec: &TaskSpec, changed: &BTreeSet<PayloadId>) -> bool {
    let is_changed = |id: PayloadId| changed.contains(&id) || changed.contains(&id.of_task(task));
    spec.container.references().any(|(_, one)| one.wanted().is_some_and(|(id, _)| is_changed(id)))
}

/// What is there for a reference of a task: for it alone, or for all that use the same.
fn find<'a, T>(
    among: &'a BTreeMap<PayloadKey, T>,
    task: TaskId,
    reference: &FileReference,
) -> Option<(&'a PayloadKey, &'a T)> {
    let (id, version) = reference.wanted()?;
    let of = |id: PayloadId| match version {
        Some(version) => among.get_key_value(&(id, version)),
        None => among.range((id, 0)..=(id, u64::MAX)).next_back(),
    };
    of(id.of_task(task)).or_else(|| of(id))
}

fn waiting(kind: PayloadKind, reference: &FileReference) -> String {
    let version = match reference.wanted() {
        Some((_, Some(version))) => format!(" (version {version})"),
        Some((_, None)) | None => String::new(),
    };
    format!("waiting for {kind} {}{version}: no manager has sent it yet", reference.name)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use common::object::node::Platform;
    use common::object::{NodeId, ServiceId, Slot};

    pub fn payload(id: u128, version: u64, data: &str) -> AssignedPayload {
        AssignedPayload {
            id: PayloadId(id),
            version,
            kind: PayloadKind::Secret,
            templated: false,
            data: SensitiveBytes::new(data.into()),
        }
    }

    pub fn reference(id: u128, version: u64, refresh: Option<&str>) -> FileReference {
        FileReference {
            id: PayloadId(id).to_string(),
            name: format!("p{id}"),
            target: Some(format!("t{id}")),
            mode: 0o400,
            version,
            refresh: refresh.map(String::from),
            ..FileReference::default()
        }
    }

    fn held(payloads: Vec<AssignedPayload>) -> Payloads {
        let held = payloads.into_iter().map(|one| ((one.id, one.version), Arc::new(one))).collect();
        Payloads { held, ..Payloads::default() }
    }

    fn spec(secrets: Vec<FileReference>) -> TaskSpec {
        TaskSpec { container: ContainerSpec { secrets, ..ContainerSpec::default() }, ..TaskSpec::default() }
    }

    fn files(given: &Given, spec: &TaskSpec) -> Result<Vec<TaskFile>, Problem> {
        let values = Values {
            service: ServiceId(1),
            service_name: "web",
            service_labels: None,
            node: NodeId(1),
            node_hostname: "n1",
            platform: &Platform::default(),
            task: TaskId(1),
            task_name: "web.1.x",
            slot: Slot::Number(1),
        };
        given.files(&spec.container, values)
    }

    #[test]
    fn a_task_gets_its_version_or_the_newest_and_nothing_else() {
        let held = held(vec![payload(1, 1, "old"), payload(1, 3, "new"), payload(2, 1, "other")]);
        let spec = spec(vec![
            reference(1, 1, None),
            FileReference { target: Some("x".into()), ..reference(1, 1, Some("SIGHUP")) },
        ]);
        let given = held.given(TaskId(1), &spec);
        assert_eq!(given.held.keys().copied().collect::<Vec<_>>(), [(PayloadId(1), 1), (PayloadId(1), 3)]);
        let files = files(&given, &spec).unwrap();
        let told: Vec<_> =
            files.iter().map(|file| (file.target.as_str(), file.data.reveal(), file.mode)).collect();
        assert_eq!(told, [("t1", &b"old"[..], 0o400), ("x", &b"new"[..], 0o400)]);
        assert!(!format!("{files:?} {given:?}").contains("old"));
    }

    #[test]
    fn what_is_not_here_is_waited_for_and_what_cannot_be_is_refused() {
        let held = held(vec![payload(1, 1, "{{secret `t9`}}")]);
        let problem = |spec: &TaskSpec| files(&held.given(TaskId(1), spec), spec).unwrap_err();
        let waiting = "waiting for secret p1 (version 2): no manager has sent it yet";
        assert_eq!(problem(&spec(vec![reference(1, 2, None)])), Problem::Missing(waiting.into()));
        let odd = FileReference { uid: "root".into(), ..reference(1, 1, None) };
        assert_eq!(
            problem(&spec(vec![odd])),
            Problem::Refused("secret p1: its uid 'root' is not a number".into())
        );
        let template = AssignedPayload { templated: true, ..payload(1, 1, "{{secret `t9`}}") };
        let spec = spec(vec![reference(1, 1, None)]);
        let Err(Problem::Refused(reason)) = files(&self::held(vec![template]).given(TaskId(1), &spec), &spec)
        else {
            panic!("it names what the task does not have")
        };
        assert!(reason.starts_with("secret p1: expanding it failed: ") && !reason.contains("t9"), "{reason}");
    }

    #[test]
    fn a_value_for_one_task_is_no_other_s_and_why_it_does_not_come_is_told() {
        let alone = PayloadId(1).of_task(TaskId(1));
        let mut held = held(vec![AssignedPayload { id: alone, ..payload(1, 1, "mine") }]);
        held.withheld = [((PayloadId(1).of_task(TaskId(2)), 1), "secret p1: driver x: away".into())].into();
        for refresh in [None, Some("")] {
            let spec = spec(vec![reference(1, 1, refresh)]);
            let given = |task| held.given(TaskId(task), &spec);
            assert_eq!(files(&given(1), &spec).unwrap()[0].data.reveal(), b"mine");
            assert_eq!((given(2).held.len(), given(2).withheld.len()), (0, 1));
            assert_eq!((given(3).held.len(), given(3).withheld.len()), (0, 0));
            assert_ne!(given(2), given(3), "news for its task");
            let changed = [alone].into();
            assert!(uses_any(TaskId(1), &spec, &changed) && !uses_any(TaskId(2), &spec, &changed));
        }
        held.held.clear();
        held.withheld = [((alone, 1), "secret p1: driver x: away".into())].into();
        let spec = spec(vec![reference(1, 1, None)]);
        let problem = files(&held.given(TaskId(1), &spec), &spec).unwrap_err();
        assert_eq!(problem, Problem::Missing("secret p1: driver x: away".into()));
    }

    #[test]
    fn the_bytes_are_gone_with_the_last_holder() {
        let held = held(vec![payload(1, 1, "value")]);
        let spec = spec(vec![reference(1, 1, None)]);
        let given = held.given(TaskId(1), &spec);
        let last = Arc::downgrade(&given.held[&(PayloadId(1), 1)]);
        drop(held);
        assert!(last.upgrade().is_some());
        drop(given);
        assert!(last.upgrade().is_none());
    }
}
