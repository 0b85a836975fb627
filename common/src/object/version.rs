//! Versions: where in the raft log an object was last written.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A position in the raft log. Global and growing, so a later write always has a higher version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the store keeps about every object beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The proposal that wrote this version: a proposal that arrives again is recognised by it
    /// and answered as before instead of being applied twice.
    pub written_by: u64,
}
