//! What a scenario shows: tasks, a service, its ports, in a few words per line.

use std::sync::Arc;

use common::object::{NodeId, Slot, Task};
use manager::store::Tables;

use super::world::World;

/// The tasks of a service, each slot's newest first and what is left of earlier ones below it.
pub fn tasks(world: &World, name: &str, history: bool) -> Vec<String> {
    let tables = world.store.snapshot();
    let service = world.service(name);
    let mut tasks: Vec<&Arc<Task>> = tables.tasks_of_service(service.id).collect();
    tasks.sort_by_key(|task| {
        (task.slot, std::cmp::Reverse((task.is_wanted(), task.meta.created_at, task.id)))
    });
    let mut lines = Vec::new();
    let mut last = None;
    for task in tasks {
        let below = last == Some(task.slot);
        last = Some(task.slot);
        if below && !history {
            continue;
        }
        let slot = match task.slot {
            Slot::Number(number) => format!("{name}.{number}"),
            Slot::Node(node) => format!("{name}.{}", node_name(world, node)),
        };
        let mut line = format!("{}{slot}  {}", if below { " \\_ " } else { "" }, task.status.state);
        if task.desired != task.status.state {
            line += &format!("/{}", task.desired);
        }
        line += &format!("  {}", task.node.map_or("-".into(), |node| node_name(world, node)));
        line += &format!("  {}", image(&tables, task));
        if let Some(at) = task.start_at.filter(|at| *at > world.now) {
            line += &format!("  starts in {}s", at.since(world.now).as_secs_f64());
        }
        if !task.status.error.is_empty() {
            line += &format!("  \"{}\"", task.status.error);
        }
        lines.push(line);
    }
    if lines.is_empty() {
        lines.push("(no tasks)".into());
    }
    lines
}

/// How many serve, and how the update stands.
pub fn service(world: &World, name: &str) -> Vec<String> {
    let service = world.service(name);
    let tables = world.store.snapshot();
    let serving =
        tables.tasks_of_service(service.id).filter(|task| super::world::serves(&tables, task)).count();
    let image = &service.spec().task.container.image;
    let mut lines = vec![format!("{name}  {serving} serving  {image}")];
    if let Some(update) = &service.update {
        lines.push(format!("update {}: {}", update.state, without_ids(&update.message)));
    }
    lines
}

pub fn ports(world: &World, name: &str) -> Vec<String> {
    let service = world.service(name);
    let line = |port: &common::object::ports::Port| {
        format!("{}:{}/{} {}", port.published, port.target, port.protocol, port.mode)
    };
    service.ports.iter().map(line).collect()
}

fn image(tables: &Tables, task: &Task) -> String {
    let spec = tables.services.get(task.service).and_then(|service| service.spec_at(task.spec));
    spec.map_or("?".into(), |spec| {
        let secrets = spec.task.container.secrets.iter();
        let versions: Vec<String> =
            secrets.map(|secret| format!("{}:{}", secret.name, secret.version)).collect();
        [vec![spec.task.container.image.clone()], versions].concat().join(" ")
    })
}

pub fn node_name(world: &World, node: NodeId) -> String {
    let name = world.nodes.iter().find(|(_, id)| **id == node).map(|(name, _)| name.clone());
    name.unwrap_or_else(|| "(gone)".into())
}

/// Ids differ from run to run of a changed program; what is said of them does not.
fn without_ids(text: &str) -> String {
    let is_id = |word: &&str| word.len() == common::object::id::ID_LENGTH;
    text.split(' ').map(|word| if is_id(&word) { "<id>" } else { word }).collect::<Vec<_>>().join(" ")
}
