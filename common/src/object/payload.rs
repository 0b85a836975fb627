//! Secrets and configs: bytes that tasks are given as files.
//!
//! Both are payloads, and live the same life; a secret's bytes are shown to nobody but the tasks that use it.
//! A payload has versions under one name: a reference in a service's spec names the version its tasks get, so a new
//! version reaches them by an update of the service, and goes back by a rollback.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::container::Driver;
use super::sensitive::SensitiveBytes;
use super::words::words;
use super::{Meta, PayloadId, TaskId};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    pub id: PayloadId,
    pub meta: Meta,
    pub kind: PayloadKind,
    pub spec: PayloadSpec,
    /// Oldest first, never none; the last one is what new references get.
    pub versions: Vec<PayloadVersion>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PayloadKind {
    #[default]
    Secret,
    Config,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Of secrets: who has the value instead of the store.
    pub driver: Option<Driver>,
    /// How the bytes are filled in for each task; only `golang` is known.
    pub templating: Option<Driver>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadVersion {
    /// From 1 on; never given twice.
    pub number: u64,
    pub created_at: Timestamp,
    /// Empty where a driver has the value.
    pub data: SensitiveBytes,
}

impl Payload {
    pub fn new(
        id: PayloadId,
        kind: PayloadKind,
        spec: PayloadSpec,
        data: SensitiveBytes,
        now: Timestamp,
    ) -> Self {
        let first = PayloadVersion { number: 1, created_at: now, data };
        Self { id, meta: Meta::default(), kind, spec, versions: vec![first] }
    }

    /// What a new reference gets.
    pub fn newest(&self) -> &PayloadVersion {
        self.versions.last().expect("a payload has at least one version")
    }

    pub fn version(&self, number: u64) -> Option<&PayloadVersion> {
        self.versions.iter().find(|version| version.number == number)
    }
}

impl PayloadId {
    /// Under which a node has the value that is one task's alone: what a driver gave for it. As random as both are.
    pub fn of_task(self, task: TaskId) -> Self {
        Self(self.0.rotate_left(64) ^ task.0)
    }
}

words!(PayloadKind, "kind of payload", "secret or config", Secret = "secret", Config = "config");
