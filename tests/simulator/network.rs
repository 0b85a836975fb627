//! What becomes of a datagram: it arrives late, or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use common::random::{Random, SeededRandom};

/// The network between all nodes. Change it at any time.
pub struct Network {
    pub delay: Duration,
    /// Up to this much more, each datagram its own.
    pub jitter: Duration,
    /// Of a hundred datagrams, how many are lost.
    pub loss_percent: f64,
    /// Which side each node is on. Nothing crosses between sides.
    sides: Vec<u8>,
    /// Nodes to which nothing comes through, though what they send does.
    pub deaf: BTreeSet<usize>,
    /// Links of which nothing comes out: from the first node to the second.
    pub cut_links: BTreeSet<(usize, usize)>,
    random: SeededRandom,
    pub sent: u64,
    pub sent_bytes: u64,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self {
            delay: Duration::from_micros(200),
            jitter: Duration::from_micros(800),
            loss_percent: 0.0,
            sides: Vec::new(),
            deaf: BTreeSet::new(),
            cut_links: BTreeSet::new(),
            random: SeededRandom::new(seed, "network"),
            sent: 0,
            sent_bytes: 0,
        }
    }

    /// Puts these nodes on a side of their own.
    pub fn cut(&mut self, nodes: impl IntoIterator<Item = usize>) {
        let side = self.sides.iter().max().map_or(1, |side| side + 1);
        for node in nodes {
            if self.sides.len() <= node {
                self.sides.resize(node + 1, 0);
            }
            self.sides[node] = side;
        }
    }

    pub fn heal(&mut self) {
        self.sides.clear();
    }

    pub fn connects(&self, from: usize, to: usize) -> bool {
        let side = |node: usize| self.sides.get(node).copied().unwrap_or(0);
        side(from) == side(to) && !self.deaf.contains(&to) && !self.cut_links.contains(&(from, to))
    }

    /// How long this datagram takes; none when it is lost.
    pub fn carry(&mut self, from: usize, to: usize, bytes: usize) -> Option<Duration> {
        self.sent += 1;
        self.sent_bytes += bytes as u64;
        let lost = self.random.fraction() * 100.0 < self.loss_percent;
        let late = self.jitter.mul_f64(self.random.fraction());
        (!lost && self.connects(from, to)).then(|| self.delay + late)
    }
}
