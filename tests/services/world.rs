//! The cluster: planner, store and workers, one event after the other, and the rules that hold after every write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::object::policy::UpdateOrder;
use common::object::service::JobStatus;
use common::object::{
    Availability, Node, NodeId, NodeState, Role, Service, ServiceId, ServiceSpec, Task, TaskState, Version,
};
use common::random::{Random, SeededRandom};
use common::time::Timestamp;
use common::wire::assignment::TaskReport;
use manager::decide::{Ctx, Planner};
use manager::store::{Change, FeedError, Proposal, Rejection, Store, Write};

use super::worker::{Behaviour, Worker};
use crate::addresses_are_given_once;

/// Nothing that a scenario waits for takes longer.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(3600);
/// Passes at one moment: more is a circle.
const PASSES_PER_MOMENT_MAX: usize = 200;

pub struct World {
    pub store: Store,
    pub planner: Planner,
    pub now: Timestamp,
    pub nodes: BTreeMap<String, NodeId>,
    pub images: BTreeMap<String, Behaviour>,
    /// Tasks of a service that served at one time, fewest and most since last asked.
    pub served: BTreeMap<ServiceId, (usize, usize)>,
    workers: BTreeMap<NodeId, Worker>,
    random: SeededRandom,
    index: u64,
    seen: Version,
    /// One of so many proposals is not written; 0: all are.
    pub failing: u64,
    pub passes: usize,
    /// Changes of the largest proposal.
    pub largest: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let store = Store::new();
        let planner = Planner::new(&store.snapshot());
        Self {
            store,
            planner,
            now: Timestamp(1_800_000_000_000_000_000),
            nodes: BTreeMap::new(),
            images: BTreeMap::new(),
            served: BTreeMap::new(),
            workers: BTreeMap::new(),
            random: SeededRandom::new(seed, "services"),
            index: 0,
            seen: Version::default(),
            failing: 0,
            passes: 0,
            largest: 0,
        }
    }

    pub fn add_node(&mut self, name: &str, edit: impl FnOnce(&mut Node)) {
        let id = NodeId(self.nodes.len() as u128 + 1);
        self.nodes.insert(name.into(), id);
        self.workers.insert(id, Worker::default());
        let mut node = Node::new(id, Role::Worker, Availability::Active);
        node.status.state = NodeState::Ready;
        let description = node.description.get_or_insert_default();
        description.hostname = name.into();
        description.runtimes = ["docker", "process", "fake"].map(String::from).to_vec();
        description.resources.nano_cpus = 8_000_000_000;
        description.resources.memory_bytes = 16 << 30;
        edit(&mut node);
        self.write(vec![Change::Node(Write::Create(node))]).expect("a node of its own");
    }

    pub fn edit_node(&mut self, name: &str, edit: impl FnOnce(&mut Node)) {
        let id = self.nodes[name];
        let mut node = Node::clone(self.store.snapshot().nodes.get(id).expect("the node is there"));
        let before = node.status.state;
        edit(&mut node);
        if node.status.state != before {
            node.status.since = self.now;
        }
        self.write(vec![Change::Node(Write::update(node))]).expect("nobody else writes nodes");
    }

    pub fn remove_node(&mut self, name: &str) {
        let id = self.nodes.remove(name).expect("the node is there");
        let read_at = self.store.snapshot().nodes.get(id).expect("the node is there").meta.version;
        self.workers.remove(&id);
        self.write(vec![Change::Node(Write::Remove { id, read_at })]).expect("nobody else writes nodes");
    }

    pub fn create_service(&mut self, spec: ServiceSpec) {
        let service = Service::new(ServiceId::generate(&mut self.random), spec, self.now);
        self.write(vec![Change::Service(Write::Create(service))]).expect("a service of its own");
    }

    /// As a user changes a service: the update status is cleared, a job runs anew.
    pub fn update_service(&mut self, name: &str, edit: impl FnOnce(&mut ServiceSpec)) {
        let now = self.now;
        self.edit_service(name, |service| {
            let mut spec = ServiceSpec::clone(service.spec());
            edit(&mut spec);
            service.replace_spec(Arc::new(spec), now);
            service.update = None;
            service.job =
                service.job.map(|job| JobStatus { iteration: job.iteration + 1, last_execution: now });
        });
    }

    pub fn edit_service(&mut self, name: &str, edit: impl FnOnce(&mut Service)) {
        let mut service = Service::clone(&self.service(name));
        edit(&mut service);
        self.write(vec![Change::Service(Write::update(service))]).expect("no leader writes meanwhile");
    }

    pub fn service(&self, name: &str) -> Arc<Service> {
        self.store.snapshot().service_by_name(name).expect("the service is there").clone()
    }

    /// Somebody else leads: all that was derived is gone, and so are reports on their way.
    pub fn new_leader(&mut self) {
        self.planner = Planner::new(&self.store.snapshot());
        self.seen = self.store.snapshot().version;
    }

    pub fn kill(&mut self, task: &Task) {
        if let Some(worker) = task.node.and_then(|node| self.workers.get_mut(&node)) {
            worker.kill(task.id, self.now);
        }
    }

    pub fn crash_node(&mut self, name: &str) {
        if let Some(worker) = self.workers.get_mut(&self.nodes[name]) {
            worker.crash();
        }
    }

    /// Lets everything happen until `until`.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now.plus(duration);
        while let Some(next) = self.step().filter(|next| *next <= until) {
            self.now = next;
        }
        self.now = until;
        self.step();
    }

    /// Lets everything happen until nothing would for an hour. False when that does not come.
    pub fn settle(&mut self) -> bool {
        let until = self.now.plus(SETTLE_TIME_MAX);
        loop {
            let quiet_until = self.now.plus(SETTLE_TIME_MAX);
            match self.step() {
                None => return true,
                Some(next) if next > quiet_until => return true,
                Some(next) if next > until => return false,
                Some(next) => self.now = next,
            }
        }
    }

    /// Does all that is due now; answers the next moment there is something to do.
    fn step(&mut self) -> Option<Timestamp> {
        for _ in 0..PASSES_PER_MOMENT_MAX {
            let next = self.workers();
            self.follow();
            if self.planner.next_at().is_none_or(|at| at > self.now) {
                return next.into_iter().chain(self.planner.next_at()).min();
            }
            self.pass();
        }
        panic!("decisions go in a circle at {}", self.now);
    }

    /// One decision, written; answers it.
    pub fn pass(&mut self) -> Vec<Vec<Change>> {
        self.passes += 1;
        let tables = self.store.snapshot();
        let mut ctx = Ctx { now: self.now, random: &mut self.random };
        let decision = self.planner.decide(&tables, &mut ctx);
        for changes in decision.proposals.clone() {
            self.largest = self.largest.max(changes.len());
            let fails = self.failing > 0 && self.random.next_u64().is_multiple_of(self.failing);
            if fails || self.write(changes.clone()).is_err() {
                self.planner.failed(&changes);
            }
        }
        self.follow();
        decision.proposals
    }

    pub fn write(&mut self, changes: Vec<Change>) -> Result<Version, Rejection> {
        self.index += 1;
        let proposal = Proposal { id: self.index, at: self.now, changes };
        let outcome = self.store.apply(self.index, &proposal);
        self.check(&proposal.changes);
        outcome
    }

    /// Tells the planner what was written.
    pub fn follow(&mut self) {
        let reached = self.store.feed().reached();
        if reached == self.seen {
            return;
        }
        let after = self.store.feed().after(self.seen);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(after).poll(&mut context) {
            std::task::Poll::Ready(Ok((changes, version))) => {
                changes.iter().for_each(|change| self.planner.noted(change));
                self.seen = version;
            }
            std::task::Poll::Ready(Err(FeedError::Behind { resume_at })) => {
                self.planner.missed(&self.store.snapshot());
                self.seen = resume_at;
            }
            std::task::Poll::Pending => {} // entries that changed nothing
        }
    }

    /// Lets every worker that is up do what is due; answers when the next of them has something to do.
    fn workers(&mut self) -> Option<Timestamp> {
        let tables = self.store.snapshot();
        let mut next = None;
        for (node, worker) in &mut self.workers {
            if tables.nodes.get(*node).is_none_or(|node| node.status.state != NodeState::Ready) {
                continue;
            }
            worker.keep(|task| {
                tables.tasks.get(task).is_some_and(|task| task.status.state != TaskState::Orphaned)
            });
            let assigned = tables.tasks_on_node(*node).filter(|task| task.is_on_node());
            for task in assigned {
                let spec = tables.services.get(task.service).and_then(|service| service.spec_at(task.spec));
                let spec = spec
                    .unwrap_or_else(|| panic!("spec of {task:?} of {:?}", tables.services.get(task.service)));
                let values = super::secrets::values(&tables, spec);
                let said = values.iter().find_map(|value| self.images.get(value));
                let said = said.or_else(|| self.images.get(&spec.task.container.image));
                let behaviour = said.copied().unwrap_or_default();
                let (news, at) = worker.step(task, &behaviour, self.now);
                if let Some(status) = news {
                    self.planner.report(*node, TaskReport { task: task.id, status });
                }
                next = next.into_iter().chain(at).min();
            }
        }
        next
    }

    /// What holds after every write, whatever happens.
    fn check(&mut self, changes: &[Change]) {
        let tables = self.store.snapshot();
        addresses_are_given_once::check(&tables).unwrap_or_else(|broken| panic!("{broken}"));
        for change in changes {
            let Change::Task(Write::Create(task) | Write::Update { value: task, .. }) = change else {
                continue;
            };
            let Some(service) = tables.services.get(task.service) else { continue };
            let wanted: Vec<_> =
                tables.tasks_of_slot(service.id, task.slot).filter(|task| wanted(task)).collect();
            let config = [&service.spec().update, &service.spec().rollback];
            let starts_first = config
                .iter()
                .any(|config| config.as_ref().is_some_and(|c| c.order() == UpdateOrder::StartFirst));
            let most = if starts_first { 2 } else { 1 };
            assert!(
                wanted.len() <= most,
                "{} tasks wanted in {} {}",
                wanted.len(),
                service.name(),
                task.slot
            );
        }
        for service in tables.services.iter() {
            let serving = tables.tasks_of_service(service.id).filter(|task| serves(&tables, task)).count();
            let (fewest, most) = self.served.entry(service.id).or_insert((serving, serving));
            (*fewest, *most) = ((*fewest).min(serving), (*most).max(serving));
        }
    }

    pub fn forget_served(&mut self) {
        self.served.clear();
        self.check(&[]);
    }
}

/// Wanted, and not at its end: a job's task that has succeeded is wanted as it is.
fn wanted(task: &Task) -> bool {
    task.is_wanted() && !task.status.state.is_final()
}

/// Serves on a node that is there.
pub fn serves(tables: &manager::store::Tables, task: &Task) -> bool {
    let node = task.node.and_then(|node| tables.nodes.get(node));
    task.is_serving() && node.is_some_and(|node| node.status.state != NodeState::Down)
}
