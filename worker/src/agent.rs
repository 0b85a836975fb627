//! The agent: takes what the managers assign, keeps a runner per task, says what became of each.
//!
//! While no leader is there everything goes on as it was last told. A restart of the daemon touches no task: what was
//! known is on the disk, what is there is the runtimes' to say. A task that nobody knows is removed only after a whole
//! set of assignments has said so.
//!
//! - `journal`: keeps the disk up to date. `strays`: removes what nobody knows.
//!
//! Not here: what to do next (`task::next_step`), who does it (`task::runner`), the talk with the leader (`session`).

mod journal;
mod strays;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::disk::DiskError;
use common::identity::DataKey;
use common::limits::{LEAVE_REMOVE_WAIT, LEAVE_TASKS_WAIT, LOG_STREAMS_MAX, STOP_PARALLEL_MAX};
use common::object::node::Platform;
use common::object::service::RuntimeKind;
use common::object::{NodeId, TaskId, TaskState, TaskStatus};
use common::random::Random;
use common::shutdown::Tasks;
use common::time::{Clock, Timestamp};
use common::transport::Stream;
use common::wire::assignment::{AssignmentUpdate, PayloadKey, TaskReport};
use futures_util::stream::StreamExt;
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{info, warn};

use crate::disk::Disk;
use crate::mesh::gate::Gates;
use crate::mesh::table::Table as MeshTable;
use crate::runtime::Runtime;
use crate::setup::Place;
use crate::task::assigned::Gap;
use crate::task::next_step::Stopping;
use crate::task::order::Order;
use crate::task::runner::Runner;
use crate::task::slots::Slots;
use crate::task::table::{Entry, Table, restored_orders};

/// What an agent is started with.
pub struct AgentSettings {
    pub node: NodeId,
    pub hostname: String,
    /// Its own; nobody else keeps files there.
    pub folder: PathBuf,
    /// What the journal there is sealed with.
    pub local_key: DataKey,
    pub runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    pub random: Box<dyn Random>,
    pub clock: Arc<dyn Clock>,
    pub tasks: Tasks,
}

/// The way to the agent. Clones lead to the same one.
#[derive(Clone)]
pub struct AgentHandle {
    pub(crate) shared: Arc<Shared>,
}

pub struct Agent;

/// What the agent, its runners and its journal's writer share.
pub struct Shared {
    place: Place,
    runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    slots: BTreeMap<RuntimeKind, Arc<Slots>>,
    random: Mutex<Box<dyn Random>>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    table: Mutex<Table>,
    /// Something is to be said.
    reports: Notify,
    /// Something is to be written.
    unwritten: Notify,
    written: watch::Sender<Written>,
    /// Counts whole sets: what nobody knows then may go.
    whole_sets: watch::Sender<u64>,
    /// What this node knows of the mesh.
    mesh: watch::Sender<Arc<MeshTable>>,
    gates: Gates,
    pub(crate) log_streams: Semaphore,
}

/// How far the journal is.
#[derive(Clone, Debug, Default)]
struct Written {
    number: u64,
    /// Why it does not get on.
    error: Option<String>,
}

impl Agent {
    /// Reads what this node knew and goes on from there. Within a tokio runtime.
    pub fn start(settings: AgentSettings) -> Result<AgentHandle, DiskError> {
        let AgentSettings { node, hostname, folder, local_key, runtimes, random, clock, tasks } = settings;
        let (disk, restored) = Disk::open(&folder, &local_key)?;
        let platform =
            Platform { architecture: std::env::consts::ARCH.into(), os: std::env::consts::OS.into() };
        let shared = Arc::new(Shared {
            place: Place { node, hostname, platform },
            slots: runtimes.keys().map(|kind| (*kind, Arc::default())).collect(),
            runtimes,
            random: Mutex::new(random),
            clock,
            tasks: tasks.child(),
            table: Mutex::default(),
            reports: Notify::new(),
            unwritten: Notify::new(),
            written: watch::Sender::default(),
            whole_sets: watch::Sender::new(0),
            mesh: watch::Sender::default(),
            gates: Gates::default(),
            log_streams: Semaphore::new(LOG_STREAMS_MAX),
        });
        let orders = restored_orders(restored);
        if !orders.is_empty() {
            info!(tasks = orders.len(), "took up the tasks this node had");
        }
        {
            let mut table = shared.table();
            for (order, status, stopping) in orders {
                shared.add(&mut table, order, status, stopping);
            }
        }
        shared.tasks.spawn(journal::write(shared.clone(), disk));
        for runtime in shared.runtimes.values() {
            shared.tasks.spawn_until_stopped(strays::remove(shared.clone(), runtime.clone()));
        }
        Ok(AgentHandle { shared })
    }
}

