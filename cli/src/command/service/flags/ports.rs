//! Published ports of a spec: what `--publish-add` and `--publish-rm` make of them, and how a service is reached.

use serde_json::Value;

use super::removals::PortRemoval;
use super::{put, put_text};
use crate::parse::members::{look, member};
use crate::parse::publish::Port;

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct EndpointFlags {
    /// How the service's name resolves: to one virtual address, or to those of its tasks [default: vip]
    #[arg(long, value_name = "MODE", value_parser = ["vip", "dnsrr"], ignore_case = true)]
    pub endpoint_mode: Option<String>,
}

impl EndpointFlags {
    pub fn apply(&self, spec: &mut Value) {
        if let Some(mode) = &self.endpoint_mode {
            put_text(member(spec, &["EndpointSpec"]), "Mode", Some(&mode.to_lowercase()));
        }
    }
}

/// What makes two published ports the same one.
fn key(port: &Value) -> (u64, String, String) {
    let word = |key: &str, default: &str| look(port, &[key]).as_str().unwrap_or(default).to_owned();
    let target = look(port, &["TargetPort"]).as_u64().unwrap_or_default();
    (target, word("Protocol", "tcp"), word("PublishMode", "ingress"))
}

/// Taken away first, then added: a target may have several published ports. Sorted, so that equal edits give equal
/// specs.
pub fn merge(endpoint: &mut Value, added: &[Port], removed: &[PortRemoval]) {
    let mut ports = match look(endpoint, &["Ports"]) {
        Value::Array(ports) => ports.clone(),
        _ => Vec::new(),
    };
    let is_edit = !ports.is_empty();
    ports.retain(|port| {
        let (target, protocol, mode) = key(port);
        let goes = |removal: &PortRemoval| {
            removal.ports.iter().any(|gone| {
                gone.target == target
                    && gone.protocol == protocol
                    && (!removal.mode_counts || gone.mode == mode)
            })
        };
        !removed.iter().any(goes)
    });
    let published = |port: &Value| look(port, &["PublishedPort"]).as_u64().unwrap_or_default();
    for port in added.iter().map(Port::to_json) {
        if !ports.iter().any(|other| (published(other), key(other)) == (published(&port), key(&port))) {
            ports.push(port);
        }
    }
    if is_edit {
        ports.sort_by_key(|port| (published(port), key(port)));
    }
    put(endpoint, "Ports", if ports.is_empty() { Value::Null } else { ports.into() });
}
