//! `/secrets` and `/configs`, which look alike, and what is ours of them under `/swarm/x/`.

use std::collections::BTreeMap;

use super::ObjectVersion;
use super::container::Driver;
use super::document::document;
use crate::object::sensitive::Sensitive;

document! {
    pub struct Payload {
        always:
        #[serde(rename = "ID")]
        pub id: String,
        pub version: ObjectVersion,
        pub created_at: String,
        pub updated_at: String,
        pub spec: PayloadSpec,

        when_set:
        /// Ours: number of the newest version of its data, which new references get.
        pub version_number: u64,
    }

    pub struct PayloadSpec {
        always:
        pub name: String,
        pub labels: BTreeMap<String, String>,

        when_set:
        /// Base64. Of secrets it comes in and never goes out.
        pub data: Option<Sensitive>,
        /// Of secrets only.
        pub driver: Option<Driver>,
        pub templating: Option<Driver>,
    }

    /// Ours, here and below: what `rotate` takes.
    pub struct RotateRequest {
        when_set:
        /// Base64.
        pub data: Option<Sensitive>,
    }

    pub struct Rotated {
        always:
        /// Number of the newest version.
        pub version: u64,
        /// Those that roll to it. Services that have it refreshed in place are not among them.
        pub services: Vec<RotatedService>,
    }

    pub struct RotatedService {
        always:
        #[serde(rename = "ID")]
        pub id: String,
        pub name: String,
    }

    /// One version in `history`.
    pub struct PayloadVersion {
        always:
        pub number: u64,
        pub created_at: String,
        pub newest: bool,
        pub bytes: u64,
        /// Names of those whose spec has it, or that have it refreshed to it.
        pub services: Vec<String>,
        /// Their tasks that have it.
        pub tasks: u64,
    }

    pub struct PayloadCreated {
        always:
        #[serde(rename = "ID")]
        pub id: String,
    }
}
