//! Once faults have ended, every service has what was asked for, nothing is under way for ever, and nodes run what the
//! store says and nothing else: work that was lost, or that nobody knows of, is what a cluster manager is there to
//! prevent.

use std::collections::BTreeSet;

use common::object::{NodeId, NodeState, ServiceMode, Task, TaskId, TaskState};
use manager::store::Tables;

/// What is so on one node, whatever the store says.
#[derive(Clone, Debug)]
pub struct Truth {
    pub node: NodeId,
    pub running: usize,
    /// Tasks of which anything is there.
    pub present: Vec<TaskId>,
}

/// Holds at the end. `services`: how many there should be.
pub fn check(tables: &Tables, services: usize, truths: &[Truth]) -> Result<(), String> {
    if let Some(node) = tables.nodes.iter().find(|node| node.status.state != NodeState::Ready) {
        return Err(format!("node {} is {}", node.id, node.status.state));
    }
    if tables.services.len() != services {
        return Err(format!("{} services instead of {services}", tables.services.len()));
    }
    for service in tables.services.iter() {
        let tasks: Vec<&Task> = tables.tasks_of_service(service.id).map(|task| &**task).collect();
        let run = service.job.map(|job| job.iteration);
        let serving = tasks.iter().filter(|task| task.is_wanted() && task.is_serving()).count();
        let is_done = |task: &&&Task| task.status.state == TaskState::Complete && task.iteration == run;
        let done = tasks.iter().filter(is_done).count();
        let nodes = tables.nodes.len();
        let (found, expected) = match service.spec().mode {
            ServiceMode::Replicated { replicas } => (serving, replicas as usize),
            ServiceMode::Global => (serving, nodes),
            ServiceMode::ReplicatedJob { completions, .. } => (done, completions as usize),
            ServiceMode::GlobalJob => (done, nodes),
        };
        if found != expected {
            return Err(format!(
                "{} lacks tasks or has too many: {found} of {expected}: {tasks:#?}",
                service.name()
            ));
        }
        if let Some(update) = service.update.as_ref().filter(|update| update.state.is_under_way()) {
            return Err(format!("the update of {} does not end: {update:?}", service.name()));
        }
        let is_stuck = |task: &&&Task| !task.is_wanted() && !task.status.state.is_final();
        if let Some(task) = tasks.iter().find(is_stuck) {
            return Err(format!("nobody wants it and it does not end: {task:?}"));
        }
    }
    truths.iter().try_for_each(|truth| agrees(tables, truth))
}

fn agrees(tables: &Tables, truth: &Truth) -> Result<(), String> {
    let known: BTreeSet<TaskId> = tables.tasks_on_node(truth.node).map(|task| task.id).collect();
    if let Some(stray) = truth.present.iter().find(|task| !known.contains(task)) {
        return Err(format!("node {} has task {stray}, which nobody knows", truth.node));
    }
    let running =
        tables.tasks_on_node(truth.node).filter(|task| task.status.state == TaskState::Running).count();
    if running != truth.running {
        return Err(format!("node {} runs {} tasks, the store says {running}", truth.node, truth.running));
    }
    Ok(())
}
