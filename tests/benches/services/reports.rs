//! Status reports that a leader takes in per second from a thousand nodes.
//!
//! Real: the sessions and their frames, the planner, every write in a raft log on this disk, with one manager and with
//! three. Played: the nodes, each a script in this process at the other end of a stream in memory, who report on all
//! of their tasks, wait for the answer, and do it again; and the leader's loop, which here serves services alone. There
//! is no gossip and no network, and the nodes take their share of the same processors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::limits::{FRAME_BYTES_MAX, PROPOSAL_CHANGES_MAX};
use common::object::service::{RuntimeKind, ServiceMode};
use common::object::{
    Availability, Node, NodeDescription, NodeId, NodeState, Role, Service, ServiceId, ServiceSpec, Slot,
    Task, TaskId, TaskState, TaskStatus,
};
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock};
use common::transport::Stream;
use common::wire::assignment::TaskReport;
use common::wire::frame::{expect_message, write_message};
use common::wire::session::{ManagerMessage, NodeMessage};
use futures_util::FutureExt;
use harness::figures::{Figures, Row, Table};
use manager::control::services::Services;
use manager::dispatch::follow::follow;
use manager::dispatch::session::Lead;
use manager::dispatch::{SessionEvent, Sessions};
use manager::forward::Forward;
use manager::secret_driver::SecretDrivers;
use manager::store::{Change, FeedError, Tables, Write};
use tokio::sync::mpsc;

use crate::group::Group;
use crate::machine::now;
use crate::options::Options;

const AGENTS: u64 = 1_000;
const AGENTS_SHORT: u64 = 50;
const TASKS_EACH: u64 = 10;
const SERVICE: ServiceId = ServiceId(7);
/// Ids of the played nodes begin here, above those of the managers.
const FIRST_AGENT: u64 = 1_000;
/// Bytes under way between a node and its session.
const STREAM_BYTES: usize = 1 << 16;
const HEARTBEAT: Duration = Duration::from_millis(300);

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let agents = if options.is_short() { AGENTS_SHORT } else { AGENTS };
    let mut rows = Vec::new();
    for managers in [1, 3] {
        let mut rates = Vec::new();
        let rounds = options.times(3);
        for round in 1..=rounds {
            eprintln!("reports, {managers} managers: round {round} of {rounds}");
            rates.push(run(managers, agents, options.seconds(5.0)).await?);
        }
        rows.extend(Figures::of(rates).map(|figures| Row {
            what: format!("reports of {agents} nodes written, managers: {managers}"),
            unit: "1/s",
            figures,
            limits: vec![],
        }));
    }
    Ok(Table(rows))
}

