//! For tests: one node with the fake runtime, and the managers it talks to, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::identity::DataKey;
use common::object::service::RuntimeKind;
use common::object::{NodeId, ServiceId, Slot, TaskId, TaskSpec, TaskState, TaskStatus};
use common::random::SeededRandom;
use common::shutdown::Tasks;
use common::time::{Clock, Monotonic, Timestamp};
use common::wire::assignment::{
    AssignedPayload, AssignedSpec, AssignedTask, AssignmentUpdate, PayloadKey, digest,
};
use tokio::time::Instant;

use crate::agent::{Agent, AgentHandle, AgentSettings};
use crate::runtime::Runtime;
use crate::runtime::fake::FakeRuntime;

/// Virtual time, for what is shown and for what is measured.
pub struct TestClock(Instant);

impl Default for TestClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000_000).plus(self.0.elapsed())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.0.elapsed())
    }
}

/// One node and the managers it talks to.
pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: Arc<TestClock>,
    pub engine: FakeRuntime,
    pub agent: AgentHandle,
    /// What the managers want here.
    pub spec: TaskSpec,
    pub wanted: BTreeMap<TaskId, AssignedTask>,
    pub payloads: BTreeMap<PayloadKey, AssignedPayload>,
    pub number: u64,
}

impl World {
    /// Tasks that do what this env says.
    pub fn new(env: &[&str]) -> Self {
        let mut spec = TaskSpec { runtime: RuntimeKind::Fake, ..TaskSpec::default() };
        spec.container.env = env.iter().map(|entry| entry.to_string()).collect();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let engine = FakeRuntime::new(clock.clone());
        let agent = start(&folder, &engine, clock.clone());
        agent.session_opened();
        Self {
            folder,
            clock,
            engine,
            agent,
            spec,
            wanted: BTreeMap::new(),
            payloads: BTreeMap::new(),
            number: 0,
        }
    }

    /// What is wanted of a task now; told with the next update.
    pub fn want(&mut self, id: u128, desired: TaskState) {
        let task = AssignedTask {
            id: TaskId(id),
            service: ServiceId(1),
            slot: Slot::Number(id as u64),
            spec: 1,
            desired,
            granted: None,
            iteration: None,
        };
        self.wanted.insert(task.id, task);
    }

    pub fn update(
        &mut self,
        applies_to: u64,
        tasks: Vec<AssignedTask>,
        removed: Vec<TaskId>,
    ) -> AssignmentUpdate {
        self.number = applies_to + 1;
        AssignmentUpdate {
            applies_to,
            results_in: self.number,
            more: false,
            specs: vec![AssignedSpec {
                service: ServiceId(1),
                number: 1,
                service_name: "web".into(),
                service_labels: BTreeMap::new(),
                task: Arc::new(self.spec.clone()),
                ports: Vec::new(),
            }],
            tasks,
            removed,
            payloads: if applies_to == 0 { self.payloads.values().cloned().collect() } else { Vec::new() },
            digest: digest(self.wanted.values(), self.payloads.keys().copied()),
            ..AssignmentUpdate::default()
        }
    }

    /// Sends everything.
    pub fn tell_all(&mut self) {
        let update = self.update(0, self.wanted.values().cloned().collect(), Vec::new());
        self.agent.update(update).unwrap();
    }

    /// Wants this of a task and says so.
    pub fn tell(&mut self, id: u128, desired: TaskState) {
        self.want(id, desired);
        if self.number == 0 {
            return self.tell_all();
        }
        let task = self.wanted[&TaskId(id)].clone();
        let update = self.update(self.number, vec![task], Vec::new());
        self.agent.update(update).unwrap();
    }

    /// Sends one version of a payload, and takes another one back.
    pub fn give(&mut self, payload: Option<AssignedPayload>, gone: Option<PayloadKey>) {
        gone.iter().for_each(|key| drop(self.payloads.remove(key)));
        self.payloads.extend(payload.iter().map(|one| ((one.id, one.version), one.clone())));
        let mut update = self.update(self.number, Vec::new(), Vec::new());
        update.payloads = payload.into_iter().collect();
        update.payloads_removed = gone.into_iter().collect();
        self.agent.update(update).unwrap();
    }

    pub fn take_off(&mut self, id: u128) {
        self.wanted.remove(&TaskId(id));
        let update = self.update(self.number, Vec::new(), vec![TaskId(id)]);
        self.agent.update(update).unwrap();
    }

    /// Waits until a task is seen like that.
    pub async fn until(&self, id: u128, what: &str, reached: impl Fn(&TaskStatus) -> bool) -> TaskStatus {
        let mut status = self.agent.watch(TaskId(id)).expect("the task is known");
        let found = tokio::time::timeout(Duration::from_secs(600), status.wait_for(|status| reached(status)));
        match found.await {
            Ok(status) => status.expect("the task stays known").clone(),
            Err(_) => panic!("never {what}: {:?}", self.agent.watch(TaskId(id)).unwrap().borrow()),
        }
    }

    pub async fn until_state(&self, id: u128, state: TaskState) -> TaskStatus {
        self.until(id, &state.to_string(), |status| status.state == state).await
    }

    /// As `until_state`, where the entry may be replaced meanwhile.
    pub async fn until_state_of_any_entry(&self, id: u128, state: TaskState) -> TaskStatus {
        for _ in 0..6_000 {
            if let Some(status) = self.agent.watch(TaskId(id))
                && status.borrow().state == state
            {
                return status.borrow().clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never {state}");
    }

    pub async fn until_known(&self, tasks: usize) {
        for _ in 0..6_000 {
            if self.agent.known() == tasks {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} tasks are known, never {tasks}", self.agent.known());
    }

    /// The daemon ends and starts again; the engine goes on.
    pub async fn restart(&mut self) {
        self.agent.stop().await;
        self.agent = start(&self.folder, &self.engine, self.clock.clone());
        self.number = 0;
    }

    /// Everything that is said until there is silence, acknowledged as it comes.
    pub async fn said(&self) -> Vec<(u128, TaskState)> {
        let mut said = Vec::new();
        while tokio::time::timeout(Duration::from_secs(60), self.agent.wait_for_reports()).await.is_ok() {
            let Some((number, reports)) = self.agent.take_reports() else { continue };
            said.extend(reports.into_iter().map(|report| (report.task.0, report.status.state)));
            self.agent.reported(number);
        }
        said
    }
}

pub fn start(folder: &tempfile::TempDir, engine: &FakeRuntime, clock: Arc<TestClock>) -> AgentHandle {
    let runtime: Arc<dyn Runtime> = Arc::new(engine.clone());
    Agent::start(AgentSettings {
        node: NodeId(9),
        hostname: "n1".into(),
        folder: folder.path().join("agent"),
        local_key: DataKey::generate(&mut SeededRandom::new(1, "local key")),
        runtimes: BTreeMap::from([(RuntimeKind::Fake, runtime)]),
        random: Box::new(SeededRandom::new(1, "agent")),
        clock,
        tasks: Tasks::new(),
    })
    .unwrap()
}
