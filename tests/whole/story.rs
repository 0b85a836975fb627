//! What people do and what breaks, at any time; then everything is mended, and the cluster has to be well.

use std::time::Duration;

use common::object::container::FileReference;
use common::object::payload::{PayloadSpec, PayloadVersion};
use common::object::policy::{FailureAction, Ratio, RestartPolicy, UpdateConfig, UpdateOrder};
use common::object::ports::{EndpointSpec, Port};
use common::object::sensitive::SensitiveBytes;
use common::object::service::{JobStatus, NetworkAttachment, RuntimeKind, UpdateState, UpdateStatus};
use common::object::{
    Availability, Network, NetworkId, NetworkSpec, Node, NodeId, Payload, PayloadId, PayloadKind, Service,
    ServiceId, ServiceMode, ServiceSpec, TaskState,
};
use common::random::{Random, SeededRandom};
use manager::decide::allocate::subnets;
use manager::store::{Change, Write};

use super::cluster::{Cluster, NODES, Unkind};
use super::planted::Tamper;
use crate::invariants::{nothing_is_lost, payloads_stay_close, the_mesh_is_known};

const ACTS: usize = 40;
/// Secrets that services may use.
const PAYLOADS: u128 = 3;
/// The network that some services are on.
const NETWORK: NetworkId = NetworkId(1 << 127);
/// Once faults have ended, all is well within this time.
const MEND_TIME_MAX: Duration = Duration::from_secs(600);
/// And stays so.
const STAYS_WELL: Duration = Duration::from_secs(20);

const GOOD: [&[&str]; 3] = [
    &["FAKE_START_MS=200", "FAKE_STOP_MS=300"],
    &["FAKE_PREPARE_MS=1000", "FAKE_STOP_MS=50"],
    &["FAKE_START_MS=500", "FAKE_STOP_MS=1500"],
];
const BAD: [&[&str]; 5] = [
    &["FAKE_REJECT=no such image"],
    &["FAKE_START_FAIL=exec: not found"],
    &["FAKE_RUN_MS=700", "FAKE_EXIT=3"],
    &["FAKE_UNHEALTHY_AFTER_MS=900"],
    &["FAKE_PREPARE_MS=3600000"],
];
const WORK: &[&str] = &["FAKE_RUN_MS=3000", "FAKE_STOP_MS=100"];

struct Story {
    cluster: Cluster,
    random: SeededRandom,
    services: Vec<ServiceId>,
    named: usize,
}

/// One story from a seed: what happened, or what rule was broken and when.
pub fn story(seed: u64, tamper: Tamper) -> Result<Vec<String>, String> {
    let cluster = Cluster::new(seed, tamper);
    let mut story =
        Story { cluster, random: SeededRandom::new(seed, "story"), services: Vec::new(), named: 0 };
    story.cluster.unkind.proposals = [0, 4, 12, 40][(seed % 4) as usize];
    story.cluster.unkind.doubled = [0, 0, 10, 40][(seed / 4 % 4) as usize];
    story.make_payloads();
    story.make_network();
    for _ in 0..ACTS {
        story.act();
        if story.cluster.broken.is_some() {
            return Err(story.failure());
        }
    }
    story.mend();
    story.expect_well()
}

