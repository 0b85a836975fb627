//! Events: what people are told of a change in the store. Pure.
//!
//! Types, actions and attributes are Docker's; `task` events are ours. A write that changes nothing people see (how
//! far an update is, when a node was last heard) is no event.

use std::collections::BTreeMap;

use common::engine_api::event::{Actor, Event};
use common::object::service::UpdateStatus;
use common::object::{Meta, Network, Node, Payload, Service, ServiceMode, Task};
use common::time::Timestamp;

use super::lookup::name_of;
use crate::store::{Changed, Tables};

/// The event of one change. `at` is when something was removed: what is gone does not say.
pub fn event_of(changed: &Changed, tables: &Tables, at: Timestamp) -> Option<Event> {
    match changed {
        Changed::Cluster { .. } => None,
        Changed::Payload { before, after } => of_payload(before.as_deref(), after.as_deref(), at),
        Changed::Network { before, after } => of_network(before.as_deref(), after.as_deref(), at),
        Changed::Node { before, after } => of_node(before.as_deref(), after.as_deref(), at),
        Changed::Service { before, after } => of_service(before.as_deref(), after.as_deref(), at),
        Changed::Task { before, after } => of_task(before.as_deref(), after.as_deref(), tables, at),
    }
}

/// When a change was written; none of a removal.
pub fn time_of(changed: &Changed) -> Option<Timestamp> {
    fn written<T>(after: Option<&T>, meta: impl Fn(&T) -> &Meta) -> Option<Timestamp> {
        after.map(|object| meta(object).updated_at)
    }
    match changed {
        Changed::Cluster { after, .. } => written(after.as_deref(), |object| &object.meta),
        Changed::Node { after, .. } => written(after.as_deref(), |object| &object.meta),
        Changed::Service { after, .. } => written(after.as_deref(), |object| &object.meta),
        Changed::Task { after, .. } => written(after.as_deref(), |object| &object.meta),
        Changed::Payload { after, .. } => written(after.as_deref(), |object| &object.meta),
        Changed::Network { after, .. } => written(after.as_deref(), |object| &object.meta),
    }
}

fn of_node(before: Option<&Node>, after: Option<&Node>, at: Timestamp) -> Option<Event> {
    let shown = after.or(before)?;
    let mut attributes = Attributes::default();
    let hostname = shown.description.as_ref().map_or("", |description| &description.hostname);
    attributes.set("name", if shown.spec.name.is_empty() { hostname } else { &shown.spec.name });
    if let (Some(before), Some(after)) = (before, after) {
        let same = before.spec == after.spec
            && before.role == after.role
            && before.status.state == after.status.state
            && before.manager == after.manager;
        if same {
            return None;
        }
        attributes.differ("availability", &before.spec.availability, &after.spec.availability);
        attributes.differ("role", &before.role, &after.role);
        attributes.differ("state", &before.status.state, &after.status.state);
    }
    attributes.event(
        "node",
        shown.id.to_string(),
        action(before.is_some(), after.is_some()),
        at_of(after, at),
    )
}

fn of_service(before: Option<&Service>, after: Option<&Service>, at: Timestamp) -> Option<Event> {
    // A removed service is gone for everybody, and the object follows in silence.
    let there = |service: &&Service| !service.removed;
    let (was, is) = (before.filter(there), after.filter(there));
    let shown = is.or(was)?;
    let time = after.map_or(at, |after| after.meta.updated_at);
    let mut attributes = Attributes::default();
    attributes.set("name", shown.name());
    if let (Some(was), Some(is)) = (was, is) {
        let state = |update: &Option<UpdateStatus>| {
            update.as_ref().map(|update| update.state.to_string()).unwrap_or_default()
        };
        let (old, new) = (state(&was.update), state(&is.update));
        let same = was.current.number == is.current.number
            && was.current.at == is.current.at
            && old == new
            && was.ports == is.ports
            && was.rebalance == is.rebalance;
        if same {
            return None;
        }
        attributes.differ("image", &was.spec().task.container.image, &is.spec().task.container.image);
        if let (ServiceMode::Replicated { replicas: was }, ServiceMode::Replicated { replicas: is }) =
            (was.spec().mode, is.spec().mode)
        {
            attributes.differ("replicas", &was, &is);
        }
        if !new.is_empty() && old != new {
            if !old.is_empty() {
                attributes.set("updatestate.old", old);
            }
            attributes.set("updatestate.new", new);
        }
    }
    attributes.event("service", shown.id.to_string(), action(was.is_some(), is.is_some()), time)
}

