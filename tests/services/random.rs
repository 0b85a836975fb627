//! Operators and machines that do anything at any time; what then still holds.

use std::time::Duration;

use common::limits::PROPOSAL_CHANGES_MAX;
use common::object::policy::{FailureAction, Ratio, RestartPolicy, UpdateConfig, UpdateOrder};
use common::object::service::NetworkAttachment;
use common::object::{Availability, NodeState, Service, ServiceMode, ServiceSpec, TaskState};
use common::random::{Random, SeededRandom};

use manager::store::{Change, Write};

use super::networks;
use super::worker::Behaviour;
use super::world::{World, serves};

const NODES: usize = 4;
const NOTHING: Vec<Vec<Change>> = Vec::new();
const GOOD: [&str; 3] = ["good1", "good2", "good3"];
const BAD: [&str; 3] = ["fails", "rejected", "never"];

pub struct Chaos {
    pub world: World,
    random: SeededRandom,
    services: Vec<String>,
}

fn attached(names: &[&str]) -> Vec<NetworkAttachment> {
    let attachment =
        |name: &&str| NetworkAttachment { target: (*name).into(), ..NetworkAttachment::default() };
    names.iter().map(attachment).collect()
}

impl Chaos {
    pub fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let second = Duration::from_secs(1);
        let good = Behaviour { start: second, stop: second / 2, ..Behaviour::default() };
        world.images.extend(GOOD.map(|image| (image.to_string(), good)));
        world.images.insert("fails".into(), Behaviour { end: Some((second, 1)), ..good });
        world.images.insert("rejected".into(), Behaviour { rejected: true, ..good });
        world.images.insert("never".into(), Behaviour { ready: None, ..good });
        world.images.insert("work".into(), Behaviour { end: Some((second * 5, 0)), ..good });
        for node in 0..NODES {
            world.add_node(&format!("n{node}"), |_| {});
        }
        networks::create(&mut world, "front", Some("10.1.0.0/25")).expect("a network of its own");
        networks::create(&mut world, "back", None).expect("a network of its own");
        Self { world, random: SeededRandom::new(seed, "chaos"), services: Vec::new() }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random.next_u64() % limit as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One thing that somebody does, and some time after it.
    pub fn act(&mut self) {
        let node = format!("n{}", self.below(NODES));
        match self.below(12) {
            0 | 1 if self.services.len() < 4 => self.create(),
            0..=4 if !self.services.is_empty() => self.update(),
            5 => {
                let to = self.pick(&[Availability::Active, Availability::Pause, Availability::Drain]);
                self.world.edit_node(&node, |node| node.spec.availability = to);
            }
            6 => self.go_down(&node),
            7 => self.world.edit_node(&node, |node| node.status.state = NodeState::Ready),
            8 => self.kill(),
            9 => self.world.new_leader(),
            10 if !self.services.is_empty() => {
                let service = self.below(self.services.len());
                let name = self.services[service].clone();
                match self.below(3) {
                    0 => {
                        self.world.edit_service(&name, |service| service.removed = true);
                        self.services.remove(service);
                    }
                    _ => self.world.edit_service(&name, |service| service.rebalance += 1),
                }
            }
            11 => {
                let value = self.pick(&["a", "b"]);
                self.world
                    .edit_node(&node, |node| drop(node.spec.labels.insert("zone".into(), value.into())));
            }
            _ => {}
        }
        let pause = Duration::from_millis(self.pick(&[0, 50, 500, 1500, 5000]));
        self.world.run(pause);
    }

    fn go_down(&mut self, node: &str) {
        self.world.edit_node(node, |node| node.status.state = NodeState::Down);
        if self.below(2) == 0 {
            self.world.crash_node(node); // otherwise it was only cut off, and its tasks run on
        }
    }

    fn kill(&mut self) {
        let tables = self.world.store.snapshot();
        let running: Vec<_> =
            tables.tasks.iter().filter(|task| task.status.state == TaskState::Running).collect();
        if !running.is_empty() {
            let task = running[self.below(running.len())];
            self.world.kill(task);
        }
    }

