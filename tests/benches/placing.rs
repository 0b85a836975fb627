//! Placing decisions per second: the first placement of many tasks, and then one task for one that ended.
//!
//! In this process. First, as a new leader begins: the board is made from the tables, and every task gets a node; writing
//! that down is a line of its own. Then, as a leader goes on: the board is told of two tasks, and one gets a node.

use std::time::Duration;

use anyhow::Context;
use common::object::node::NodeDescription;
use common::object::service::RuntimeKind;
use common::object::{
    Availability, Node, NodeId, NodeState, Role, Service, ServiceId, ServiceSpec, Slot, Task, TaskId,
    TaskState,
};
use common::random::{Random, SeededRandom};
use common::time::{Clock, SystemClock};
use harness::figures::{Figures, Limit, Row, Table, Take};
use manager::decide::place::{Assigned, Board, place};
use manager::store::{Change, Proposal, Store, Write};

use crate::machine::{Usage, now};
use crate::options::Options;

/// Docker's scheduler places 6,000 tasks a second where each is a group of its own, and 14,000 to 22,000 in groups.
const WANTED: f64 = 300_000.0;
const MEMORY_MAX: f64 = 1024.0;
/// How many tasks end and have a successor, each in a pass of its own.
const ENDS: usize = 2_000;
const ENDS_SHORT: usize = 50;
const CHANGES_PER_PROPOSAL: usize = 200;
const MIB: i64 = 1 << 20;

/// A cluster, and what it is asked to run.
#[derive(Clone, Copy)]
struct Shape {
    nodes: u128,
    services: u128,
    tasks_each: u64,
    asks: Asks,
    /// Whether the wanted rate is for this shape.
    is_target: bool,
    /// Whether it is about memory as well: measured once, and first.
    is_large: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    Reservations,
    /// A label that every third node has.
    Constraint,
    ReservationsAndConstraint,
    Spread,
}

const fn shape(nodes: u128, services: u128, tasks_each: u64, asks: Asks) -> Shape {
    Shape { nodes, services, tasks_each, asks, is_target: false, is_large: false }
}

const fn target(nodes: u128, services: u128, tasks_each: u64, asks: Asks) -> Shape {
    Shape { is_target: true, ..shape(nodes, services, tasks_each, asks) }
}

const SHAPES: [Shape; 14] = [
    Shape { is_large: true, ..shape(10_000, 10_000, 100, Asks::Reservations) },
    shape(100, 1, 10_000, Asks::Nothing),
    shape(100, 10_000, 1, Asks::Nothing),
    target(1_000, 100_000, 1, Asks::Nothing),
    target(1_000, 100_000, 1, Asks::Constraint),
    target(1_000, 1, 100_000, Asks::Reservations),
    target(1_000, 100, 1_000, Asks::Reservations),
    target(1_000, 10_000, 10, Asks::ReservationsAndConstraint),
    shape(1_000, 100, 1_000, Asks::Spread),
    shape(5_000, 100_000, 1, Asks::Nothing),
    shape(5_000, 100_000, 1, Asks::Constraint),
    shape(5_000, 1, 100_000, Asks::Reservations),
    shape(10_000, 100_000, 1, Asks::ReservationsAndConstraint),
    shape(10_000, 100, 1_000, Asks::Reservations),
];

pub fn measure(options: &Options) -> anyhow::Result<Table> {
    let ends = if options.is_short() { ENDS_SHORT } else { ENDS };
    let mut rows = Vec::new();
    for shape in SHAPES {
        let shape = if options.is_short() { shape.shortened() } else { shape };
        let times = if shape.is_large { 1 } else { options.times(3) };
        let mut results = Vec::new();
        for _ in 0..times {
            results.push(run(&shape, ends)?);
        }
        eprintln!("placing: {}", shape.name());
        rows.extend(shape.rows(&results));
    }
    Ok(Table(rows))
}

/// Decisions and writes per second, and memory in MiB.
struct Measured {
    first: f64,
    written: f64,
    steady: f64,
    memory: f64,
}