impl Story {
    fn below(&mut self, limit: usize) -> usize {
        (self.random.next_u64() % limit as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One thing that somebody does or that breaks, and some time after it.
    fn act(&mut self) {
        let node = NodeId(self.below(NODES as usize) as u128 + 1);
        match self.below(21) {
            0..=3 if self.services.len() < 5 => self.create(),
            0..=6 => self.change(),
            7 => self.roll_back(),
            8 => {
                let to = self.pick(&[Availability::Active, Availability::Pause, Availability::Drain]);
                self.edit_node(node, |node| node.spec.availability = to);
            }
            9 => {
                let zone = self.pick(&["a", "b"]);
                self.edit_node(node, |node| drop(node.spec.labels.insert("zone".into(), zone.into())));
            }
            10 => self.remove_or_spread(),
            11 | 12 => self.hurt_machine(node),
            13 | 14 => self.start_machine(node),
            15 => self.cut(node),
            16 => {
                self.cluster.note(format_args!("the session of node {} breaks", node.0));
                self.cluster.break_link(node);
            }
            17 => {
                let gap = Duration::from_millis(self.pick(&[0, 500, 3_000]));
                self.cluster.lose_leader(gap);
            }
            18 => self.kill_task(),
            19 => self.rotate(),
            _ => {
                let away = self.below(3) == 0;
                self.cluster.note(format_args!("engine of node {} away: {away}", node.0));
                self.cluster.machines[&node].engine.set_away(away);
            }
        }
        let pause = Duration::from_millis(self.pick(&[50, 200, 1_000, 1_000, 3_000, 6_000]));
        self.cluster.run(pause);
    }

    fn hurt_machine(&mut self, node: NodeId) {
        let (how, torn) = (self.below(4), self.below(60) as u64);
        let now = self.cluster.now;
        self.cluster.note(format_args!("node {} is hurt: {how}", node.0));
        let machine = self.cluster.machines.get_mut(&node).expect("the machine is there");
        match how {
            0 | 1 => machine.kill_daemon(now),
            2 => machine.crash(now, torn),
            _ => {
                machine.crash(now, 0);
                machine.lose_disk();
            }
        }
        if self.below(2) == 0 {
            let away = Duration::from_millis(self.pick(&[50, 400, 5_000]));
            self.cluster.run(away);
            self.start_machine(node);
        }
    }

    fn start_machine(&mut self, node: NodeId) {
        let now = self.cluster.now;
        let machine = self.cluster.machines.get_mut(&node).expect("the machine is there");
        if !machine.is_up() {
            machine.start(now);
            self.cluster.note(format_args!("node {} starts", node.0));
        }
    }

    fn cut(&mut self, node: NodeId) {
        let link = self.cluster.links.get_mut(&node).expect("every node has one");
        link.is_cut = !link.is_cut;
        let is_cut = link.is_cut;
        self.cluster.note(format_args!("node {} is cut off: {is_cut}", node.0));
    }

    fn make_network(&mut self) {
        let spec = NetworkSpec { name: "front".into(), ..NetworkSpec::default() };
        let given = subnets(&self.cluster.store.snapshot(), &spec).expect("there is room");
        let network = Network::new(NETWORK, spec, given);
        self.cluster.write(vec![Change::Network(Write::Create(network))]);
    }

    fn make_payloads(&mut self) {
        for id in 1..=PAYLOADS {
            let spec = PayloadSpec { name: format!("p{id}"), ..PayloadSpec::default() };
            let at = self.cluster.wall();
            let payload = Payload::new(PayloadId(id), PayloadKind::Secret, spec, value(id, 1), at);
            self.cluster.write(vec![Change::Payload(Write::Create(payload))]);
        }
    }

    /// A new version: tasks that refresh get it as they run, others with their service's next spec, if that names it.
    fn rotate(&mut self) {
        let id = self.below(PAYLOADS as usize) as u128 + 1;
        let tables = self.cluster.store.snapshot();
        let mut payload = Payload::clone(tables.payloads.get(PayloadId(id)).expect("payloads stay"));
        let number = payload.newest().number + 1;
        let (created_at, data) = (self.cluster.wall(), value(id, number));
        payload.versions.push(PayloadVersion { number, created_at, data });
        self.cluster.write(vec![Change::Payload(Write::update(payload))]);
        if !self.services.is_empty() && self.below(2) == 0 {
            let service = self.pick(&self.services.clone());
            self.update_service(service, |spec| {
                let secrets = spec.task.container.secrets.iter_mut();
                let of_it = secrets.filter(|secret| secret.payload() == Some(PayloadId(id)));
                of_it.for_each(|secret| secret.version = number);
            });
        }
    }

    /// What a new service uses.
    fn secrets(&mut self) -> Vec<FileReference> {
        let tables = self.cluster.store.snapshot();
        let mut secrets = Vec::new();
        for payload in tables.payloads.iter() {
            if self.random.next_u64() % 4 + payload.id.0 as u64 <= 3 {
                continue;
            }
            let refresh = self.random.next_u64().is_multiple_of(2).then(|| "SIGHUP".to_string());
            let (id, version) = (payload.id.to_string(), payload.newest().number);
            secrets.push(FileReference {
                id,
                target: Some(payload.spec.name.clone()),
                version,
                refresh,
                ..FileReference::default()
            });
        }
        secrets
    }

    fn kill_task(&mut self) {
        let tables = self.cluster.store.snapshot();
        let running: Vec<_> =
            tables.tasks.iter().filter(|task| task.status.state == TaskState::Running).collect();
        if !running.is_empty() {
            let task = running[self.below(running.len())];
            self.cluster.note(format_args!("task {} is killed", task.id));
            let machine = task.node.and_then(|node| self.cluster.machines.get(&node));
            machine.into_iter().for_each(|machine| machine.end(task.id, 137));
        }
    }

    fn edit_node(&mut self, id: NodeId, edit: impl FnOnce(&mut Node)) {
        let tables = self.cluster.store.snapshot();
        let mut node = Node::clone(tables.nodes.get(id).expect("nodes stay"));
        edit(&mut node);
        self.cluster.write(vec![Change::Node(Write::update(node))]);
    }

    fn edit_service(&mut self, id: ServiceId, edit: impl FnOnce(&mut Service)) {
        let tables = self.cluster.store.snapshot();
        let Some(service) = tables.services.get(id).filter(|service| !service.removed) else { return };
        let mut service = Service::clone(service);
        edit(&mut service);
        self.cluster.write(vec![Change::Service(Write::update(service))]);
    }

    /// As a user changes a service: the update status is cleared, a job runs anew.
    fn update_service(&mut self, id: ServiceId, edit: impl FnOnce(&mut ServiceSpec)) {
        let now = self.cluster.wall();
        self.edit_service(id, |service| {
            let mut spec = ServiceSpec::clone(service.spec());
            edit(&mut spec);
            service.replace_spec(std::sync::Arc::new(spec), now);
            service.update = None;
            service.job =
                service.job.map(|job| JobStatus { iteration: job.iteration + 1, last_execution: now });
        });
    }

    fn create(&mut self) {
        self.named += 1;
        let at_a_time = self.below(3) as u64 + 1;
        let mode = match self.below(6) {
            0 => ServiceMode::Global,
            1 => ServiceMode::ReplicatedJob { concurrent_max: at_a_time, completions: 5 },
            2 => ServiceMode::GlobalJob,
            _ => ServiceMode::Replicated { replicas: self.below(8) as u64 },
        };
        let mut spec = ServiceSpec { name: format!("s{}", self.named), mode, ..ServiceSpec::default() };
        spec.task.runtime = RuntimeKind::Fake;
        let env = if mode.is_job() { WORK } else { self.pick(&GOOD) };
        spec.task.container.env = owned(env);
        spec.task.container.secrets = self.secrets();
        if self.named % 3 == 1 {
            let target = NETWORK.to_string();
            spec.task.networks = vec![NetworkAttachment { target, ..NetworkAttachment::default() }];
        }
        spec.task.resources.reservations.nano_cpus = self.pick(&[0, 500_000_000, 1_000_000_000]);
        spec.task.resources.reservations.memory_bytes = self.pick(&[0, 1 << 30]);
        spec.task.restart = Some(RestartPolicy {
            delay: Some(Duration::from_millis(self.pick(&[0, 200, 2_000]))),
            delay_max: Some(Duration::from_secs(5)),
            ..RestartPolicy::default()
        });
        if self.below(4) > 0 && !mode.is_job() {
            spec.update = Some(self.config(at_a_time - 1));
            spec.rollback = (self.below(2) == 0).then(|| self.config(at_a_time));
        }
        let published = 8000 + self.named as u16;
        let port = Port { target: 80, published, ..Port::default() };
        spec.endpoint =
            (!mode.is_job()).then(|| EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
        let service = Service::new(ServiceId::generate(&mut self.random), spec, self.cluster.wall());
        self.services.push(service.id);
        self.cluster.write(vec![Change::Service(Write::Create(service))]);
    }

    fn config(&mut self, parallelism: u64) -> UpdateConfig {
        let actions = [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback];
        UpdateConfig {
            parallelism,
            delay: Duration::from_millis(self.pick(&[0, 0, 1_000])),
            failure_action: Some(self.pick(&actions)),
            monitor: Some(Duration::from_secs(2)),
            failure_ratio_max: Ratio::new(self.pick(&[0.0, 0.3, 1.0])).unwrap_or_default(),
            order: Some(self.pick(&[UpdateOrder::StopFirst, UpdateOrder::StartFirst])),
            progress_deadline: (self.below(2) == 0).then_some(Duration::from_secs(20)),
            healthy_min: Some(Duration::from_millis(self.pick(&[0, 500]))),
        }
    }

    fn change(&mut self) {
        if self.services.is_empty() {
            return;
        }
        let id = self.pick(&self.services.clone());
        let env = if self.below(3) == 0 { self.pick(&BAD) } else { self.pick(&GOOD) };
        let (replicas, what) = (self.below(8) as u64, self.below(4));
        self.update_service(id, |spec| match (what, spec.mode) {
            (0, ServiceMode::Replicated { .. }) => spec.mode = ServiceMode::Replicated { replicas },
            (1, mode) if !mode.is_job() => {
                spec.task.placement.constraints = vec!["node.labels.zone!=b".into()];
            }
            (_, mode) if mode.is_job() => spec.task.force_update += 1,
            _ => {
                spec.task.placement.constraints.clear();
                spec.task.container.env = owned(env);
            }
        });
    }

    /// By hand, as the API does it.
    fn roll_back(&mut self) {
        if self.services.is_empty() {
            return;
        }
        let (id, now) = (self.pick(&self.services.clone()), self.cluster.wall());
        self.edit_service(id, |service| {
            let Some(previous) = service.previous.filter(|_| !service.spec().mode.is_job()) else { return };
            if service.return_to(previous, now) {
                service.update = Some(UpdateStatus {
                    state: UpdateState::RollbackStarted,
                    started_at: now,
                    completed_at: None,
                    message: "manually requested rollback".into(),
                    slots: 0,
                    failed: 0,
                    progress_at: now,
                    rotation: false,
                });
            }
        });
    }

    fn remove_or_spread(&mut self) {
        if self.services.is_empty() {
            return;
        }
        let index = self.below(self.services.len());
        let id = self.services[index];
        if self.below(3) == 0 {
            self.services.remove(index);
            self.edit_service(id, |service| service.removed = true);
        } else {
            self.edit_service(id, |service| service.rebalance += 1);
        }
    }

    /// Every fault ends, and people ask for what can be had.
    fn mend(&mut self) {
        self.cluster.unkind = Unkind::default();
        self.cluster.note("everything is mended");
        let nodes: Vec<NodeId> = self.cluster.machines.keys().copied().collect();
        for node in nodes {
            self.start_machine(node);
            self.cluster.machines[&node].engine.set_away(false);
            self.cluster.links.get_mut(&node).expect("every node has one").is_cut = false;
            self.edit_node(node, |node| node.spec.availability = Availability::Active);
        }
        for id in self.services.clone() {
            self.update_service(id, |spec| {
                spec.task.placement.constraints.clear();
                // A node whose engine was away for long tries again only after a pause that may be longer than this,
                // and an update that gives up goes back to what cannot be had everywhere.
                if let Some(update) = &mut spec.update {
                    update.progress_deadline = None;
                }
                if !spec.mode.is_job() {
                    spec.task.container.env = owned(GOOD[0]);
                }
            });
        }
    }

    fn expect_well(mut self) -> Result<Vec<String>, String> {
        let until = self.cluster.now + MEND_TIME_MAX;
        let mut well_since = None;
        loop {
            self.cluster.run(Duration::from_secs(1));
            if self.cluster.broken.is_some() {
                return Err(self.failure());
            }
            let now = self.cluster.now;
            let tables = self.cluster.store.snapshot();
            let is_well = nothing_is_lost::check(&tables, self.services.len(), &self.cluster.truths());
            let has_files = || {
                let mut holdings = self.cluster.holdings().into_iter();
                holdings.try_for_each(|holding| payloads_stay_close::check_at_rest(&tables, &holding))
            };
            let is_in_mesh = || {
                let mut meshes = self.cluster.meshes().into_iter();
                meshes.try_for_each(|(node, known)| the_mesh_is_known::check(&tables, node, &known))
            };
            match is_well.and_then(|()| has_files()).and_then(|()| is_in_mesh()) {
                Ok(()) if now >= *well_since.get_or_insert(now) + STAYS_WELL => {
                    return Ok(std::mem::take(&mut self.cluster.trace));
                }
                Ok(()) => {}
                Err(error) if now >= until => {
                    self.cluster.broken = Some(error);
                    return Err(self.failure());
                }
                Err(_) => well_since = None,
            }
        }
    }

    fn failure(&mut self) -> String {
        let trace = &self.cluster.trace;
        let shown = std::env::var("SWARM_SIM_TRACE").ok().and_then(|lines| lines.parse().ok()).unwrap_or(60);
        let last = trace[trace.len().saturating_sub(shown)..].join("\n");
        let broken = self.cluster.broken.clone().unwrap_or_default();
        format!("{last}\nat {} ms: {broken}", self.cluster.now.as_millis())
    }
}

fn value(id: u128, version: u64) -> SensitiveBytes {
    SensitiveBytes::new(format!("p{id} v{version}").into_bytes())
}

fn owned(env: &[&str]) -> Vec<String> {
    env.iter().map(|entry| entry.to_string()).collect()
}
