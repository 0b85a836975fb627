//! Lists of a spec: what is taken away, and what is added to the rest.
//!
//! Something that is added takes the place of what has the same key: name, target, kind. Taking away what is not
//! there is no error, except where Docker says so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::lists::Items;
use super::removals::Removals;
use super::{ports, put, refused};
use crate::parse::environment;
use crate::parse::members::{look, member};
use crate::parse::secret_reference::Reference;

/// A reference whose id was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub reference: Reference,
    pub id: String,
}

/// What had to be asked before the lists could be edited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub secrets: Vec<Found>,
    pub configs: Vec<Found>,
    /// Ids of `Items::networks`, in their order.
    pub networks: Vec<String>,
    /// Ids of `Removals::networks`.
    pub networks_removed: Vec<String>,
    /// Id of the config that a credential spec names.
    pub credential_config: Option<Found>,
}

pub fn apply(
    spec: &mut Value,
    items: &Items,
    removals: &Removals,
    resolved: &Resolved,
) -> anyhow::Result<()> {
    map(spec, &["Labels"], &items.labels, &removals.labels);
    networks(spec, items, removals, resolved)?;
    let added: Vec<_> = items.ports.iter().flat_map(|ports| ports.0.iter().cloned()).collect();
    if !added.is_empty() || !removals.ports.is_empty() {
        ports::merge(member(spec, &["EndpointSpec"]), &added, &removals.ports);
    }
    placement(spec, items, removals)?;

    let container = member(spec, &["TaskTemplate", "ContainerSpec"]);
    map(container, &["Labels"], &items.container_labels, &removals.container_labels);
    map(container, &["Sysctls"], &items.sysctls, &removals.sysctls);
    variables(container, items, removals);
    let mounts: Vec<Value> = items.mounts.clone();
    let duplicate =
        |(at, mount): (usize, &Value)| mounts[..at].iter().any(|other| other["Target"] == mount["Target"]);
    if mounts.iter().enumerate().any(duplicate) {
        return Err(refused("duplicate mount target"));
    }
    keyed(container, "Mounts", "Target", &mounts, &removals.mounts);
    let ulimits: Vec<Value> = items.ulimits.iter().map(crate::parse::ulimit::Ulimit::to_json).collect();
    keyed(container, "Ulimits", "Name", &ulimits, &removals.ulimits);
    let devices: Vec<Value> = items.devices.iter().map(crate::parse::device::Device::to_json).collect();
    keyed(container, "Devices", "PathInContainer", &devices, &removals.devices);
    keyed(container, "Devices", "PathOnHost", &[], &removals.devices);
    texts(container, "Groups", &items.groups, &removals.groups);
    texts(container, "SecurityOpt", &items.security_options, &removals.security_options);
    let dns_removed: Vec<String> = removals.dns.iter().map(ToString::to_string).collect();
    texts(container, "DNSConfig.Nameservers", &items.dns, &dns_removed);
    texts(container, "DNSConfig.Search", &items.dns_search, &removals.dns_search);
    texts(container, "DNSConfig.Options", &items.dns_options, &removals.dns_options);
    hosts(container, &items.hosts, &removals.hosts);
    files(container, "Secrets", "Secret", &resolved.secrets, &removals.secrets);
    files(container, "Configs", "Config", &resolved.configs, &removals.configs);
    credential_config(container, resolved.credential_config.as_ref());
    Ok(())
}

fn array(object: &Value, path: &[&str]) -> Vec<Value> {
    look(object, path).as_array().cloned().unwrap_or_default()
}

/// Null for an empty list, which `put` takes as: no such member.
fn list(values: Vec<Value>) -> Value {
    if values.is_empty() { Value::Null } else { values.into() }
}

fn map(object: &mut Value, path: &[&str], added: &[(String, String)], removed: &[String]) {
    if added.is_empty() && removed.is_empty() {
        return;
    }
    let map = member(object, path);
    for key in removed {
        // As for those that are added, only what stands before `=` names it.
        put(map, key.split_once('=').map_or(key.as_str(), |(key, _)| key), Value::Null);
    }
    for (key, value) in added {
        put(map, key, value.as_str().into());
    }
}