/// Reports that were acknowledged, per second.
async fn run(managers: u64, agents: u64, time: Duration) -> anyhow::Result<f64> {
    let group = Group::of(managers).await?;
    let forward = group.forward().await?;
    fill(&forward, agents).await?;
    let (tasks, nodes) = (Tasks::new(), Tasks::new());
    let (sessions, events) =
        Sessions::new(forward.store.clone(), SecretDrivers::default(), Arc::new(SystemClock));
    sessions.set_lead(Lead::Mine { heartbeat_period: HEARTBEAT, until: tasks.token() });
    tasks.spawn_until_stopped(follow(forward.store.clone(), sessions.clone()));
    tasks.spawn_until_stopped(lead(forward, sessions.clone(), events));
    let written = Arc::new(AtomicU64::new(0));
    for number in 0..agents {
        let (near, far) = duplex();
        let (sessions, written) = (sessions.clone(), written.clone());
        tasks.spawn_until_stopped(async move { sessions.serve(agent_id(number), far).await });
        nodes.spawn_until_stopped(async move {
            if let Err(error) = agent(number, near, &written).await {
                eprintln!("node {number}: {error:#}");
            }
        });
    }
    // All nodes come first; what they say while others still come is not counted.
    while written.load(Ordering::Relaxed) < agents * TASKS_EACH {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (start, before) = (now(), written.load(Ordering::Relaxed));
    tokio::time::sleep(time).await;
    let rate = (written.load(Ordering::Relaxed) - before) as f64 / now().since(start).as_secs_f64();
    nodes.stop().await;
    tasks.stop().await;
    group.stop().await;
    Ok(rate)
}

/// What a node says: who it is, and again and again something new of each of its tasks.
async fn agent(number: u64, mut stream: Stream, written: &AtomicU64) -> anyhow::Result<()> {
    let seal = common::identity::OpeningKey::generate(&mut common::random::SystemRandom).public();
    let hello = NodeMessage::Describe { description: Box::default(), addr: "127.0.0.1:2377".into(), seal };
    write_message(&mut stream.send, &hello).await?;
    let mut said = 0;
    loop {
        said += 1;
        let report = |task: u64| TaskReport {
            task: task_id(number, task),
            status: TaskStatus { message: format!("seen {said} times").into(), ..running() },
        };
        let reports = (0..TASKS_EACH).map(report).collect();
        write_message(&mut stream.send, &NodeMessage::Reports { number: said, reports }).await?;
        loop {
            let message: ManagerMessage = expect_message(&mut stream.recv, FRAME_BYTES_MAX).await?;
            if matches!(message, ManagerMessage::Reported { number } if number >= said) {
                break;
            }
        }
        written.fetch_add(TASKS_EACH, Ordering::Relaxed);
    }
}

/// The leader's loop, for services alone.
async fn lead(forward: Forward, sessions: Sessions, mut events: mpsc::Receiver<SessionEvent>) {
    let store = forward.store.clone();
    let tables = store.snapshot();
    let mut noted = tables.version;
    let mut services = Services::new(forward, sessions, &tables);
    drop(tables);
    let heard = |services: &mut Services, event| match event {
        SessionEvent::Reports { from, number, reports } => services.reports(from, number, reports),
        SessionEvent::Opened(_)
        | SessionEvent::Closed(_)
        | SessionEvent::Described { .. }
        | SessionEvent::Goodbye(..) => {}
    };
    loop {
        let tables: Tables = loop {
            let tables = store.snapshot();
            if tables.version <= noted {
                break tables;
            }
            match store.feed().after(noted).now_or_never() {
                Some(Ok((changes, version))) => {
                    noted = version;
                    changes.iter().for_each(|change| services.noted(change));
                }
                Some(Err(FeedError::Behind { .. })) => {
                    noted = tables.version;
                    services.missed(&tables);
                }
                None => noted = noted.max(store.feed().reached()),
            }
        };
        services.pass(&tables).await;
        let newest = tables.newest;
        drop(tables);
        if services.next_in(newest).is_none_or(|wait| !wait.is_zero()) {
            match events.recv().await {
                Some(event) => heard(&mut services, event),
                None => return,
            }
        } else {
            tokio::task::yield_now().await;
        }
        while let Ok(event) = events.try_recv() {
            heard(&mut services, event);
        }
    }
}

/// Writes the nodes, a service, and its tasks, which run already.
async fn fill(forward: &Forward, agents: u64) -> anyhow::Result<()> {
    let mut spec = ServiceSpec { name: "reported".into(), ..ServiceSpec::default() };
    spec.task.runtime = RuntimeKind::Fake;
    spec.mode = ServiceMode::Replicated { replicas: agents * TASKS_EACH };
    let service = Service::new(SERVICE, spec, SystemClock.now());
    let number = service.current.number;
    let mut changes = vec![Change::Service(Write::Create(service))];
    for agent in 0..agents {
        let mut node = Node::new(agent_id(agent), Role::Worker, Availability::Active);
        node.status.state = NodeState::Ready;
        node.description =
            Some(NodeDescription { runtimes: vec!["fake".into()], ..NodeDescription::default() });
        changes.push(Change::Node(Write::Create(node)));
        for task in 0..TASKS_EACH {
            let slot = Slot::Number(1 + agent * TASKS_EACH + task);
            let id = task_id(agent, task);
            let mut task = Task::new(id, SERVICE, slot, number, TaskState::Running);
            task.node = Some(agent_id(agent));
            task.status = running();
            changes.push(Change::Task(Write::Create(task)));
        }
    }
    for changes in changes.chunks(PROPOSAL_CHANGES_MAX) {
        forward.propose(changes.to_vec()).await?;
    }
    Ok(())
}

fn running() -> TaskStatus {
    TaskStatus { state: TaskState::Running, ready: true, ..TaskStatus::default() }
}

fn agent_id(number: u64) -> NodeId {
    NodeId((FIRST_AGENT + number).into())
}

fn task_id(agent: u64, task: u64) -> TaskId {
    TaskId((1 + agent * TASKS_EACH + task).into())
}

/// Two ends of a stream in memory.
fn duplex() -> (Stream, Stream) {
    let (near, far) = tokio::io::duplex(STREAM_BYTES);
    let whole = |io| {
        let (recv, send) = tokio::io::split(io);
        Stream { send: Box::new(send), recv: Box::new(recv) }
    };
    (whole(near), whole(far))
}
