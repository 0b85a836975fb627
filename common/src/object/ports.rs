//! Published ports.

use serde::{Deserialize, Serialize};

use super::words::words;

/// How a service is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// None means a virtual address.
    pub mode: Option<EndpointMode>,
    pub ports: Vec<Port>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndpointMode {
    #[default]
    Vip,
    Dnsrr,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub protocol: Protocol,
    /// Where the task listens.
    pub target: u16,
    /// Where people connect; 0 means: find a free one.
    pub published: u16,
    pub mode: PublishMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PublishMode {
    /// On every node, carried by the mesh.
    #[default]
    Ingress,
    /// On the task's own node alone.
    Host,
}

words!(EndpointMode, "endpoint mode", "vip or dnsrr", Vip = "vip", Dnsrr = "dnsrr");
words!(Protocol, "protocol", "tcp, udp or sctp", Tcp = "tcp", Udp = "udp", Sctp = "sctp");
words!(PublishMode, "publish mode", "ingress or host", Ingress = "ingress", Host = "host");

/// The label of a service that asks for PROXY protocol, for all its ports, or with `.<target>` for one.
pub const PROXY_PROTOCOL_LABEL: &str = "swarm.proxy-protocol";

/// How tasks are told whose connection they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProxyProtocol {
    V1,
    V2,
}

words!(ProxyProtocol, "version of PROXY protocol", "v1 or v2", V1 = "v1", V2 = "v2");
