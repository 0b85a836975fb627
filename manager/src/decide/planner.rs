//! The derived state of one lead: what has to be looked at and when, and the fixed order in which it is.
//!
//! Pure. Nothing here is lost with the lead: a new leader builds it anew from the tables and decides the same. Work
//! follows what changed: a slot where a task ended, a node, a service. A pass over nothing costs nothing.
//!
//! Not here: any decision. Each is in the file of its question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::limits::DECIDE_ROUNDS_MAX;
use common::object::{
    Node, NodeId, NodeState, Service, ServiceId, ServiceMode, Slot, Task, TaskId, TaskState,
};
use common::time::Timestamp;
use common::wire::assignment::TaskReport;

use super::allocate::Addresses;
use super::jobs::Tally;
use super::pass::{Ctx, Item, Pass, Why};
use super::place::{self, Board};
use super::reports::Reports;
use super::roll::{self, Class, Marks, Roll, classify};
use super::up_to_date::Site;
use super::{allocate, enforce, global, jobs, reap, rebalance, replicated, slot, update};
use crate::store::table::Object;
use crate::store::{Change, Changed, Tables, Write};

/// What to propose, each inner list on its own, and why.
#[derive(Debug, Default)]
pub struct Decision {
    pub proposals: Vec<Vec<Change>>,
    pub reasons: Vec<Why>,
}

pub struct Planner {
    dirty: Dirty,
    later: BTreeSet<(Timestamp, Item)>,
    reports: Reports,
    board: Board,
    addresses: Addresses,
    /// Of services with an update or a move under way.
    rolls: BTreeMap<ServiceId, Roll>,
    /// Of replicated jobs.
    tallies: BTreeMap<ServiceId, Tally>,
    marks: Marks,
    /// Services whose tasks are being spread anew, and the request that is for.
    spreading: BTreeMap<ServiceId, u64>,
    /// Services that lost tasks of a node which is back.
    spread_soon: BTreeSet<ServiceId>,
    /// Global services, which every node concerns.
    globals: BTreeSet<ServiceId>,
}

/// What the next pass looks at.
#[derive(Debug, Default)]
struct Dirty {
    services: BTreeSet<ServiceId>,
    slots: BTreeSet<(ServiceId, Slot)>,
    /// Services whose roll or tally has changed.
    rolls: BTreeSet<ServiceId>,
    nodes: BTreeSet<NodeId>,
    returned: BTreeSet<NodeId>,
    board: BoardDirty,
    all: bool,
}

#[derive(Debug, Default)]
struct BoardDirty {
    anew: bool,
    tasks: BTreeSet<TaskId>,
    nodes: BTreeSet<NodeId>,
    services: BTreeSet<ServiceId>,
}

impl BoardDirty {
    fn is_empty(&self) -> bool {
        !self.anew && self.tasks.is_empty() && self.nodes.is_empty() && self.services.is_empty()
    }
}

impl Dirty {
    fn is_empty(&self) -> bool {
        !self.all
            && self.services.is_empty()
            && self.slots.is_empty()
            && self.rolls.is_empty()
            && self.nodes.is_empty()
            && self.board.is_empty()
    }

    fn has_looks(&self) -> bool {
        !self.services.is_empty()
            || !self.slots.is_empty()
            || !self.rolls.is_empty()
            || !self.nodes.is_empty()
    }

    fn item(&mut self, item: Item) {
        match item {
            Item::Slot(service, slot) => drop(self.slots.insert((service, slot))),
            Item::Roll(service) => drop(self.rolls.insert(service)),
            Item::Node(node) => drop(self.nodes.insert(node)),
        }
    }
}

impl Planner {
    /// A new lead, which looks at everything.
    pub fn new(tables: &Tables) -> Self {
        let mut planner = Self {
            dirty: Dirty::default(),
            later: BTreeSet::new(),
            reports: Reports::default(),
            board: Board::new(tables),
            addresses: Addresses::new(tables),
            rolls: BTreeMap::new(),
            tallies: BTreeMap::new(),
            marks: Marks::default(),
            spreading: BTreeMap::new(),
            spread_soon: BTreeSet::new(),
            globals: BTreeSet::new(),
        };
        planner.look_at_all();
        planner
    }