fn of_task(before: Option<&Task>, after: Option<&Task>, tables: &Tables, at: Timestamp) -> Option<Event> {
    let shown = after.or(before)?;
    let mut attributes = Attributes::default();
    // None where the service is gone by now: an event that is read later says nothing rather than an empty name.
    if let Some(name) = name_of(tables, shown) {
        attributes.set("name", name);
    }
    attributes.set("service", shown.service);
    attributes.set("slot", shown.slot.number());
    if let Some(node) = shown.node {
        attributes.set("node", node);
        let description = tables.nodes.get(node).and_then(|node| node.description.as_ref());
        attributes.set("hostname", description.map_or("", |description| &description.hostname));
    }
    let status = &shown.status;
    match (before, after) {
        (Some(before), Some(after)) => {
            let ready = before.is_serving() == after.is_serving();
            let error = before.status.error == after.status.error;
            let states = before.status.state == after.status.state && before.desired == after.desired;
            if states && ready && error && before.node == after.node {
                return None;
            }
            attributes.differ("state", &before.status.state, &after.status.state);
            attributes.differ("desired", &before.desired, &after.desired);
            attributes.differ("ready", &before.is_serving(), &after.is_serving());
        }
        (None, Some(_)) | (Some(_), None) | (None, None) => attributes.set("state", status.state),
    }
    if !status.error.is_empty() {
        attributes.set("error", &status.error);
    }
    if let Some(code) = status.container.as_ref().and_then(|container| container.exit_code)
        && status.state.is_final()
    {
        attributes.set("exitCode", code);
    }
    let time = after.map_or(at, |after| after.meta.updated_at);
    attributes.event("task", shown.id.to_string(), action(before.is_some(), after.is_some()), time)
}

/// Of a secret or config: its name, and that there is a new version of its data.
fn of_payload(before: Option<&Payload>, after: Option<&Payload>, at: Timestamp) -> Option<Event> {
    let shown = after.or(before)?;
    let mut attributes = Attributes::default();
    attributes.set("name", &shown.spec.name);
    if let (Some(before), Some(after)) = (before, after) {
        let (old, new) = (before.newest().number, after.newest().number);
        if before.spec == after.spec && old == new {
            return None;
        }
        attributes.differ("version", &old, &new);
    }
    let time = after.map_or(at, |after| after.meta.updated_at);
    let action = action(before.is_some(), after.is_some());
    attributes.event(&shown.kind.to_string(), shown.id.to_string(), action, time)
}

fn of_network(before: Option<&Network>, after: Option<&Network>, at: Timestamp) -> Option<Event> {
    let shown = after.or(before)?;
    let mut attributes = Attributes::default();
    attributes.set("name", &shown.spec.name);
    let time = after.map_or(at, |after| after.meta.updated_at);
    attributes.event("network", shown.id.to_string(), action(before.is_some(), after.is_some()), time)
}

fn at_of(after: Option<&Node>, at: Timestamp) -> Timestamp {
    after.map_or(at, |after| after.meta.updated_at)
}

fn action(was: bool, is: bool) -> &'static str {
    match (was, is) {
        (false, _) => "create",
        (true, true) => "update",
        (true, false) => "remove",
    }
}

#[derive(Default)]
struct Attributes(BTreeMap<String, String>);

impl Attributes {
    fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.into(), value.to_string());
    }

    /// `<name>.old` and `<name>.new`, where they are not the same.
    fn differ<T: PartialEq + ToString>(&mut self, name: &str, old: &T, new: &T) {
        if old != new {
            self.set(&format!("{name}.old"), old.to_string());
            self.set(&format!("{name}.new"), new.to_string());
        }
    }

    fn event(self, kind: &str, id: String, action: &str, at: Timestamp) -> Option<Event> {
        let time_nano = i64::try_from(at.0).unwrap_or(i64::MAX);
        Some(Event {
            kind: kind.into(),
            action: action.into(),
            actor: Actor { id, attributes: self.0 },
            scope: "swarm".into(),
            time: time_nano / 1_000_000_000,
            time_nano,
        })
    }
}
