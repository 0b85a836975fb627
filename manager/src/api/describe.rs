//! What the Docker Engine behind us says of itself, as a node tells it to the cluster.

use std::collections::BTreeMap;
use std::path::Path;

use common::object::node::EngineDescription;
use common::shutdown::Tasks;
use serde::Deserialize;

use super::engine::{Engine, EngineSettings};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Info {
    server_version: String,
    labels: Option<Vec<String>>,
    plugins: Plugins,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Plugins {
    volume: Option<Vec<String>>,
    network: Option<Vec<String>>,
    log: Option<Vec<String>>,
}

/// Asks the engine at `socket`; none while it does not answer.
pub async fn describe_engine(socket: &Path) -> Option<EngineDescription> {
    let engine = Engine::new(EngineSettings { socket: Some(socket.into()) }, Tasks::new());
    let info: Info = engine.document("/info").await.ok()?;
    Some(describe(info))
}

fn describe(info: Info) -> EngineDescription {
    let Plugins { volume, network, log } = info.plugins;
    let mut plugins: Vec<(String, String)> = [("Volume", volume), ("Network", network), ("Log", log)]
        .into_iter()
        .flat_map(|(kind, names)| {
            names.unwrap_or_default().into_iter().map(move |name| (kind.to_string(), name))
        })
        .collect();
    plugins.sort();
    let labels: BTreeMap<String, String> = info
        .labels
        .unwrap_or_default()
        .iter()
        .map(|label| label.split_once('=').unwrap_or((label, "")))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    EngineDescription { version: info.server_version, labels, plugins }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_document_becomes_a_description() {
        let text = r#"{"ServerVersion":"20.10.24","Labels":["zone=a","ssd"],
            "Plugins":{"Volume":["local"],"Network":["host","bridge"],"Authorization":null,"Log":null}}"#;
        let description = describe(serde_json::from_str(text).unwrap());
        assert_eq!(description.version, "20.10.24");
        assert_eq!(description.labels.get("zone").map(String::as_str), Some("a"));
        let names: Vec<&str> = description.plugins.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["bridge", "host", "local"]);
    }
}