    fn create(&mut self) {
        let name = format!("s{}", self.world.store.snapshot().services.len() + 10 * self.services.len());
        if self.services.contains(&name) {
            return;
        }
        let at_a_time = self.below(3) as u64 + 1;
        let mode = match self.below(6) {
            0 => ServiceMode::Global,
            1 => ServiceMode::ReplicatedJob { concurrent_max: at_a_time, completions: 5 },
            2 => ServiceMode::GlobalJob,
            _ => ServiceMode::Replicated { replicas: self.below(8) as u64 },
        };
        let mut spec = ServiceSpec { name: name.clone(), mode, ..ServiceSpec::default() };
        spec.task.container.image = if mode.is_job() { "work".into() } else { self.pick(&GOOD).into() };
        spec.task.restart = Some(RestartPolicy {
            delay: Some(Duration::from_millis(self.pick(&[0, 200, 2000]))),
            delay_max: Some(Duration::from_secs(5)),
            ..RestartPolicy::default()
        });
        if self.below(2) == 0 && !mode.is_job() {
            spec.update = Some(UpdateConfig {
                parallelism: at_a_time - 1,
                delay: Duration::from_millis(self.pick(&[0, 0, 1000])),
                failure_action: Some(self.pick(&[
                    FailureAction::Pause,
                    FailureAction::Continue,
                    FailureAction::Rollback,
                ])),
                monitor: Some(Duration::from_secs(2)),
                failure_ratio_max: Ratio::new(self.pick(&[0.0, 0.3, 1.0])).unwrap_or_default(),
                order: Some(self.pick(&[UpdateOrder::StopFirst, UpdateOrder::StartFirst])),
                progress_deadline: (self.below(2) == 0).then_some(Duration::from_secs(20)),
                healthy_min: Some(Duration::from_millis(self.pick(&[0, 500]))),
            });
            spec.rollback = spec.update.clone().filter(|_| self.below(2) == 0);
        }
        spec.task.networks = match self.below(4) {
            0 => attached(&["front"]),
            1 => attached(&["back", "front"]),
            _ => Vec::new(),
        };
        networks::resolve(&self.world, &mut spec).expect("both networks are there");
        self.world.create_service(spec);
        self.services.push(name);
    }

    fn update(&mut self) {
        let service = self.below(self.services.len());
        let name = self.services[service].clone();
        let image = if self.below(3) == 0 { self.pick(&BAD) } else { self.pick(&GOOD) };
        let (replicas, what) = (self.below(8) as u64, self.below(3));
        self.world.update_service(&name, |spec| match (what, spec.mode) {
            (0, ServiceMode::Replicated { .. }) => spec.mode = ServiceMode::Replicated { replicas },
            (1, mode) if !mode.is_job() => {
                spec.task.placement.constraints = vec!["node.labels.zone!=b".into()]
            }
            (_, mode) if mode.is_job() => spec.task.force_update += 1,
            _ => {
                spec.task.placement.constraints.clear();
                spec.task.container.image = image.into();
            }
        });
    }

    /// Every fault ends, and people ask for what can be had.
    pub fn heal(&mut self) {
        self.world.failing = 0;
        for node in 0..NODES {
            self.world.edit_node(&format!("n{node}"), |node| {
                node.status.state = NodeState::Ready;
                node.spec.availability = Availability::Active;
            });
        }
        for name in self.services.clone() {
            self.world.update_service(&name, |spec| {
                spec.task.placement.constraints.clear();
                if !spec.mode.is_job() {
                    spec.task.container.image = "good1".into();
                }
            });
        }
    }

    /// What must be there in the end.
    pub fn expect_well(&mut self) {
        assert!(self.world.settle(), "it does not settle");
        let tables = self.world.store.snapshot();
        assert_eq!(tables.services.len(), self.services.len(), "removed services are gone");
        for service in tables.services.iter() {
            let tasks: Vec<_> = tables.tasks_of_service(service.id).collect();
            let serving = tasks.iter().filter(|task| serves(&tables, task)).count();
            let run = service.job.map(|job| job.iteration);
            let done = |task: &&&std::sync::Arc<common::object::Task>| {
                task.status.state == TaskState::Complete && task.iteration == run
            };
            let (found, expected) = match service.spec().mode {
                ServiceMode::Replicated { replicas } => (serving, replicas as usize),
                ServiceMode::Global => (serving, NODES),
                ServiceMode::ReplicatedJob { completions, .. } => {
                    (tasks.iter().filter(done).count(), completions as usize)
                }
                ServiceMode::GlobalJob => (tasks.iter().filter(done).count(), NODES),
            };
            assert_eq!(found, expected, "{}: {:#?}", service.name(), tasks);
            let under_way = service.update.as_ref().is_some_and(|update| update.state.is_under_way());
            assert!(!under_way, "{} {:?}", service.name(), service.update);
            for task in tasks.iter().filter(|task| task.is_wanted() && !service.spec().mode.is_job()) {
                let node = task.node.and_then(|node| tables.nodes.get(node)).map(|node| &**node);
                assert!(manager::decide::is_up_to_date(service, task, node), "{task:?}");
            }
        }
    }

