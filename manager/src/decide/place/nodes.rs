//! What every node has left, and which nodes changed since somebody last looked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use common::limits::PLACING_TOUCHES_MAX;
use common::object::resources::{GenericGrant, GenericStock};
use common::object::{Node, NodeId, TaskId};

use super::ids::ById;
use super::needs::{HostPort, Needs};

/// A node's number on the board, for as long as it is there or has tasks. Never shown, and never compared.
pub type NodeIndex = u32;

#[derive(Clone, Debug)]
pub struct NodeEntry {
    pub id: NodeId,
    /// None while tasks are on a node that is not, or no longer, in the tables.
    pub node: Option<Arc<Node>>,
    /// Where it stands among the nodes in the tables, in order of id.
    pub position: usize,
    nano_cpus: i64,
    memory_bytes: i64,
    pub load: Load,
    /// Tasks made for this node and not yet assigned.
    pub pinned: BTreeSet<TaskId>,
}

/// What the tasks on a node take of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks that hold something here, and those of them that are wanted.
    held: u32,
    pub tasks: u32,
    /// Sums of what users wrote: wide enough for any number of any amounts.
    nano_cpus: i128,
    memory_bytes: i128,
    ports: BTreeMap<HostPort, u32>,
    generic: BTreeMap<Box<str>, GenericUse>,
}

/// What is claimed of one kind: a count, and names; each with how many tasks claim it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GenericUse {
    count: u64,
    names: BTreeMap<Box<str>, u32>,
}

impl NodeEntry {
    fn new(id: NodeId) -> Self {
        Self {
            id,
            node: None,
            position: 0,
            nano_cpus: 0,
            memory_bytes: 0,
            load: Load::default(),
            pinned: BTreeSet::new(),
        }
    }

    /// A node without any task.
    pub fn of(node: &Node) -> Self {
        let mut entry = Self::new(node.id);
        entry.set(Some(&Arc::new(node.clone())));
        entry
    }

    fn set(&mut self, node: Option<&Arc<Node>>) {
        let resources = node.and_then(|node| node.description.as_ref()).map(|described| &described.resources);
        (self.nano_cpus, self.memory_bytes) =
            resources.map_or((0, 0), |resources| (resources.nano_cpus, resources.memory_bytes));
        self.node = node.cloned();
    }

    pub fn has_room(&self, needs: &Needs) -> bool {
        (needs.nano_cpus == 0 || i128::from(needs.nano_cpus) <= self.free_nano_cpus())
            && (needs.memory_bytes == 0 || i128::from(needs.memory_bytes) <= self.free_memory_bytes())
            && needs.generic.iter().all(|(kind, amount)| *amount <= self.free_generic(kind))
    }

    /// What is asked for and not there, with what is.
    pub fn shortage(&self, needs: &Needs) -> String {
        let amount =
            |what: &str, asked: i128, free: i128| format!("{what}: {asked} asked, {} free", free.max(0));
        let mut short = Vec::new();
        if i128::from(needs.nano_cpus) > self.free_nano_cpus() && needs.nano_cpus > 0 {
            short.push(amount("billionths of a CPU", needs.nano_cpus.into(), self.free_nano_cpus()));
        }
        if i128::from(needs.memory_bytes) > self.free_memory_bytes() && needs.memory_bytes > 0 {
            short.push(amount("bytes of memory", needs.memory_bytes.into(), self.free_memory_bytes()));
        }
        let generic = needs.generic.iter().map(|(kind, asked)| (kind, *asked, self.free_generic(kind)));
        let lacking = generic.filter(|(_, asked, free)| asked > free);
        short.extend(lacking.map(|(kind, asked, free)| amount(kind, asked.into(), free.into())));
        short.join(", ")
    }

    /// What a task with these needs is given of the node's generic resources: the first names that are free.
    pub fn grants(&self, needs: &Needs) -> Option<Box<[GenericGrant]>> {
        let grants = needs.generic.iter().filter_map(|(kind, amount)| {
            let stock = match self.stock(kind)? {
                GenericStock::Count(_) => GenericStock::Count(*amount),
                GenericStock::Named(names) => {
                    let used = self.load.generic.get(kind);
                    let is_free =
                        |name: &&String| !used.is_some_and(|used| used.names.contains_key(name.as_str()));
                    let wanted = usize::try_from(*amount).unwrap_or(usize::MAX);
                    GenericStock::Named(names.iter().filter(is_free).take(wanted).cloned().collect())
                }
            };
            Some(GenericGrant { kind: kind.as_ref().into(), stock })
        });
        let grants: Box<[GenericGrant]> = grants.collect();
        (!grants.is_empty()).then_some(grants)
    }