    /// The next pass looks at every service and node.
    pub fn look_at_all(&mut self) {
        self.dirty.all = true;
    }

    /// Some changes were not seen: nothing derived is trusted any more.
    pub fn missed(&mut self, tables: &Tables) {
        self.board = Board::new(tables);
        self.addresses = Addresses::new(tables);
        self.dirty = Dirty::default();
        self.rolls.clear();
        self.tallies.clear();
        self.marks = Marks::default();
        self.later.clear();
        self.reports.all_again();
        self.look_at_all();
    }

    /// Takes note of a change in the store, whoever made it.
    pub fn noted(&mut self, change: &Changed) {
        match change {
            Changed::Cluster { .. } | Changed::Payload { .. } => {}
            Changed::Network { before, after } => {
                let network = after.as_ref().or(before.as_ref());
                network.into_iter().for_each(|network| self.addresses.noted_network(network.id));
            }
            Changed::Node { before, after } => self.noted_node(before.as_deref(), after.as_deref()),
            Changed::Service { before, after } => self.noted_service(before.as_deref(), after.as_deref()),
            Changed::Task { before, after } => self.noted_task(before.as_deref(), after.as_deref()),
        }
    }

    /// A worker speaks of a task.
    pub fn report(&mut self, node: NodeId, report: TaskReport) {
        self.reports.receive(node, report);
    }