impl AgentHandle {
    /// Takes an update of the assignments. After an error everything has to be sent again.
    pub fn update(&self, update: AssignmentUpdate) -> Result<(), Gap> {
        self.shared.update(update)
    }

    /// A session stands: its leader hears everything, and sends everything.
    pub fn session_opened(&self) {
        self.shared.table().session_opened();
        self.shared.reports.notify_one();
    }

    /// Reports up to this number have arrived.
    pub fn reported(&self, number: u64) {
        self.shared.table().outbox.acknowledge(number);
        self.shared.reports.notify_one();
    }

    /// Returns when there is something to say. May be dropped at any point.
    pub async fn wait_for_reports(&self) {
        loop {
            let now = self.shared.clock.monotonic();
            let next = self.shared.table().outbox.next_at(now);
            let told = self.shared.reports.notified();
            match next {
                Some(at) if at <= now => return,
                Some(at) => drop(tokio::time::timeout(at.since(now), told).await),
                None => told.await,
            }
        }
    }

    /// The next reports and their number; they count as sent from here on.
    pub fn take_reports(&self) -> Option<(u64, Vec<TaskReport>)> {
        let now = self.shared.clock.monotonic();
        self.shared.table().outbox.take(now)
    }

    /// Answers a request for logs, to its end.
    pub async fn serve_logs(&self, stream: Stream) {
        crate::logs::serve(self, stream).await;
    }

    /// Tasks that run now.
    pub fn running(&self) -> usize {
        self.shared.table().running()
    }

    /// The secrets and configs this node has in memory.
    pub fn payloads(&self) -> Vec<PayloadKey> {
        self.shared.table().assigned.payloads().collect()
    }

    /// Tasks of which anything is left here.
    pub fn known(&self) -> usize {
        self.shared.table().entries.len()
    }

    /// Follows what is seen of a task; none where it is not known here.
    pub fn watch(&self, task: TaskId) -> Option<watch::Receiver<TaskStatus>> {
        self.shared.table().entries.get(&task).map(|entry| entry.status.subscribe())
    }

    /// Follows what this node knows of the mesh.
    pub fn mesh(&self) -> watch::Receiver<Arc<MeshTable>> {
        self.shared.mesh.subscribe()
    }

    /// The runtime that has a task.
    pub(crate) fn runtime_of(&self, task: TaskId) -> Option<Arc<dyn Runtime>> {
        let kind = self.shared.table().entries.get(&task)?.orders.borrow().spec.task.runtime;
        self.shared.runtime(kind)
    }

    /// Lets go of everything: tasks go on, and the next start finds them again.
    pub async fn stop(&self) {
        self.shared.tasks.stop().await;
    }

    /// This node leaves its cluster: all tasks are stopped and removed, within a bound.
    pub async fn leave(&self) {
        {
            let mut table = self.shared.table();
            table.assigned = Default::default();
            self.shared.mesh.send_replace(Arc::default());
            let tasks: Vec<TaskId> = table.entries.keys().copied().collect();
            tasks.into_iter().for_each(|task| table.leave(task));
        }
        self.shared.unwritten.notify_one();
        self.shared.whole_sets.send_modify(|sets| *sets += 1);
        let mut written = self.shared.written.subscribe();
        let gone = async {
            // Whoever forgets a task also has it written.
            while self.known() > 0 && written.changed().await.is_ok() {}
        };
        if tokio::time::timeout(LEAVE_TASKS_WAIT, gone).await.is_err() {
            warn!(tasks = self.known(), "removing tasks that did not end in time");
            let _ = tokio::time::timeout(LEAVE_REMOVE_WAIT, self.remove_all()).await;
        }
    }

