//! What a spec points at: secrets, configs and networks.

use std::collections::BTreeMap;

use common::limits::SERVICE_NETWORKS_MAX;
use common::object::container::FileReference;
use common::object::network::INGRESS;
use common::object::{Payload, PayloadKind, TaskSpec};

use super::super::error::ApiError;
use super::super::lookup;
use super::super::target::shortened;
use crate::store::Tables;

/// Networks that every node has.
pub(in super::super) const NODE_NETWORKS: [&str; 3] = ["bridge", "host", "none"];

/// What can be judged of them alone.
pub fn check(task: &TaskSpec) -> Result<(), ApiError> {
    check_files("secret", &task.container.secrets)?;
    check_files("config", &task.container.configs)?;
    let networks = task.networks.len();
    if networks > SERVICE_NETWORKS_MAX {
        return Err(ApiError::invalid(format!(
            "{networks} networks are too many for one service, {SERVICE_NETWORKS_MAX} are allowed"
        )));
    }
    Ok(())
}

/// Makes ids of the names of the cluster's networks.
fn resolve_networks(tables: &Tables, task: &mut TaskSpec) -> Result<(), ApiError> {
    for attachment in &mut task.networks {
        let target = attachment.target.as_str();
        if NODE_NETWORKS.contains(&target) {
            continue;
        }
        let of_ports = |name: &str| {
            ApiError::invalid(format!(
                "Service cannot be explicitly attached to the ingress network {name:?}"
            ))
        };
        if target == INGRESS {
            return Err(of_ports(target));
        }
        let network = lookup::network(tables, target)?;
        if network.spec.ingress {
            return Err(of_ports(&network.spec.name));
        }
        attachment.target = network.id.to_string();
    }
    Ok(())
}

fn check_files(kind: &str, references: &[FileReference]) -> Result<(), ApiError> {
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for FileReference { name, target, refresh, .. } in references {
        if let Some(signal) = refresh.as_deref().filter(|signal| !is_signal(signal)) {
            return Err(ApiError::invalid(format!(
                "{kind} reference '{}': {:?} is not a signal to refresh with",
                shortened(name),
                shortened(signal)
            )));
        }
        let Some(target) = target else { continue };
        if target.is_empty() {
            return Err(ApiError::invalid(format!(
                "malformed file {kind} reference, invalid target file name provided"
            )));
        }
        if let Some(before) = targets.insert(target, name) {
            return Err(ApiError::invalid(format!(
                "{kind} references '{before}' and '{name}' have a conflicting target: '{target}'"
            )));
        }
    }
    Ok(())
}

/// `SIGHUP`, `hup`, `1` or nothing at all, which is no signal.
fn is_signal(word: &str) -> bool {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = word.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    word.is_empty()
        || NAMES.contains(&name)
        || word.parse().is_ok_and(|number: u8| (1..=31).contains(&number))
}

/// Whether all secrets and configs are there, and gives each reference its version: the one asked for, else the one
/// that `before` has of the same payload, else the newest.
///
/// Docker's clients drop what is ours when they send a spec back, so a reference without a version takes over from
/// `before` how it is refreshed, too.
pub fn resolve(tables: &Tables, task: &mut TaskSpec, before: Option<&TaskSpec>) -> Result<(), ApiError> {
    exist(tables, task)?;
    resolve_networks(tables, task)?;
    for (kind, reference) in task.container.references_mut() {
        let Some(payload) = find(tables, kind, reference) else { continue };
        if reference.version == 0 {
            let kept = before.and_then(|before| counterpart(before, kind, reference));
            match kept.filter(|kept| payload.version(kept.version).is_some()) {
                Some(kept) => {
                    reference.version = kept.version;
                    reference.refresh = reference.refresh.take().or_else(|| kept.refresh.clone());
                }
                None => reference.version = payload.newest().number,
            }
        }
        has_version(payload, reference.version)?;
    }
    Ok(())
}

/// Whether tasks can be made of a spec that was resolved some time ago.
pub fn check_kept(tables: &Tables, task: &TaskSpec) -> Result<(), ApiError> {
    exist(tables, task)?;
    if let Some(gone) = task.cluster_networks().find(|network| tables.networks.get(*network).is_none()) {
        return Err(ApiError::not_found(format!("network {gone} not found")));
    }
    for (kind, reference) in task.container.references() {
        if let Some(payload) = find(tables, kind, reference) {
            has_version(payload, reference.version)?;
        }
    }
    Ok(())
}

/// The payload that a reference means, where its id, its kind and its name are right.
fn find<'a>(tables: &'a Tables, kind: PayloadKind, reference: &FileReference) -> Option<&'a Payload> {
    let payload = tables.payloads.get(reference.payload()?)?;
    (payload.kind == kind && payload.spec.name == reference.name).then_some(&**payload)
}

/// The reference to the same payload in another spec, the one with the same target first.
fn counterpart<'a>(
    other: &'a TaskSpec,
    kind: PayloadKind,
    reference: &FileReference,
) -> Option<&'a FileReference> {
    let all = || {
        let all = other.container.references();
        all.filter(move |(its, _)| *its == kind)
            .map(|(_, other)| other)
            .filter(|other| other.id == reference.id)
    };
    all().find(|other| other.target == reference.target).or_else(|| all().next())
}

fn exist(tables: &Tables, task: &TaskSpec) -> Result<(), ApiError> {
    for kind in [PayloadKind::Secret, PayloadKind::Config] {
        let of_kind = task.container.references().filter(|(its, _)| *its == kind);
        let missing = of_kind.filter(|(_, reference)| find(tables, kind, reference).is_none());
        let names: Vec<String> = missing.map(|(_, reference)| shortened(&reference.name)).collect();
        let several = if names.len() == 1 { "" } else { "s" };
        if !names.is_empty() {
            return Err(ApiError::invalid(format!("{kind}{several} not found: {}", names.join(", "))));
        }
    }
    Ok(())
}

fn has_version(payload: &Payload, number: u64) -> Result<(), ApiError> {
    if payload.version(number).is_some() {
        return Ok(());
    }
    let kept: Vec<String> = payload.versions.iter().map(|version| version.number.to_string()).collect();
    Err(ApiError::invalid(format!(
        "{} {} has no version {number}; versions kept: {}",
        payload.kind,
        payload.spec.name,
        kept.join(", ")
    )))
}

#[cfg(test)]
#[path = "references_test.rs"]
mod tests;