fn variables(container: &mut Value, items: &Items, removals: &Removals) {
    if items.env.is_empty() && removals.env.is_empty() {
        return;
    }
    let mut variables: Vec<String> =
        array(container, &["Env"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    variables.retain(|variable| !removals.env.iter().any(|name| name == environment::name(variable)));
    for added in environment::merge(items.env.iter().cloned()) {
        let same = |variable: &&mut String| environment::name(variable) == environment::name(&added);
        match variables.iter_mut().find(same) {
            Some(variable) => *variable = added,
            None => variables.push(added),
        }
    }
    put(container, "Env", list(variables.into_iter().map(Value::from).collect()));
}

/// Objects that differ in one member.
fn keyed(object: &mut Value, list_name: &str, key: &str, added: &[Value], removed: &[String]) {
    if added.is_empty() && removed.is_empty() {
        return;
    }
    let mut values = array(object, &[list_name]);
    values.retain(|value| !removed.iter().any(|gone| value[key].as_str() == Some(gone)));
    for new in added {
        values.retain(|value| value[key] != new[key]);
        values.push(new.clone());
    }
    put(object, list_name, list(values));
}

/// Texts, each once. Their order is kept, except that an edit of what was there sorts, so that equal edits give
/// equal specs and replace no task.
fn texts(object: &mut Value, path: &str, added: &[String], removed: &[String]) {
    if added.is_empty() && removed.is_empty() {
        return;
    }
    let path: Vec<&str> = path.split('.').collect();
    let mut values = array(object, &path);
    let is_edit = !values.is_empty();
    for new in added {
        if !values.iter().any(|value| value == new) {
            values.push(new.as_str().into());
        }
    }
    values.retain(|value| !removed.iter().any(|gone| value == gone));
    if is_edit {
        values.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
    }
    let (last, before) = path.split_last().expect("a path has a last part");
    put(member(object, before), last, list(values));
}

fn placement(spec: &mut Value, items: &Items, removals: &Removals) -> anyhow::Result<()> {
    let template = member(spec, &["TaskTemplate"]);
    texts(template, "Placement.Constraints", &items.constraints, &removals.constraints);
    if !items.preferences.is_empty() || !removals.preferences.is_empty() {
        let mut preferences = array(template, &["Placement", "Preferences"]);
        preferences.retain(|preference| {
            let over = look(preference, &["Spread", "SpreadDescriptor"]).as_str();
            !removals.preferences.iter().any(|gone| Some(gone.as_str()) == over)
        });
        preferences
            .extend(items.preferences.iter().map(|over| json!({"Spread": {"SpreadDescriptor": over}})));
        put(member(template, &["Placement"]), "Preferences", list(preferences));
    }
    if items.generic_resources.is_empty() && removals.generic_resources.is_empty() {
        return Ok(());
    }
    let reservations = member(template, &["Resources", "Reservations"]);
    let mut resources = array(reservations, &["GenericResources"]);
    let is = |resource: &Value, kind: &str| {
        look(resource, &["DiscreteResourceSpec", "Kind"]).as_str() == Some(kind)
    };
    for (kind, amount) in &items.generic_resources {
        resources.retain(|resource| !is(resource, kind));
        resources.push(json!({"DiscreteResourceSpec": {"Kind": kind, "Value": amount}}));
    }
    for kind in &removals.generic_resources {
        let before = resources.len();
        resources.retain(|resource| !is(resource, kind));
        if resources.len() == before {
            return Err(refused(format!("could not find generic-resource `{kind}` to remove it")));
        }
    }
    put(reservations, "GenericResources", list(resources));
    Ok(())
}

fn networks(spec: &mut Value, items: &Items, removals: &Removals, resolved: &Resolved) -> anyhow::Result<()> {
    if items.networks.is_empty() && removals.networks.is_empty() {
        return Ok(());
    }
    let template = member(spec, &["TaskTemplate"]);
    let mut networks = array(template, &["Networks"]);
    networks.retain(|network| {
        let target = network["Target"].as_str().unwrap_or_default();
        !resolved.networks_removed.iter().chain(&removals.networks).any(|gone| gone == target)
    });
    for (network, id) in items.networks.iter().zip(&resolved.networks) {
        if networks.iter().any(|other| other["Target"] == id.as_str()) {
            return Err(refused(format!("service is already attached to network {}", network.target)));
        }
        let mut attachment = json!({"Target": id});
        if !network.aliases.is_empty() {
            attachment["Aliases"] = json!(network.aliases);
        }
        if !network.driver_options.is_empty() {
            attachment["DriverOpts"] = json!(network.driver_options);
        }
        networks.push(attachment);
    }
    networks.sort_by(|left, right| left["Target"].as_str().cmp(&right["Target"].as_str()));
    put(template, "Networks", list(networks));
    Ok(())
}

/// Lines of a hosts file. `name` takes away the name everywhere, `name:address` that of one address; a line without
/// names goes.
fn hosts(container: &mut Value, added: &[String], removed: &[String]) {
    if added.is_empty() && removed.is_empty() {
        return;
    }
    let removed: Vec<(&str, &str)> =
        removed.iter().map(|entry| entry.split_once(':').unwrap_or((entry.as_str(), ""))).collect();
    let kept = array(container, &["Hosts"]);
    let kept = kept.iter().filter_map(|line| {
        let mut words = line.as_str()?.split_whitespace();
        let address = words.next()?;
        let gone =
            |name: &str| removed.iter().any(|(gone, of)| *gone == name && (of.is_empty() || *of == address));
        let names: Vec<&str> = words.filter(|name| !gone(name)).collect();
        (!names.is_empty()).then(|| format!("{address} {}", names.join(" ")))
    });
    let mut lines: Vec<String> = Vec::new();
    for line in kept.chain(added.iter().cloned()) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    put(container, "Hosts", list(lines.into_iter().map(Value::from).collect()));
}

/// Secrets and configs. One that is added takes the place of what was in the same file.
fn files(container: &mut Value, list_name: &str, kind: &str, added: &[Found], removed: &[String]) {
    if added.is_empty() && removed.is_empty() {
        return;
    }
    let (id_key, name_key) = (format!("{kind}ID"), format!("{kind}Name"));
    let mut references = array(container, &[list_name]);
    references.retain(|reference| {
        let is_file = look(reference, &["Runtime"]).is_null();
        !is_file || !removed.iter().any(|gone| reference[&name_key].as_str() == Some(gone))
    });
    for Found { reference, id } in added {
        references.retain(|other| look(other, &["File", "Name"]).as_str() != Some(&reference.target));
        let Reference { name, target, uid, gid, mode, version, refresh } = reference;
        let mut shown = json!({
            "File": {"Name": target, "UID": uid, "GID": gid, "Mode": mode},
            id_key.as_str(): id,
            name_key.as_str(): name,
        });
        if *version > 0 {
            shown["Version"] = (*version).into();
        }
        if let Some(signal) = refresh {
            shown["Refresh"] = signal.as_str().into();
        }
        references.push(shown);
    }
    put(container, list_name, list(references));
}

/// A credential spec in a config: the spec names the config by id, and the list has it without a file.
fn credential_config(container: &mut Value, config: Option<&Found>) {
    let Some(Found { reference, id }) = config else { return };
    *member(container, &["Privileges", "CredentialSpec"]) = json!({"Config": id});
    let mut configs = array(container, &["Configs"]);
    configs.retain(|other| look(other, &["Runtime"]).is_null());
    configs.push(json!({"ConfigID": id, "ConfigName": reference.name, "Runtime": {}}));
    put(container, "Configs", list(configs));
}

/// Adding what was dropped only takes the drop away, and the other way round; `ALL` stands for every one, `RESET`
/// empties a list first. What is added and dropped at once is added.
pub fn capabilities(container: &mut Value, mut added: BTreeSet<String>, mut dropped: BTreeSet<String>) {
    let read = |key: &str| -> BTreeSet<String> {
        let list = array(container, &[key]);
        list.iter().filter_map(Value::as_str).map(crate::parse::service_value::capability).collect()
    };
    let (mut is_added, mut is_dropped) = (read("CapabilityAdd"), read("CapabilityDrop"));
    if added.remove("RESET") {
        is_added.clear();
    }
    if dropped.remove("RESET") {
        is_dropped.clear();
    }
    for name in dropped.difference(&added) {
        if !is_added.remove(name) {
            is_dropped.insert(name.clone());
        }
    }
    for name in added {
        if !is_dropped.remove(&name) {
            is_added.insert(name);
        }
    }
    for (key, names) in [("CapabilityAdd", is_added), ("CapabilityDrop", is_dropped)] {
        let names = if names.contains("ALL") { BTreeSet::from(["ALL".to_owned()]) } else { names };
        put(container, key, list(names.into_iter().map(Value::from).collect()));
    }
}
