//! A network of the cluster: who may talk to whom, and the addresses they have there.
//!
//! Its driver is called `overlay` because that is what everybody asks for; nothing is laid over anything. Subnets are
//! given out with the object, for good: what is reached by an address must not come to mean something else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::cidr::Cidr;
use super::{Meta, NetworkId};

/// The one driver of the cluster's networks.
pub const DRIVER: &str = "overlay";
/// The name of the network that published ports belong to.
pub const INGRESS: &str = "ingress";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub meta: Meta,
    pub spec: NetworkSpec,
    /// As given out; no two of the cluster's networks overlap.
    pub subnets: Vec<Subnet>,
}

impl Network {
    pub fn new(id: NetworkId, spec: NetworkSpec, subnets: Vec<Subnet>) -> Self {
        Self { id, meta: Meta::default(), spec, subnets }
    }
}

/// What people ask for. Nothing of it ever changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// As given: kept and shown.
    pub driver_options: BTreeMap<String, String>,
    /// Whether containers that are no tasks may join.
    pub attachable: bool,
    /// Whether its tasks are kept from the world outside.
    pub internal: bool,
    /// The network of published ports; one at most.
    pub ingress: bool,
    pub ipv4: bool,
    pub ipv6: bool,
    /// The subnets asked for; those of a family that is wanted and not here come from the cluster's pools.
    pub subnets: Vec<WantedSubnet>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            labels: BTreeMap::new(),
            driver_options: BTreeMap::new(),
            attachable: false,
            internal: false,
            ingress: false,
            ipv4: true,
            ipv6: false,
            subnets: Vec::new(),
        }
    }
}

impl NetworkSpec {
    /// The network that every cluster begins with.
    pub fn ingress() -> Self {
        Self { name: INGRESS.into(), ingress: true, ..Self::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedSubnet {
    pub subnet: Cidr,
    /// Where in it tasks and services get their addresses; none means all of it.
    pub range: Option<Cidr>,
    pub gateway: Option<IpAddr>,
    /// Addresses that nobody is to get, by what they are for.
    pub reserved: BTreeMap<String, IpAddr>,
}

/// A subnet as given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub subnet: Cidr,
    pub range: Option<Cidr>,
    pub gateway: IpAddr,
    pub reserved: BTreeMap<String, IpAddr>,
}