    async fn remove_all(&self) {
        let left: Vec<TaskId> = self.shared.table().entries.keys().copied().collect();
        let removals = left.into_iter().filter_map(|task| {
            let runtime = self.runtime_of(task)?;
            Some(async move {
                if let Err(error) = runtime.remove(task).await {
                    warn!(task.id = %task, %error, "a task stays behind");
                }
            })
        });
        futures_util::stream::iter(removals).for_each_concurrent(STOP_PARALLEL_MAX, |removal| removal).await;
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder panics")
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn runtime(&self, kind: RuntimeKind) -> Option<Arc<dyn Runtime>> {
        self.runtimes.get(&kind).cloned()
    }

    pub(crate) fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Looks at one task, where it is known.
    pub(crate) fn with_entry<T>(&self, task: TaskId, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.table().entries.get_mut(&task).map(look)
    }

    pub(crate) fn slots(&self, kind: RuntimeKind) -> Arc<Slots> {
        self.slots.get(&kind).cloned().unwrap_or_default()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A quarter more or less, so that what failed together is not tried again together.
    pub(crate) fn uneven(&self, pause: Duration) -> Duration {
        let fraction = self.random.lock().expect("no holder panics").fraction();
        pause.mul_f64(0.75 + fraction / 2.0)
    }

    /// What was seen of a task: to be said and to be written. Gives the number at which the journal has it.
    pub(crate) fn note(&self, task: TaskId, status: &TaskStatus, stopping: Option<&Stopping>) -> u64 {
        let number = self.table().note(task, status, stopping);
        self.reports.notify_one();
        self.unwritten.notify_one();
        number
    }

    /// Waits until the journal has the change with that number; the error says why it does not get on.
    pub(crate) async fn written(&self, number: u64) -> Result<(), String> {
        let mut written = self.written.subscribe();
        let got = written.wait_for(|written| written.number >= number || written.error.is_some()).await;
        match got.as_deref() {
            Ok(Written { number: got, .. }) if *got >= number => Ok(()),
            Ok(Written { error: Some(error), .. }) => Err(error.clone()),
            Ok(Written { error: None, .. }) | Err(_) => Err("the agent is stopping".into()),
        }
    }

    /// Nothing is left of a task. One that was assigned again meanwhile does not run a second time.
    pub(crate) fn forget(self: &Arc<Self>, task: TaskId) {
        let mut table = self.table();
        table.remove(task);
        self.gates.forget(task);
        if let Some((assigned, spec)) = table.assigned.task(task) {
            let order = Order {
                assigned: assigned.clone(),
                spec: spec.clone(),
                is_incomplete: false,
                is_leaving: false,
                given: table.assigned.given(task, spec),
            };
            let status = TaskStatus {
                state: TaskState::Failed,
                at: self.now(),
                error: "task: it was taken off this node, and then given to it again".into(),
                ..TaskStatus::default()
            };
            table.outbox.put(task, status.clone());
            self.add(&mut table, order, status, None);
            self.reports.notify_one();
        }
        drop(table);
        self.unwritten.notify_one();
    }

    fn update(self: &Arc<Self>, update: AssignmentUpdate) -> Result<(), Gap> {
        let mut table = self.table();
        let Some(delta) = table.assigned.apply(update)? else { return Ok(()) };
        for task in delta.removed {
            table.leave(task);
        }
        for task in delta.changed {
            self.assign(&mut table, task);
        }
        if delta.is_whole {
            // Also what this node has from its disk and the managers do not know.
            let strange = table.entries.keys().filter(|task| !table.assigned.contains(**task));
            let strange: Vec<TaskId> = strange.copied().collect();
            strange.into_iter().for_each(|task| table.leave(task));
        }
        if delta.is_mesh_changed {
            self.mesh.send_replace(Arc::new(table.assigned.mesh().clone()));
        }
        drop(table);
        if delta.is_whole {
            self.whole_sets.send_modify(|sets| *sets += 1);
        }
        self.unwritten.notify_one();
        Ok(())
    }

    fn assign(self: &Arc<Self>, table: &mut Table, task: TaskId) {
        let Some((assigned, spec)) = table.assigned.task(task) else { return };
        let (assigned, spec, given) = (assigned.clone(), spec.clone(), table.assigned.given(task, spec));
        match table.entries.get(&task) {
            // What is on its way out goes to its end; see `forget`.
            Some(entry) if entry.is_leaving() => {}
            Some(_) => table.renew(task, &assigned, &spec, given),
            None => {
                let order = Order { assigned, spec, is_incomplete: false, is_leaving: false, given };
                let status =
                    TaskStatus { state: TaskState::Assigned, at: self.now(), ..TaskStatus::default() };
                self.add(table, order, status, None);
            }
        }
    }

    fn add(
        self: &Arc<Self>,
        table: &mut Table,
        order: Order,
        status: TaskStatus,
        stopping: Option<Stopping>,
    ) {
        let orders = table.insert(order, status.clone(), stopping.clone());
        let runner = Runner::new(self.clone(), orders, status, stopping);
        self.tasks.spawn_until_stopped(runner.run());
    }
}

#[cfg(test)]
#[path = "agent_test.rs"]
mod tests;
