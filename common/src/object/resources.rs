//! Amounts: what a task may use, what is kept free for it, what a node has beside processor and memory.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What a task may use, and what is kept for it. Zero means: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    pub limits: Limits,
    pub reservations: Reservations,
    pub swap_bytes: Option<i64>,
    pub memory_swappiness: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    pub pids: i64,
}

/// What placing counts with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservations {
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    /// Amounts of further resources, by kind.
    pub generic: BTreeMap<String, u64>,
}

impl Reservations {
    pub fn is_empty(&self) -> bool {
        self.nano_cpus == 0 && self.memory_bytes == 0 && self.generic.values().all(|amount| *amount == 0)
    }
}

/// What a node has of one kind of further resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GenericStock {
    Count(u64),
    /// Each by its own name: two GPUs, say.
    Named(BTreeSet<String>),
}

impl GenericStock {
    pub fn amount(&self) -> u64 {
        match self {
            GenericStock::Count(amount) => *amount,
            GenericStock::Named(names) => names.len() as u64,
        }
    }
}

/// What a task was given of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenericGrant {
    pub kind: String,
    pub stock: GenericStock,
}