    /// A proposal was not written: what it was about is looked at again.
    pub fn failed(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Cluster(_) | Change::Payload(_) | Change::Network(_) => {}
                Change::Node(write) => drop(self.dirty.nodes.insert(id_of(write))),
                Change::Service(write) => {
                    self.dirty.board.services.insert(id_of(write));
                    self.dirty.services.insert(id_of(write));
                }
                Change::Task(write) => {
                    let id = id_of(write);
                    self.dirty.board.tasks.insert(id);
                    self.addresses.again(id);
                    self.reports.again(id);
                    if let Write::Create(task) | Write::Update { value: task, .. } = write {
                        self.dirty.services.insert(task.service);
                    } else {
                        self.dirty.all = true; // whose it was is not said; this is rare
                    }
                }
            }
        }
    }

    /// The next moment at which a pass may decide something: at once when anything is dirty.
    pub fn next_at(&self) -> Option<Timestamp> {
        if !self.is_quiet() {
            return Some(Timestamp::default());
        }
        self.later.first().map(|(at, _)| *at)
    }

    pub fn decide(&mut self, tables: &Tables, ctx: &mut Ctx<'_>) -> Decision {
        // A clock behind the store's must not turn delays back.
        let now = ctx.now.max(tables.newest);
        while let Some((at, item)) = self.later.first().copied()
            && at <= now
        {
            self.later.pop_first();
            self.dirty.item(item);
        }
        if self.is_quiet() {
            return Decision::default();
        }
        if std::mem::take(&mut self.dirty.all) {
            self.dirty.services.extend(tables.services.iter().map(|service| service.id));
            self.dirty.nodes.extend(tables.nodes.iter().map(|node| node.id));
        }
        self.sync_board(tables);
        let mut pass = Pass::new(tables, now, ctx.random);
        let rolls = (&self.rolls, &self.tallies);
        let is_followed = |service| rolls.0.contains_key(&service) || rolls.1.contains_key(&service);
        let reported = self.reports.write(&mut pass, is_followed);
        self.dirty.slots.extend(reported);
        for _ in 0..DECIDE_ROUNDS_MAX {
            self.look(&mut pass);
            if !self.dirty.has_looks() {
                break;
            }
        }
        self.give_addresses(&mut pass);
        self.place(&mut pass);
        self.later.extend(std::mem::take(&mut pass.wakes));
        Decision { reasons: std::mem::take(&mut pass.reasons), proposals: pass.draft.finish() }
    }

    fn is_quiet(&self) -> bool {
        self.dirty.is_empty() && self.reports.is_empty() && self.addresses.is_quiet()
    }

    /// One round over what is dirty, from what concerns most to what concerns least.
    fn look(&mut self, pass: &mut Pass) {
        for node in std::mem::take(&mut self.dirty.nodes) {
            self.look_at_node(pass, node);
        }
        for service in std::mem::take(&mut self.dirty.services) {
            self.look_at_service(pass, service);
        }
        let slots = std::mem::take(&mut self.dirty.slots);
        let mut site: Option<Site> = None;
        for (service, slot) in slots {
            if site.as_ref().is_none_or(|site| site.service.id != service) {
                site = pass.tables().services.get(service).cloned().map(Site::new);
            }
            if let Some(site) = &mut site {
                self.look_at_slot(pass, site, slot);
                site.refresh(&pass.draft);
            }
        }
        for service in std::mem::take(&mut self.dirty.rolls) {
            self.advance(pass, service);
        }
        self.dirty.services.append(&mut pass.whole);
    }

    fn look_at_node(&mut self, pass: &mut Pass, node: NodeId) {
        let returned = self.dirty.returned.remove(&node);
        let concerned = enforce::node(pass, node, returned, &mut self.marks);
        if returned {
            self.spread_soon.extend(&concerned.services);
        }
        self.dirty.slots.extend(concerned.slots);
        self.dirty.services.extend(concerned.services);
        self.dirty.slots.extend(self.globals.iter().map(|service| (*service, Slot::Node(node))));
        // What is under way may be blocked, or freed, by what has become of the node.
        let followed =
            pass.tables().tasks_on_node(node).filter(|task| self.rolls.contains_key(&task.service));
        self.dirty.slots.extend(followed.map(|task| (task.service, task.slot)));
    }

    fn look_at_slot(&mut self, pass: &mut Pass, site: &mut Site, slot: Slot) {
        let service = site.service.id;
        slot::look(pass, site, slot);
        site.refresh(&pass.draft);
        if let (Some(tally), Slot::Number(number)) = (self.tallies.get_mut(&service), slot) {
            tally.sync(pass, site, number);
            self.dirty.rolls.insert(service);
        }
        if let Some(roll) = self.rolls.get_mut(&service) {
            roll.put(slot, classify(pass, site, slot, &self.marks));
            self.dirty.rolls.insert(service);
        } else if let Slot::Node(_) = slot
            && !site.mode().is_job()
        {
            // A node that takes tasks again may have one that missed an update.
            let class = classify(pass, site, slot, &self.marks);
            if matches!(class, Some(Class::Outdated { .. })) {
                pass.whole.insert(service);
            }
        }
    }

    fn look_at_service(&mut self, pass: &mut Pass, id: ServiceId) {
        self.rolls.remove(&id);
        self.tallies.remove(&id);
        let Some(service) = pass.tables().services.get(id).cloned() else {
            self.globals.remove(&id);
            return;
        };
        let mut site = Site::new(service);
        match site.mode().is_global() && !site.service.removed {
            true => self.globals.insert(id),
            false => self.globals.remove(&id),
        };
        if site.service.removed {
            return remove(pass, &mut site);
        }
        allocate::ports(pass, &mut site);
        self.addresses.virtual_ips(pass, &mut site);
        match site.mode() {
            ServiceMode::Replicated { replicas } => {
                replicated::look(pass, &mut site, replicas);
                self.build_roll(pass, &mut site);
            }
            ServiceMode::Global => {
                global::look(pass, &mut site);
                self.build_roll(pass, &mut site);
            }
            ServiceMode::GlobalJob => global::look(pass, &mut site),
            ServiceMode::ReplicatedJob { .. } => {
                let tally = jobs::look(pass, &mut site);
                self.tallies.insert(id, tally);
                self.dirty.rolls.insert(id);
            }
        }
        site.refresh(&pass.draft);
        reap::specs(pass, &mut site);
    }

    /// Follows the slots of a service where there is anything to follow.
    fn build_roll(&mut self, pass: &mut Pass, site: &mut Site) {
        site.refresh(&pass.draft);
        let id = site.service.id;
        self.choose_crowded(pass, site);
        let follows = site.is_updating() || self.spreading.contains_key(&id);
        if !follows && !roll::is_suspect(pass, site, &self.marks) {
            return;
        }
        let slots = match site.mode() {
            ServiceMode::Global | ServiceMode::GlobalJob => global::slots(pass, site),
            ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. } => {
                pass.tables().tasks_of_service(id).map(|task| task.slot).collect()
            }
        };
        let mut roll = Roll::default();
        let wakes = std::mem::take(&mut pass.wakes);
        for slot in slots {
            let class = classify(pass, site, slot, &self.marks);
            roll.put(slot, class);
        }
        let replaces = !roll.outdated.is_empty() || !roll.misplaced.is_empty() || !roll.replacing.is_empty();
        if replaces || follows {
            pass.wakes.extend(wakes);
            self.rolls.insert(id, roll);
            self.dirty.rolls.insert(id);
        } else {
            pass.wakes = wakes; // what nobody follows need not be looked at again
        }
    }

    /// Begins what `service rebalance` asks for, or a node that came back; once the update under way is done.
    fn choose_crowded(&mut self, pass: &mut Pass, site: &Site) {
        let (id, request) = (site.service.id, site.service.rebalance);
        let asked = request != site.service.rebalanced && self.spreading.get(&id) != Some(&request);
        if !matches!(site.mode(), ServiceMode::Replicated { .. }) || site.is_updating() {
            return;
        }
        if asked || self.spread_soon.remove(&id) {
            self.sync_touched(pass);
            self.marks.crowded.extend(rebalance::crowded(pass, site, &self.board));
            self.spreading.insert(id, request);
        }
    }

    /// Goes on with the update, the moves or the job of one service.
    fn advance(&mut self, pass: &mut Pass, id: ServiceId) {
        let Some(service) = pass.tables().services.get(id).cloned() else { return };
        let mut site = Site::new(service);
        if let Some(mut tally) = self.tallies.remove(&id) {
            if let ServiceMode::ReplicatedJob { concurrent_max, completions } = site.mode() {
                jobs::begin_next(pass, &site, &mut tally, concurrent_max, completions);
            }
            self.tallies.insert(id, tally);
        }
        let Some(mut roll) = self.rolls.remove(&id) else { return };
        update::advance(pass, &mut site, &mut roll, &self.marks);
        if roll.is_calm()
            && let Some(request) = self.spreading.remove(&id)
        {
            pass.draft.edit_service(id, |service| service.rebalanced = request);
            site.refresh(&pass.draft);
        }
        if site.is_updating() || !roll.is_calm() || self.spreading.contains_key(&id) {
            self.rolls.insert(id, roll);
        }
    }

    fn give_addresses(&mut self, pass: &mut Pass) {
        for task in self.addresses.give(pass) {
            self.waits_in_vain(pass, task);
        }
    }

    /// A slot that waits for a node or an address is no reason for the others of its service to wait.
    fn waits_in_vain(&mut self, pass: &Pass, task: TaskId) {
        let Some(task) = pass.tables().tasks.get(task) else { return };
        if self.rolls.contains_key(&task.service) {
            self.dirty.slots.insert((task.service, task.slot));
        }
    }

    fn place(&mut self, pass: &mut Pass) {
        self.sync_touched(pass);
        let placed = place::place(pass.tables(), &mut self.board, pass.now);
        let now = pass.now;
        for assigned in placed.assigned {
            pass.draft.edit_task(assigned.task, |task| {
                task.node = Some(assigned.node);
                task.granted = assigned.granted;
                task.status.state = TaskState::Assigned;
                task.status.message = Box::default();
                task.status.error = Box::default();
                task.status.at = now;
                task.status.applied_at = now;
            });
        }
        for (task, reason) in placed.waiting {
            pass.draft.edit_task(task, |task| task.status.error = reason);
            self.waits_in_vain(pass, task);
        }
        // The board has counted what it placed.
        pass.draft.take_unseen();
    }

    /// Brings the board to what the draft says.
    fn sync_touched(&mut self, pass: &mut Pass) {
        for task in pass.draft.take_unseen() {
            self.board.sync_task(pass.tables(), task);
        }
    }

    fn sync_board(&mut self, tables: &Tables) {
        let dirty = std::mem::take(&mut self.dirty.board);
        if dirty.anew {
            self.board = Board::new(tables);
            return;
        }
        dirty.services.into_iter().for_each(|service| self.board.sync_service(tables, service));
        dirty.nodes.into_iter().for_each(|node| self.board.sync_node(tables, node));
        dirty.tasks.into_iter().for_each(|task| self.board.sync_task(tables, task));
    }

    fn noted_node(&mut self, before: Option<&Node>, after: Option<&Node>) {
        let Some(node) = after.or(before) else { return };
        let facts = |node: &Node| {
            let status = (node.status.state, node.status.addr.clone());
            (node.spec.clone(), node.role, node.description.clone(), status)
        };
        if before.map(facts) == after.map(facts) {
            return;
        }
        let state = |node: Option<&Node>| node.map(|node| node.status.state);
        if state(before) == Some(NodeState::Down) && state(after) == Some(NodeState::Ready) {
            self.dirty.returned.insert(node.id);
        }
        self.dirty.nodes.insert(node.id);
        self.dirty.board.nodes.insert(node.id);
    }

    fn noted_service(&mut self, before: Option<&Service>, after: Option<&Service>) {
        self.addresses.noted_service(before, after);
        let Some(service) = after.or(before) else { return };
        let id = service.id;
        let asks = |service: &Service| {
            let update = service.update.as_ref().map(|update| update.state);
            (service.current.number, service.removed, service.rebalance, service.job, update)
        };
        let same_spec = match (before, after) {
            (Some(before), Some(after)) => before.spec() == after.spec(),
            (None, _) | (_, None) => false,
        };
        if before.map(asks) != after.map(asks) || !same_spec {
            self.dirty.services.insert(id);
            self.dirty.board.services.insert(id);
        }
        if after.is_none() {
            self.rolls.remove(&id);
            self.tallies.remove(&id);
            self.spreading.remove(&id);
            self.spread_soon.remove(&id);
        }
    }

    fn noted_task(&mut self, before: Option<&Task>, after: Option<&Task>) {
        self.addresses.noted_task(before, after);
        let Some(task) = after.or(before) else { return };
        if after.is_none_or(|task| !task.is_wanted()) {
            self.marks.forget(task.id);
        }
        if let Some(after) = after {
            self.reports.written(after);
        }
        // What placing counts with.
        let weight = |task: &Task| {
            let state = task.status.state;
            let stage = (state >= TaskState::Assigned, state.is_final().then_some(state));
            (task.node, task.spec, task.desired, stage)
        };
        if before.map(weight) != after.map(weight) {
            self.dirty.board.tasks.insert(task.id);
        }
        let (Some(before), Some(after)) = (before, after) else { return };
        let ended = after.status.state.is_final() && !before.status.state.is_final();
        let moved = (before.status.state, before.status.ready) != (after.status.state, after.status.ready);
        let followed = self.rolls.contains_key(&after.service) || self.tallies.contains_key(&after.service);
        if ended || (moved && followed) {
            self.dirty.slots.insert((after.service, after.slot));
        }
    }
}

/// All tasks of a removed service go, and it goes with the last of them.
fn remove(pass: &mut Pass, site: &mut Site) {
    let slots: BTreeSet<Slot> =
        pass.tables().tasks_of_service(site.service.id).map(|task: &Arc<Task>| task.slot).collect();
    slots.into_iter().for_each(|slot| slot::look(pass, site, slot));
    reap::service(pass, site);
}

fn id_of<T: Object>(write: &Write<T>) -> T::Id {
    match write {
        Write::Create(value) | Write::Update { value, .. } => value.id(),
        Write::Remove { id, .. } => *id,
    }
}