    /// The first kind of which the node no longer has what a task was given.
    pub fn missing(&self, granted: &[GenericGrant]) -> Option<String> {
        let is_there = |grant: &&GenericGrant| match (&grant.stock, self.stock(&grant.kind)) {
            (GenericStock::Named(names), Some(GenericStock::Named(there))) => names.is_subset(there),
            (GenericStock::Count(_) | GenericStock::Named(_), Some(_)) => {
                grant.stock.amount() <= self.free_generic(&grant.kind)
            }
            (GenericStock::Count(_) | GenericStock::Named(_), None) => false,
        };
        let lost = granted.iter().find(|grant| !is_there(grant))?;
        Some(format!("{} is no longer there as it was given", lost.kind))
    }

    fn free_nano_cpus(&self) -> i128 {
        i128::from(self.nano_cpus) - self.load.nano_cpus
    }

    fn free_memory_bytes(&self) -> i128 {
        i128::from(self.memory_bytes) - self.load.memory_bytes
    }

    /// A node may come to name what it only counted before: claims of either sort take from both.
    fn free_generic(&self, kind: &str) -> u64 {
        let Some(stock) = self.stock(kind) else { return 0 };
        let Some(used) = self.load.generic.get(kind) else { return stock.amount() };
        match stock {
            GenericStock::Count(amount) => {
                amount.saturating_sub(used.count).saturating_sub(used.names.len() as u64)
            }
            GenericStock::Named(names) => {
                let free = names.iter().filter(|name| !used.names.contains_key(name.as_str())).count();
                (free as u64).saturating_sub(used.count)
            }
        }
    }

    fn stock(&self, kind: &str) -> Option<&GenericStock> {
        self.node.as_ref()?.description.as_ref()?.resources.generic.get(kind)
    }

    /// Whether the board may forget it.
    fn is_idle(&self) -> bool {
        self.node.is_none() && self.load.held == 0 && self.pinned.is_empty()
    }
}

impl Load {
    pub fn add(&mut self, needs: Option<&Needs>, grants: &[GenericGrant], wanted: bool) {
        self.held += 1;
        self.tasks += u32::from(wanted);
        if let Some(needs) = needs {
            self.nano_cpus += i128::from(needs.nano_cpus);
            self.memory_bytes += i128::from(needs.memory_bytes);
            needs.host_ports.iter().for_each(|port| *self.ports.entry(*port).or_default() += 1);
        }
        for grant in grants {
            let used = self.generic.entry(grant.kind.as_str().into()).or_default();
            match &grant.stock {
                GenericStock::Count(amount) => used.count = used.count.saturating_add(*amount),
                GenericStock::Named(names) => {
                    names.iter().for_each(|name| *used.names.entry(name.as_str().into()).or_default() += 1);
                }
            }
        }
    }

    /// Takes back what `add` added.
    pub fn remove(&mut self, needs: Option<&Needs>, grants: &[GenericGrant], wanted: bool) {
        self.held -= 1;
        self.tasks -= u32::from(wanted);
        if let Some(needs) = needs {
            self.nano_cpus -= i128::from(needs.nano_cpus);
            self.memory_bytes -= i128::from(needs.memory_bytes);
            needs.host_ports.iter().for_each(|port| take_one(&mut self.ports, port));
        }
        for grant in grants {
            let Some(used) = self.generic.get_mut(grant.kind.as_str()) else { continue };
            match &grant.stock {
                GenericStock::Count(amount) => used.count = used.count.saturating_sub(*amount),
                GenericStock::Named(names) => {
                    names.iter().for_each(|name| take_one(&mut used.names, name.as_str()));
                }
            }
            if *used == GenericUse::default() {
                self.generic.remove(grant.kind.as_str());
            }
        }
    }

    pub fn uses_port(&self, port: &HostPort) -> bool {
        self.ports.contains_key(port)
    }
}

/// One less of it; what none are left of is not kept.
pub fn take_one<K: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(counts: &mut BTreeMap<K, u32>, key: &Q) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A node of which something changed: its load, and with `facts` what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    pub node: NodeIndex,
    pub facts: bool,
}