impl Shape {
    fn tasks(&self) -> usize {
        usize::try_from(self.services).expect("few") * usize::try_from(self.tasks_each).expect("few")
    }

    /// So little that it only shows whether it works.
    fn shortened(self) -> Self {
        let most = |count: u128, most: u128| count.min(most);
        Self {
            nodes: most(self.nodes, 50),
            services: most(self.services, 40),
            tasks_each: self.tasks_each.min(40),
            is_target: false,
            ..self
        }
    }

    fn name(&self) -> String {
        let asks = match self.asks {
            Asks::Nothing => "",
            Asks::Reservations => ", reserving",
            Asks::Constraint => ", constrained",
            Asks::ReservationsAndConstraint => ", reserving, constrained",
            Asks::Spread => ", spread over a label",
        };
        format!("{} × {} tasks on {} nodes{asks}", self.services, self.tasks_each, self.nodes)
    }

    fn rows(&self, results: &[Measured]) -> Vec<Row> {
        let figures = |value: fn(&Measured) -> f64| Figures::of(results.iter().map(value).collect());
        let row = |what: &str, unit, figures: Option<Figures>, limits| {
            figures.map(|figures| Row { what: format!("{}: {what}", self.name()), unit, figures, limits })
        };
        let wanted = self.is_target.then(|| Limit::at_least(Take::Median, WANTED)).into_iter().collect();
        let mut rows = vec![
            row("placed", "1/s", figures(|result| result.first), wanted),
            row("and applied", "1/s", figures(|result| result.written), vec![]),
            row("one for one", "1/s", figures(|result| result.steady), vec![]),
        ];
        if self.is_large {
            let limit = vec![Limit::at_most(Take::Max, MEMORY_MAX)];
            rows.push(row("memory in all", "MiB", figures(|result| result.memory), limit));
        }
        rows.into_iter().flatten().collect()
    }

    fn node(&self, id: u128) -> Node {
        let mut node = Node::new(NodeId(id), Role::Worker, Availability::Active);
        node.status.state = NodeState::Ready;
        node.spec.labels.insert("third".into(), if id.is_multiple_of(3) { "yes" } else { "no" }.into());
        node.spec.labels.insert("zone".into(), format!("z{}", id % 10));
        let mut description = NodeDescription { hostname: format!("n{id}"), ..NodeDescription::default() };
        description.resources.nano_cpus = 1_000_000_000_000;
        description.resources.memory_bytes = 1_000_000 * MIB;
        description.runtimes = vec!["fake".into()];
        node.description = Some(description);
        node
    }

    fn spec(&self, service: u128) -> ServiceSpec {
        let mut spec = ServiceSpec { name: format!("s{service}"), ..ServiceSpec::default() };
        spec.task.runtime = RuntimeKind::Fake;
        let reserved = &mut spec.task.resources.reservations;
        if matches!(self.asks, Asks::Reservations | Asks::ReservationsAndConstraint) {
            // Several sizes, as in life.
            reserved.nano_cpus = 1_000_000 * i64::try_from(1 + service % 4).expect("small");
            reserved.memory_bytes = 64 * MIB;
        }
        if matches!(self.asks, Asks::Constraint | Asks::ReservationsAndConstraint) {
            spec.task.placement.constraints = vec!["node.labels.third == yes".into()];
        }
        if self.asks == Asks::Spread {
            spec.task.placement.spread_over = vec!["node.labels.zone".into()];
        }
        spec
    }
}

/// The tables, written as raft writes them.
struct Log {
    store: Store,
    index: u64,
}

impl Log {
    fn write(&mut self, changes: impl IntoIterator<Item = Change>) -> anyhow::Result<()> {
        let mut changes = changes.into_iter();
        loop {
            let changes: Vec<Change> = changes.by_ref().take(CHANGES_PER_PROPOSAL).collect();
            if changes.is_empty() {
                return Ok(());
            }
            self.index += 1;
            let proposal = Proposal { id: self.index, at: SystemClock.now(), changes };
            self.store.apply(self.index, &proposal).context("apply what was made here")?;
        }
    }

