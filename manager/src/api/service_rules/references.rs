//! What a spec points at: secrets, configs and networks.

use std::collections::BTreeMap;

use common::object::TaskSpec;
use common::object::container::FileReference;

use super::super::error::ApiError;
use super::super::target::shortened;

/// Networks that every node has.
pub(in super::super) const NODE_NETWORKS: [&str; 3] = ["bridge", "host", "none"];

pub fn check(task: &TaskSpec) -> Result<(), ApiError> {
    check_files("secret", &task.container.secrets)?;
    check_files("config", &task.container.configs)?;
    for network in &task.networks {
        let target = network.target.as_str();
        if target == "ingress" {
            return Err(ApiError::invalid(format!(
                "Service cannot be explicitly attached to the ingress network {target:?}"
            )));
        }
        if !NODE_NETWORKS.contains(&target) {
            return Err(ApiError::not_found(format!("network {} not found", shortened(target))));
        }
    }
    exist("secret", &task.container.secrets)?;
    exist("config", &task.container.configs)
}

fn check_files(kind: &str, references: &[FileReference]) -> Result<(), ApiError> {
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for FileReference { name, target, .. } in references {
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

/// The store of this version holds neither secrets nor configs, so none of them is found.
fn exist(kind: &str, references: &[FileReference]) -> Result<(), ApiError> {
    let names: Vec<String> = references.iter().map(|reference| shortened(&reference.name)).collect();
    match names.len() {
        0 => Ok(()),
        1 => Err(ApiError::invalid(format!("{kind} not found: {}", names.join(", ")))),
        _ => Err(ApiError::invalid(format!("{kind}s not found: {}", names.join(", ")))),
    }
}