/// A point in the list of touches, and in the life of the list of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub membership: u64,
    touch: u64,
}

/// All nodes of the board.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    entries: Vec<NodeEntry>,
    free: Vec<NodeIndex>,
    by_id: HashMap<NodeId, NodeIndex, ById>,
    /// Those in the tables, in order of id; as of `membership`, once `settle` was called.
    order: Vec<NodeIndex>,
    is_settled: bool,
    /// Grows when a node comes or goes, which moves positions.
    membership: u64,
    /// The newest ones; those before `first_touch` are forgotten.
    touches: Vec<Touch>,
    first_touch: u64,
}

impl Nodes {
    pub fn find(&self, id: NodeId) -> Option<(NodeIndex, &NodeEntry)> {
        self.by_id.get(&id).map(|index| (*index, &self.entries[*index as usize]))
    }

    pub fn number(&self, id: NodeId) -> Option<NodeIndex> {
        self.by_id.get(&id).copied()
    }

    pub fn entry(&self, index: NodeIndex) -> &NodeEntry {
        &self.entries[index as usize]
    }

    pub fn entry_mut(&mut self, index: NodeIndex) -> &mut NodeEntry {
        &mut self.entries[index as usize]
    }

    /// The node's number, and a new one where it has none.
    pub fn index_of(&mut self, id: NodeId) -> NodeIndex {
        if let Some(index) = self.by_id.get(&id) {
            return *index;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = NodeEntry::new(id);
                index
            }
            None => {
                self.entries.push(NodeEntry::new(id));
                (self.entries.len() - 1) as NodeIndex
            }
        };
        self.by_id.insert(id, index);
        index
    }

    /// Forgets the node where nothing is left to know of it.
    pub fn forget_if_idle(&mut self, index: NodeIndex) {
        let (id, is_idle) = (self.entry(index).id, self.entry(index).is_idle());
        if is_idle && self.by_id.remove(&id).is_some() {
            self.free.push(index);
        }
    }

    /// Replaces what a node is; false where nothing of it matters here.
    pub fn set(&mut self, index: NodeIndex, node: Option<&Arc<Node>>) -> bool {
        let entry = &mut self.entries[index as usize];
        let came_or_went = entry.node.is_some() != node.is_some();
        let is_same = match (&entry.node, node) {
            (None, None) => true,
            (Some(before), Some(after)) => Arc::ptr_eq(before, after) || is_same_to_tasks(before, after),
            (Some(_), None) | (None, Some(_)) => false,
        };
        entry.set(node);
        if is_same {
            return false;
        }
        if came_or_went {
            self.is_settled = false;
            self.membership += 1;
        }
        self.touch(Touch { node: index, facts: true });
        true
    }

    /// Puts the nodes in order again after some came or went.
    pub fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let present = |index: &NodeIndex| self.entries[*index as usize].node.is_some();
        let mut order: Vec<NodeIndex> = self.by_id.values().copied().filter(present).collect();
        order.sort_unstable_by_key(|index| self.entries[*index as usize].id);
        for (position, index) in order.iter().enumerate() {
            self.entries[*index as usize].position = position;
        }
        self.order = order;
    }

    /// The nodes in the tables, in order of id; as of the last `settle`.
    pub fn order(&self) -> &[NodeIndex] {
        &self.order
    }

    pub fn touch(&mut self, touch: Touch) {
        if self.touches.len() >= PLACING_TOUCHES_MAX {
            let forgotten = self.touches.len() / 2;
            self.touches.drain(..forgotten);
            self.first_touch += forgotten as u64;
        }
        self.touches.push(touch);
    }

    /// Now, for `touches_since`.
    pub fn seen(&self) -> Seen {
        Seen { membership: self.membership, touch: self.first_touch + self.touches.len() as u64 }
    }

    /// What changed since; none where that is no longer known, or nodes came or went.
    pub fn touches_since(&self, seen: Seen) -> Option<&[Touch]> {
        let from = seen.touch.checked_sub(self.first_touch)?;
        if seen.membership != self.membership {
            return None;
        }
        self.touches.get(usize::try_from(from).ok()?..)
    }
}

/// Whether two versions of a node are one to placing.
fn is_same_to_tasks(one: &Node, other: &Node) -> bool {
    one.spec == other.spec
        && one.status.state == other.status.state
        && one.status.addr == other.status.addr
        && one.description == other.description
}
