//! Spreading over labels: a tree of the nodes, with a level for each preference.
//!
//! At every level a task goes to the branch with the fewest tasks of its service, of equal ones to the first by value;
//! within the last branch to the best node. Never a reason to refuse: a branch without room is passed over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::index::{Index, View};
use super::needs::SpreadKey;
use super::nodes::NodeIndex;
use super::rank::Tournament;

/// The tree for one service, for as long as one pass places its tasks.
#[derive(Debug)]
pub struct SpreadTree {
    branches: Vec<Branch>,
    root: usize,
    /// By position: its leaf, and its place there.
    homes: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Branch {
    /// Those that had room when last seen, by tasks of the service and then in order of value.
    Split(BinaryHeap<Reverse<(u64, usize)>>),
    /// Positions, and which is best.
    Leaf(Vec<usize>, Tournament),
}

impl SpreadTree {
    /// Every node counts to its branch, also one that takes no tasks: what runs there runs.
    pub fn new(view: &View<'_>, index: &Index) -> Self {
        let positions: Vec<usize> = (0..view.nodes.order().len()).collect();
        let mut tree = Self { branches: Vec::new(), root: 0, homes: vec![(0, 0); positions.len()] };
        (tree.root, _) = tree.grow(view, index, &view.needs.spread_over, positions);
        tree
    }

    /// Adds a branch of these nodes; answers its number, and its tasks of the service.
    fn grow(
        &mut self,
        view: &View<'_>,
        index: &Index,
        keys: &[SpreadKey],
        positions: Vec<usize>,
    ) -> (usize, u64) {
        let node_at = |position: usize| view.nodes.order()[position];
        let Some((key, keys)) = keys.split_first() else {
            let branch = self.branches.len();
            for (place, position) in positions.iter().enumerate() {
                self.homes[*position] = (branch, place);
            }
            let count = |node: NodeIndex| view.counts.and_then(|counts| counts.get(&node)).copied();
            let tasks =
                positions.iter().filter_map(|position| count(node_at(*position))).map(u64::from).sum();
            let ranks = Tournament::new(positions.iter().map(|position| index.rank(*position)));
            self.branches.push(Branch::Leaf(positions, ranks));
            return (branch, tasks);
        };
        let mut by_value: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for position in positions {
            let entry = view.nodes.entry(node_at(position));
            let value = entry.node.as_ref().map_or("", |node| key.value(node));
            by_value.entry(value).or_default().push(position);
        }
        let mut children = BinaryHeap::with_capacity(by_value.len());
        let mut sum = 0;
        for positions in by_value.into_values() {
            let (branch, tasks) = self.grow(view, index, keys, positions);
            children.push(Reverse((tasks, branch)));
            sum += tasks;
        }
        self.branches.push(Branch::Split(children));
        (self.branches.len() - 1, sum)
    }

    /// The position of the node that is to get the next task, which is counted on the way.
    pub fn choose(&mut self) -> Option<usize> {
        self.choose_in(self.root)
    }

    fn choose_in(&mut self, branch: usize) -> Option<usize> {
        loop {
            let next = match self.branches.get_mut(branch)? {
                Branch::Leaf(positions, ranks) => return ranks.best().map(|place| positions[place]),
                Branch::Split(children) => children.pop()?,
            };
            let Reverse((tasks, child)) = next;
            // A branch without room gets none in this pass, and stays out of the heap.
            let Some(position) = self.choose_in(child) else { continue };
            if let Branch::Split(children) = &mut self.branches[branch] {
                children.push(Reverse((tasks + 1, child)));
            }
            return Some(position);
        }
    }

    /// Takes over how good a node is now.
    pub fn update(&mut self, index: &Index, position: usize) {
        let (branch, place) = self.homes[position];
        if let Branch::Leaf(_, ranks) = &mut self.branches[branch] {
            ranks.set(place, index.rank(position));
        }
    }
}
