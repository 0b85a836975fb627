//! How a container says whose it is: its labels.
//!
//! Docker's own words, so that people's tools find them. Several daemons may share one engine: a container belongs
//! to the node whose id it bears, and to no other.

use std::collections::HashMap;

use common::object::{NodeId, TaskId};

use crate::runtime::TaskSetup;

const TASK: &str = "com.docker.swarm.task";
const TASK_ID: &str = "com.docker.swarm.task.id";
const TASK_NAME: &str = "com.docker.swarm.task.name";
const NODE_ID: &str = "com.docker.swarm.node.id";
const SERVICE_ID: &str = "com.docker.swarm.service.id";
const SERVICE_NAME: &str = "com.docker.swarm.service.name";

/// A container's labels: those of the spec, and ours over them.
pub fn labels(setup: &TaskSetup) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> =
        setup.spec.container.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.extend([
        (TASK.into(), String::new()),
        (TASK_ID.into(), setup.task.to_string()),
        (TASK_NAME.into(), setup.name.clone()),
        (NODE_ID.into(), setup.node.to_string()),
        (SERVICE_ID.into(), setup.service.to_string()),
        (SERVICE_NAME.into(), setup.service_name.clone()),
    ]);
    labels
}

/// Whose a container with these labels is: the task, if it is one of this node.
pub fn owner(labels: Option<&HashMap<String, String>>, node: NodeId) -> Option<TaskId> {
    let labels = labels?;
    let of_node = labels.get(NODE_ID)?.parse::<NodeId>().ok()? == node;
    let task = labels.get(TASK_ID)?.parse().ok()?;
    of_node.then_some(task)
}

/// What lists and events are narrowed by: all of this node, or one task.
pub fn filter(node: NodeId, task: Option<TaskId>) -> HashMap<String, Vec<String>> {
    let mut wanted = vec![format!("{NODE_ID}={node}")];
    wanted.extend(task.map(|task| format!("{TASK_ID}={task}")));
    HashMap::from([("label".into(), wanted)])
}
