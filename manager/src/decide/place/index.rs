//! The nodes in order of preference, for one sort of task: which may take it, and which is the best of them.
//!
//! Kept for the next pass, and brought up to date by the nodes that changed since, so that placing one more task costs
//! the logarithm of the number of nodes. An index without a service serves all services with the same needs, as long
//! as they have no tasks on the nodes in question.

use std::collections::BTreeMap;

use common::limits::PLACING_INDEX_NODES_MAX;

use super::filter::{self, Filter};
use super::needs::Needs;
use super::nodes::{NodeIndex, Nodes, Seen};
use super::rank::{NodeRank, Tournament};

/// What an index is made from.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub nodes: &'a Nodes,
    pub needs: &'a Needs,
    /// Tasks per node of the service that is asked for; none for all services.
    pub counts: Option<&'a BTreeMap<NodeIndex, u32>>,
    /// Recent failures per node of the spec that is asked for.
    pub failures: Option<&'a BTreeMap<NodeIndex, usize>>,
}

#[derive(Clone, Debug)]
pub struct Index {
    /// By position: what the node fails by what it is, and what it fails in all.
    facts: Vec<Option<Filter>>,
    verdicts: Vec<Option<Filter>>,
    /// How many nodes fail each filter.
    failing: [u32; Filter::ALL.len()],
    ranks: Tournament,
    seen: Seen,
    /// When it was last used, in uses of any index.
    used: u64,
}

impl Index {
    pub fn new(view: &View<'_>) -> Self {
        let count = view.nodes.order().len();
        let mut index = Self {
            facts: Vec::with_capacity(count),
            verdicts: Vec::with_capacity(count),
            failing: Default::default(),
            ranks: Tournament::default(),
            seen: view.nodes.seen(),
            used: 0,
        };
        let ranks = view.nodes.order().iter().map(|node| {
            let entry = view.nodes.entry(*node);
            let facts = entry.node.as_ref().and_then(|node| filter::facts(view.needs, node));
            let (verdict, rank) = judge(view, *node, facts);
            index.facts.push(facts);
            index.verdicts.push(verdict);
            if let Some(filter) = verdict {
                index.failing[filter as usize] += 1;
            }
            rank
        });
        let ranks = Tournament::new(ranks);
        index.ranks = ranks;
        index
    }

    /// Takes in what changed since it was last up to date. Answers whether more may be possible, or other reasons hold,
    /// than before: loads that only grew do not count.
    pub fn refresh(&mut self, view: &View<'_>) -> bool {
        let Some(touches) = view.nodes.touches_since(self.seen) else {
            *self = Self { used: self.used, ..Self::new(view) };
            return true;
        };
        let mut opened = false;
        for touch in touches.iter().filter(|touch| touch.facts) {
            let entry = view.nodes.entry(touch.node);
            let Some(node) = &entry.node else { continue };
            self.facts[entry.position] = filter::facts(view.needs, node);
            opened = true;
        }
        let order = view.nodes.order();
        if touches.len() > order.len() {
            order.iter().for_each(|node| opened |= self.is_opened_by_update(view, *node));
        } else {
            touches.iter().for_each(|touch| opened |= self.is_opened_by_update(view, touch.node));
        }
        self.seen = view.nodes.seen();
        opened
    }

    fn is_opened_by_update(&mut self, view: &View<'_>, node: NodeIndex) -> bool {
        let entry = view.nodes.entry(node);
        if entry.node.is_none() {
            return false;
        }
        let was_closed = self.verdicts[entry.position].is_some();
        self.update(view, node);
        was_closed && self.verdicts[entry.position].is_none()
    }

    /// Looks at one node's load anew.
    pub fn update(&mut self, view: &View<'_>, node: NodeIndex) {
        let position = view.nodes.entry(node).position;
        let (verdict, rank) = judge(view, node, self.facts[position]);
        let before = std::mem::replace(&mut self.verdicts[position], verdict);
        if before != verdict {
            if let Some(filter) = before {
                self.failing[filter as usize] -= 1;
            }
            if let Some(filter) = verdict {
                self.failing[filter as usize] += 1;
            }
        }
        self.ranks.set(position, rank);
    }

    /// Says that every change of a node so far was an `update` here.
    pub fn is_up_to_date(&mut self, nodes: &Nodes) {
        self.seen = nodes.seen();
    }

    /// The position of the best node.
    pub fn best(&self) -> Option<usize> {
        self.ranks.best()
    }

    pub fn rank(&self, position: usize) -> Option<NodeRank> {
        self.ranks.rank(position)
    }

    /// Leaves a node out until its next `update`.
    pub fn hide(&mut self, position: usize) {
        self.ranks.set(position, None);
    }

    /// How many nodes may take the task.
    pub fn passing(&self) -> usize {
        let failing: u32 = self.failing.iter().sum();
        self.verdicts.len() - failing as usize
    }

    /// How many nodes fail which filter.
    pub fn failing(&self) -> impl Iterator<Item = (Filter, u32)> {
        Filter::ALL.into_iter().map(|filter| (filter, self.failing[filter as usize]))
    }
}

fn judge(view: &View<'_>, node: NodeIndex, facts: Option<Filter>) -> (Option<Filter>, Option<NodeRank>) {
    let entry = view.nodes.entry(node);
    let tasks_of_service = view.counts.and_then(|counts| counts.get(&node)).copied().unwrap_or_default();
    let verdict = filter::verdict(view.needs, facts, entry, tasks_of_service);
    let rank = verdict.is_none().then(|| {
        let failures = view.failures.and_then(|failures| failures.get(&node)).copied().unwrap_or_default();
        NodeRank::new(failures, tasks_of_service, entry.load.tasks)
    });
    (verdict, rank)
}

/// Which needs, and which service or all.
pub type IndexKey = (u32, Option<u32>);

/// The indexes that were used last.
#[derive(Clone, Debug, Default)]
pub struct Indexes {
    kept: BTreeMap<IndexKey, Index>,
    nodes: usize,
    uses: u64,
}

impl Indexes {
    /// Takes an index out, or makes it, and brings it up to date. It is to be put back.
    pub fn take(&mut self, key: IndexKey, view: &View<'_>) -> (Index, bool) {
        match self.kept.remove(&key) {
            Some(mut index) => {
                self.nodes -= index.verdicts.len();
                let opened = index.refresh(view);
                (index, opened)
            }
            None => (Index::new(view), true),
        }
    }

    pub fn put(&mut self, key: IndexKey, mut index: Index) {
        self.uses += 1;
        index.used = self.uses;
        self.nodes += index.verdicts.len();
        self.kept.insert(key, index);
        if self.nodes > PLACING_INDEX_NODES_MAX {
            self.drop_half();
        }
    }

    /// For needs or a service that are no more.
    pub fn forget(&mut self, needs: u32, service: Option<u32>) {
        self.nodes -= self.kept.remove(&(needs, service)).map_or(0, |index| index.verdicts.len());
    }

    /// All but the half that was used last: dropping many at once makes finding them cheap.
    fn drop_half(&mut self) {
        let mut uses: Vec<u64> = self.kept.values().map(|index| index.used).collect();
        uses.sort_unstable();
        let kept_from = uses.get(uses.len() / 2).copied().unwrap_or_default();
        // An index alone is kept, however large.
        self.kept.retain(|_, index| index.used >= kept_from);
        self.nodes = self.kept.values().map(|index| index.verdicts.len()).sum();
    }
}
