//! Which tasks are as their service's current spec says.
//!
//! Pure. A new spec number alone makes no task out of date: only a change that the running task would have to show.
//! What only matters later (how to restart, whom to ask for the image) or is still kept (a placement that the task's
//! node satisfies) replaces nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::object::service::ServiceMode;
use common::object::{Node, Service, ServiceSpec, Task};

use super::draft::Draft;
use super::place;

/// Whether a task, on this node, needs no replacement for its service's current spec.
pub fn is_up_to_date(service: &Service, task: &Task, node: Option<&Node>) -> bool {
    holds(likeness_of(service, task.spec), service, node)
}

/// How an earlier spec is like the current one, as far as tasks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    /// But for where tasks may be.
    OtherPlacement,
    Different,
}

/// A service while it is looked at, with what was found out about its earlier specs.
pub(super) struct Site {
    pub service: Arc<Service>,
    likeness: BTreeMap<u64, Likeness>,
}

impl Site {
    pub fn new(service: Arc<Service>) -> Self {
        Self { service, likeness: BTreeMap::new() }
    }

    /// Takes over what the draft has made of the service.
    pub fn refresh(&mut self, draft: &Draft) {
        let Some(service) = draft.tables().services.get(self.service.id) else { return };
        if !Arc::ptr_eq(service, &self.service) {
            *self = Self::new(service.clone());
        }
    }

    pub fn mode(&self) -> ServiceMode {
        self.service.spec().mode
    }

    pub fn is_paused(&self) -> bool {
        self.service.update.as_ref().is_some_and(|update| update.state.is_paused())
    }

    pub fn is_updating(&self) -> bool {
        self.service.update.as_ref().is_some_and(|update| update.state.is_under_way())
    }

    pub fn likeness(&mut self, number: u64) -> Likeness {
        let service = &self.service;
        *self.likeness.entry(number).or_insert_with(|| likeness_of(service, number))
    }

    pub fn is_up_to_date(&mut self, task: &Task, node: Option<&Node>) -> bool {
        holds(self.likeness(task.spec), &self.service, node)
    }
}

fn holds(likeness: Likeness, service: &Service, node: Option<&Node>) -> bool {
    match likeness {
        Likeness::Same => true,
        Likeness::Different => false,
        // Before it has a node it would be placed by its own spec, which is not what is wanted now.
        Likeness::OtherPlacement => node.is_some_and(|node| place::fits(node, service.spec()).is_ok()),
    }
}

fn likeness_of(service: &Service, number: u64) -> Likeness {
    if number == service.current.number {
        return Likeness::Same;
    }
    service.spec_at(number).map_or(Likeness::Different, |earlier| compare(earlier, service.spec()))
}

pub(super) fn compare(earlier: &ServiceSpec, current: &ServiceSpec) -> Likeness {
    let (a, b) = (&earlier.task, &current.task);
    let same = a.runtime == b.runtime
        && a.container == b.container
        && a.resources == b.resources
        && a.networks == b.networks
        && a.log_driver == b.log_driver
        && a.force_update == b.force_update
        && earlier.endpoint.clone().unwrap_or_default() == current.endpoint.clone().unwrap_or_default();
    match same {
        false => Likeness::Different,
        true if a.placement != b.placement => Likeness::OtherPlacement,
        true => Likeness::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::policy::{RestartPolicy, UpdateConfig};
    use common::object::ports::{EndpointSpec, Port};
    use common::object::sensitive::Sensitive;
    use common::object::{Availability, NodeId, Role, ServiceId, Slot, TaskId, TaskState};
    use common::time::Timestamp;

    #[test]
    fn only_a_change_that_tasks_show_replaces_them() {
        type Edit = fn(&mut ServiceSpec);
        #[rustfmt::skip]
        let cases: [(&str, Edit, bool); 11] = [ // what changes, how, still up to date
            ("nothing",           |_| {}, true),
            ("service label",     |spec| drop(spec.labels.insert("a".into(), "b".into())), true),
            ("replicas",          |spec| spec.mode = ServiceMode::Replicated { replicas: 9 }, true),
            ("update config",     |spec| spec.update = Some(UpdateConfig::default()), true),
            ("restart policy",    |spec| spec.task.restart = Some(RestartPolicy::default()), true),
            ("registry auth",     |spec| spec.task.registry_auth = Some(Sensitive::new("token".into())), true),
            ("an empty endpoint", |spec| spec.endpoint = Some(EndpointSpec::default()), true),
            ("environment",       |spec| spec.task.container.env.push("A=1".into()), false),
            ("force",             |spec| spec.task.force_update += 1, false),
            ("memory",            |spec| spec.task.resources.limits.memory_bytes = 1 << 30, false),
            ("ports",             |spec| {
                spec.endpoint = Some(EndpointSpec { mode: None, ports: vec![Port::default()] });
            }, false),
        ];
        let node = Node::new(NodeId(1), Role::Worker, Availability::Active);
        for (what, edit, expected) in cases {
            let mut service = Service::new(ServiceId(1), ServiceSpec::default(), Timestamp(1));
            let task = Task::new(TaskId(1), service.id, Slot::Number(1), 1, TaskState::Running);
            let mut next = ServiceSpec::clone(service.spec());
            edit(&mut next);
            service.replace_spec(Arc::new(next), Timestamp(2));
            assert_eq!(is_up_to_date(&service, &task, Some(&node)), expected, "{what}");
        }
    }

    #[test]
    fn a_task_without_its_spec_is_out_of_date() {
        let service = Service::new(ServiceId(1), ServiceSpec::default(), Timestamp(1));
        let task = Task::new(TaskId(1), service.id, Slot::Number(1), 77, TaskState::Running);
        assert!(!is_up_to_date(&service, &task, None));
    }
}
