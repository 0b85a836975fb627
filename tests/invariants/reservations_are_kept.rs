//! What is reserved on a node is never more than the node has: a reservation is a promise to the task. A task holds
//! its own until its node has told the leader of its end, whatever is wanted of it. That end may be written a moment
//! after what takes its place, in a proposal of its own.

use std::collections::BTreeSet;

use common::object::TaskId;
use manager::store::Tables;

/// `ended`: tasks of whose end a leader has heard.
pub fn check(after: &Tables, ended: &BTreeSet<TaskId>) -> Result<(), String> {
    for node in after.nodes.iter() {
        let Some(description) = &node.description else { continue };
        let (mut nano_cpus, mut memory_bytes) = (0i64, 0i64);
        for task in after.tasks_on_node(node.id).filter(|task| task.is_on_node() && !ended.contains(&task.id))
        {
            let spec = after.services.get(task.service).and_then(|service| service.spec_at(task.spec));
            let Some(spec) = spec else { return Err(format!("the spec of task {} is gone", task.id)) };
            nano_cpus += spec.task.resources.reservations.nano_cpus;
            memory_bytes += spec.task.resources.reservations.memory_bytes;
        }
        let has = &description.resources;
        if nano_cpus > has.nano_cpus || memory_bytes > has.memory_bytes {
            return Err(format!(
                "on node {} are reserved {nano_cpus} nano-CPUs of {}, {memory_bytes} bytes of {}",
                node.id, has.nano_cpus, has.memory_bytes
            ));
        }
    }
    Ok(())
}
