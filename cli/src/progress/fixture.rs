//! Services and tasks in a few words, for the tests of this folder.

use std::collections::BTreeSet;

use common::engine_api::service::Service;
use common::engine_api::task::Task;
use common::time::Timestamp;
use serde_json::{Value, json};

use super::assess::assess;
use super::watch::{View, Watch};
use super::{Intent, Progress};

pub const START: Timestamp = Timestamp(1_795_161_600_000_000_000);

pub fn at(seconds: u64) -> Timestamp {
    Timestamp(START.0 + seconds * 1_000_000_000)
}

pub fn service(mode: Value) -> Service {
    let spec = json!({"Name": "web", "Mode": mode, "TaskTemplate": {"ContainerSpec": {"Image": "nginx"}}});
    serde_json::from_value(json!({"ID": "s", "Spec": spec, "SpecNumber": 1})).expect("a service")
}

pub fn replicated(count: u64) -> Service {
    service(json!({"Replicated": {"Replicas": count}}))
}

/// With an update whose status says this.
pub fn updating(count: u64, state: &str) -> Service {
    let mut service = replicated(count);
    let status = json!({"State": state, "Message": "the message"});
    service.update_status = Some(serde_json::from_value(status).expect("a status"));
    service
}

/// `id slot desired state since[: error]`; the slot may be a node, `@n1`.
pub fn task(text: &str) -> Task {
    let (text, error) = text.split_once(": ").unwrap_or((text, ""));
    let words: Vec<&str> = text.split(' ').collect();
    let [id, slot, desired, state, since] = words[..] else { panic!("five words in {text:?}") };
    let since = at(since.parse().expect("seconds")).to_rfc3339();
    let node = slot.strip_prefix('@').unwrap_or("n1");
    serde_json::from_value(json!({
        "ID": id, "Slot": slot.parse::<u64>().unwrap_or(0), "DesiredState": desired, "NodeID": node,
        "CreatedAt": since, "Status": {"State": state, "Timestamp": since, "Err": error},
    }))
    .expect("a task")
}

pub fn look(watch: &mut Watch, service: &Service, tasks: &[&str], down: &[&str], seconds: u64) -> Progress {
    let tasks: Vec<Task> = tasks.iter().map(|text| task(text)).collect();
    let down: BTreeSet<String> = down.iter().map(|node| (*node).to_owned()).collect();
    let view = View { service, tasks: &tasks, down: &down, now: at(seconds) };
    watch.note(&view);
    assess(&view, watch, Intent::Apply).expect("a mode")
}