    /// Looking at everything again finds nothing to do, for this leader and for the next.
    pub fn expect_nothing_to_do(&mut self) {
        // Specs that no task uses any more are dropped at the next look, whenever that is.
        let before = self.world.store.snapshot();
        self.world.planner.look_at_all();
        for change in self.world.pass().concat() {
            let Change::Service(Write::Update { value, .. }) = change else { panic!("{change:?}") };
            let mut expected = Service::clone(before.services.get(value.id).expect("it was there"));
            expected.earlier.retain(|number, _| value.earlier.contains_key(number));
            assert_eq!(value, expected);
        }
        self.world.planner.look_at_all();
        assert_eq!(self.world.pass(), NOTHING, "a second look");
        self.world.new_leader();
        assert_eq!(self.world.pass(), NOTHING, "a new leader's look");
        let passes = self.world.passes;
        self.world.run(Duration::from_secs(600));
        assert_eq!(self.world.passes, passes, "nothing wakes the planner of an unchanged cluster");
    }
}

/// One story from a seed.
pub fn story(seed: u64, acts: usize) {
    let mut chaos = Chaos::new(seed);
    // Some stories lose proposals to conflicts.
    chaos.world.failing = [0, 0, 5, 20][(seed % 4) as usize];
    for _ in 0..acts {
        chaos.act();
        assert!(chaos.world.largest <= PROPOSAL_CHANGES_MAX);
    }
    chaos.heal();
    chaos.expect_well();
    chaos.expect_nothing_to_do();
}

/// One service that works, on nodes that work: updates, drains, moves and new leaders at any time. It never has fewer
/// tasks serving than its rules allow, nor more.
pub fn calm_story(seed: u64) {
    let mut chaos = Chaos::new(seed);
    let replicas = 2 + chaos.below(7);
    let parallelism = 1 + chaos.below(3);
    let order = chaos.pick(&[UpdateOrder::StopFirst, UpdateOrder::StartFirst]);
    let mut spec = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
    spec.mode = ServiceMode::Replicated { replicas: replicas as u64 };
    spec.task.container.image = GOOD[0].into();
    spec.update = Some(UpdateConfig {
        parallelism: parallelism as u64,
        order: Some(order),
        delay: Duration::from_millis(chaos.pick(&[0, 700])),
        ..UpdateConfig::default()
    });
    chaos.world.create_service(spec);
    chaos.services.push("web".into());
    assert!(chaos.world.settle());
    chaos.world.forget_served();
    for _ in 0..25 {
        let node = format!("n{}", chaos.below(NODES - 1)); // one is always there
        match chaos.below(5) {
            0 => chaos.world.new_leader(),
            1 => chaos.world.edit_node(&node, |node| node.spec.availability = Availability::Drain),
            2 => chaos.world.edit_node(&node, |node| node.spec.availability = Availability::Active),
            3 => chaos.world.edit_service("web", |service| service.rebalance += 1),
            _ => {
                let image = chaos.pick(&GOOD);
                chaos.world.update_service("web", |spec| spec.task.container.image = image.into());
            }
        }
        let pause = Duration::from_millis(chaos.pick(&[0, 100, 700, 1100, 3000]));
        chaos.world.run(pause);
    }
    assert!(chaos.world.settle());
    let (fewest, most) = chaos.world.served[&chaos.world.service("web").id];
    let (least, greatest) = match order {
        UpdateOrder::StopFirst => (replicas.saturating_sub(parallelism), replicas),
        // What a newer update overtakes may still be on its way out.
        UpdateOrder::StartFirst => (replicas, replicas + 2 * parallelism),
    };
    let text = format!("{fewest} to {most} of {replicas} by {parallelism}, {order}");
    assert!(fewest >= least && most <= greatest, "{text}");
}
