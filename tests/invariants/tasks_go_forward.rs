//! What was seen of a task, and what is wanted of it, only moves forward: everybody who follows a task relies on an
//! end being an end, and on a stop not being taken back.

use manager::store::{Change, Tables, Write};

pub fn check(before: &Tables, after: &Tables, changes: &[Change]) -> Result<(), String> {
    for change in changes {
        let Change::Task(Write::Update { value, .. }) = change else { continue };
        let (Some(old), Some(new)) = (before.tasks.get(value.id), after.tasks.get(value.id)) else {
            continue;
        };
        if let Err(error) = old.status.state.advance(new.status.state) {
            return Err(format!("task {}: {error}", value.id));
        }
        if old.desired > new.desired {
            return Err(format!("task {} was wanted {} and now {}", value.id, old.desired, new.desired));
        }
        if old.node.is_some() && old.node != new.node {
            return Err(format!("task {} moves from one node to another", value.id));
        }
    }
    Ok(())
}
