//! Placing by example: a world of tables and a board that keeps up with them, and where tasks go in it.

mod filters;
mod keeping_up;
mod promises;
mod ranking;
mod staying;

use std::collections::BTreeMap;
use std::time::Duration;

use common::object::node::NodeDescription;
use common::object::resources::GenericStock;
use common::object::service::RuntimeKind;
use common::object::*;
use common::time::Timestamp;

use super::*;
use crate::store::apply::apply;
use crate::store::{Change, Proposal, Write};

const MIB: i64 = 1 << 20;
const CPU: i64 = 1_000_000_000;

/// What is in the tables, and a board that is told of every change.
#[derive(Clone, Default)]
struct World {
    tables: Tables,
    board: Board,
    now: Timestamp,
    next_task: u128,
}

impl World {
    /// Nodes n1, n2, … with 4 processors, 1 GiB and runtimes for all.
    fn with_nodes(count: u128) -> Self {
        let mut world = Self { now: Timestamp(1_000_000_000_000), next_task: 1, ..Self::default() };
        (1..=count).for_each(|id| world.node(id, |_| {}));
        world
    }

    fn write(&mut self, change: Change) {
        let version = Version(self.tables.version.0 + 1);
        let proposal = Proposal { id: version.0, at: self.now, changes: vec![change] };
        apply(&mut self.tables, version, &proposal).0.expect("the test writes what it read");
    }

    /// Makes or changes a node.
    fn node(&mut self, id: u128, change: impl FnOnce(&mut Node)) {
        let id = NodeId(id);
        let write = match self.tables.nodes.get(id) {
            Some(node) => {
                let mut node = Node::clone(node);
                change(&mut node);
                Write::update(node)
            }
            None => {
                let mut node = ready_node(id);
                change(&mut node);
                Write::Create(node)
            }
        };
        self.write(Change::Node(write));
        self.board.sync_node(&self.tables, id);
    }

    fn remove_node(&mut self, id: u128) {
        let read_at = self.tables.nodes.get(NodeId(id)).expect("it is there").meta.version;
        self.write(Change::Node(Write::Remove { id: NodeId(id), read_at }));
        self.board.sync_node(&self.tables, NodeId(id));
    }

    /// Makes a service, or gives it a new spec.
    fn service(&mut self, id: u128, change: impl FnOnce(&mut ServiceSpec)) {
        let id = ServiceId(id);
        let write = match self.tables.services.get(id) {
            Some(service) => {
                let mut service = Service::clone(service);
                let mut spec = ServiceSpec::clone(service.spec());
                change(&mut spec);
                service.replace_spec(spec.into(), self.now);
                Write::update(service)
            }
            None => {
                let mut spec = ServiceSpec { name: format!("s{}", id.0), ..ServiceSpec::default() };
                spec.task.runtime = RuntimeKind::Fake;
                change(&mut spec);
                Write::Create(Service::new(id, spec, self.now))
            }
        };
        self.write(Change::Service(write));
        self.board.sync_service(&self.tables, id);
    }

    /// Adds a task of the current spec that waits for a node; answers it.
    fn task(&mut self, service: u128, slot: u64) -> TaskId {
        self.task_in(service, Slot::Number(slot))
    }

    fn task_in(&mut self, service: u128, slot: Slot) -> TaskId {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        let service = ServiceId(service);
        let spec = self.tables.services.get(service).expect("it is there").current.number;
        let mut task = Task::new(id, service, slot, spec, TaskState::Running);
        task.status.state = TaskState::Pending;
        self.write(Change::Task(Write::Create(task)));
        self.board.sync_task(&self.tables, id);
        id
    }

    fn tasks(&mut self, service: u128, count: u64) -> Vec<TaskId> {
        (1..=count).map(|slot| self.task(service, slot)).collect()
    }

    fn change_task(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        let mut task = Task::clone(self.tables.tasks.get(id).expect("it is there"));
        change(&mut task);
        self.write(Change::Task(Write::update(task)));
        self.board.sync_task(&self.tables, id);
    }

    fn remove_task(&mut self, id: TaskId) {
        let read_at = self.tables.tasks.get(id).expect("it is there").meta.version;
        self.write(Change::Task(Write::Remove { id, read_at }));
        self.board.sync_task(&self.tables, id);
    }

    fn ends(&mut self, id: TaskId, state: TaskState) {
        let now = self.now;
        self.change_task(id, |task| {
            task.status.state = state;
            task.status.applied_at = now;
        });
    }

    /// One pass, written down.
    fn place(&mut self) -> Placed {
        let placed = place(&self.tables, &mut self.board, self.now);
        for assigned in &placed.assigned {
            self.change_task(assigned.task, |task| {
                task.node = Some(assigned.node);
                task.granted = assigned.granted.clone();
                task.status.state = TaskState::Assigned;
                task.status.error = Box::default();
            });
        }
        for (task, reason) in &placed.waiting {
            self.change_task(*task, |task| task.status.error = reason.clone());
        }
        placed
    }

    fn error(&self, task: TaskId) -> &str {
        &self.tables.tasks.get(task).expect("it is there").status.error
    }

    fn node_of(&self, task: TaskId) -> Option<u128> {
        self.tables.tasks.get(task).expect("it is there").node.map(|node| node.0)
    }

    /// How many tasks that are to stay each node has.
    fn spread(&self) -> BTreeMap<u128, usize> {
        let mut spread: BTreeMap<u128, usize> = self.tables.nodes.iter().map(|node| (node.id.0, 0)).collect();
        for task in self.tables.tasks.iter().filter(|task| task.is_on_node() && task.is_wanted()) {
            *spread.entry(task.node.expect("it is on one").0).or_default() += 1;
        }
        spread
    }

    fn counts(&self) -> Vec<usize> {
        self.spread().into_values().collect()
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }
}

fn ready_node(id: NodeId) -> Node {
    let mut node = Node::new(id, Role::Worker, Availability::Active);
    node.status.state = NodeState::Ready;
    let mut description = NodeDescription { hostname: format!("n{}", id.0), ..NodeDescription::default() };
    description.platform.os = "linux".into();
    description.platform.architecture = "x86_64".into();
    description.resources.nano_cpus = 4 * CPU;
    description.resources.memory_bytes = 1024 * MIB;
    description.runtimes = vec!["docker".into(), "process".into(), "fake".into()];
    node.description = Some(description);
    node
}

fn described(node: &mut Node) -> &mut NodeDescription {
    node.description.as_mut().expect("the test gave it one")
}

fn names(names: &[&str]) -> GenericStock {
    GenericStock::Named(names.iter().map(|name| (*name).into()).collect())
}