    fn assign(&mut self, assigned: &[Assigned]) -> anyhow::Result<()> {
        for assigned in assigned.chunks(CHANGES_PER_PROPOSAL) {
            // For each anew: one that is kept keeps the old tasks in memory.
            let tables = self.store.snapshot();
            let changes = assigned.iter().filter_map(|assigned| {
                let mut task = Task::clone(tables.tasks.get(assigned.task)?);
                task.node = Some(assigned.node);
                task.granted = assigned.granted.clone();
                task.status.state = TaskState::Assigned;
                Some(Change::Task(Write::update(task)))
            });
            self.write(changes.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

fn run(shape: &Shape, ends: usize) -> anyhow::Result<Measured> {
    let mut random = SeededRandom::new(7, "placing");
    let mut log = Log { store: Store::new(), index: 0 };
    log.write((1..=shape.nodes).map(|id| Change::Node(Write::Create(shape.node(id)))))?;
    let services: Vec<ServiceId> = (0..shape.services).map(|_| ServiceId::generate(&mut random)).collect();
    log.write(services.iter().zip(0..).map(|(id, number)| {
        Change::Service(Write::Create(Service::new(*id, shape.spec(number), SystemClock.now())))
    }))?;

    let mut tasks = Vec::with_capacity(shape.tasks());
    for slot in 1..=shape.tasks_each {
        tasks.extend(services.iter().map(|service| (TaskId::generate(&mut random), *service, slot)));
    }
    log.write(tasks.iter().map(|(id, service, slot)| new_task(*id, *service, *slot)))?;

    let tables = log.store.snapshot();
    let start = now();
    let mut board = Board::new(&tables);
    let placed = place(&tables, &mut board, SystemClock.now());
    let first = now().since(start);
    anyhow::ensure!(placed.assigned.len() == tasks.len(), "{} of {}", placed.assigned.len(), tasks.len());
    drop(tables);
    log.assign(&placed.assigned)?;
    let written = now().since(start);
    drop(placed);

    let steady = steady(&mut log, &mut board, &mut tasks, &mut random, ends)?;
    let memory = Usage::of(std::process::id())?.memory;
    let rate = |time: Duration| shape.tasks() as f64 / time.as_secs_f64();
    Ok(Measured { first: rate(first), written: rate(written), steady, memory })
}

/// One task ends, another one comes and is placed, again and again; the time of deciding alone.
fn steady(
    log: &mut Log,
    board: &mut Board,
    tasks: &mut [(TaskId, ServiceId, u64)],
    random: &mut SeededRandom,
    ends: usize,
) -> anyhow::Result<f64> {
    let mut time = Duration::ZERO;
    for _ in 0..ends {
        let at = usize::try_from(random.next_u64() % tasks.len() as u64)?;
        let (old, service, slot) = tasks[at];
        let new = TaskId::generate(random);
        tasks[at].0 = new;
        let mut ended = Task::clone(log.store.snapshot().tasks.get(old).context("it was placed")?);
        ended.status.state = TaskState::Complete;
        log.write([Change::Task(Write::update(ended)), new_task(new, service, slot)])?;
        let tables = log.store.snapshot();
        let start = now();
        board.sync_task(&tables, old);
        board.sync_task(&tables, new);
        let placed = place(&tables, board, SystemClock.now());
        time += now().since(start);
        anyhow::ensure!(placed.assigned.len() == 1, "{placed:?}");
        log.assign(&placed.assigned)?;
        board.sync_task(&log.store.snapshot(), new);
    }
    Ok(ends as f64 / time.as_secs_f64())
}

fn new_task(id: TaskId, service: ServiceId, slot: u64) -> Change {
    let mut task = Task::new(id, service, Slot::Number(slot), 1, TaskState::Running);
    task.status.state = TaskState::Pending;
    Change::Task(Write::Create(task))
}
