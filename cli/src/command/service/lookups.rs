//! What a service's flags name and only the daemon knows: ids of secrets, configs and networks, the image's digest.

use std::collections::BTreeMap;

use common::limits::IMAGE_LOOK_UP_TIME_MAX;
use serde_json::{Value, json};

use super::flags::lists::Items;
use super::flags::merge::{Found, Resolved};
use super::flags::refused;
use super::flags::removals::Removals;
use crate::client::{Client, ClientError, escape};
use crate::command::edit::text;
use crate::output::note;
use crate::parse::filter::{Filter, with_filters};
use crate::parse::image;
use crate::parse::members::{look, member};
use crate::parse::secret_reference::Reference;

pub async fn resolve(
    client: &Client,
    items: &Items,
    removals: &Removals,
    credential_config: Option<&str>,
) -> anyhow::Result<Resolved> {
    let mut resolved = Resolved {
        secrets: find(client, "secret", &items.secrets).await?,
        configs: find(client, "config", &items.configs).await?,
        ..Resolved::default()
    };
    for network in &items.networks {
        resolved.networks.push(network_id(client, &network.target).await?);
    }
    for network in &removals.networks {
        resolved.networks_removed.push(network_id(client, network).await?);
    }
    if let Some(name) = credential_config {
        let reference = crate::parse::secret_reference::config(name).map_err(refused)?;
        resolved.credential_config = find(client, "config", &[reference]).await?.pop();
    }
    Ok(resolved)
}

async fn network_id(client: &Client, reference: &str) -> Result<String, ClientError> {
    let network: Value = client.get(&format!("/networks/{}?scope=swarm", escape(reference))).await?;
    let id = text(&network, &["Id"]);
    Ok(if id.is_empty() { reference.into() } else { id.into() })
}

/// The ids of secrets or configs, all asked for at once.
async fn find(client: &Client, kind: &str, references: &[Reference]) -> anyhow::Result<Vec<Found>> {
    if references.is_empty() {
        return Ok(Vec::new());
    }
    for (at, reference) in references.iter().enumerate() {
        if references[..at].iter().any(|other| other.target == reference.target) {
            let name = &reference.name;
            return Err(refused(format!("duplicate {kind} target for {name} not allowed")));
        }
    }
    let filters: Vec<Filter> = references
        .iter()
        .map(|reference| Filter { key: "name".into(), value: reference.name.clone() })
        .collect();
    let objects: Vec<Value> = client.get(&with_filters(&format!("/{kind}s"), &filters)).await?;
    // The daemon finds by the start of a name.
    let named: BTreeMap<&str, &Value> =
        objects.iter().map(|object| (text(object, &["Spec", "Name"]), object)).collect();
    references
        .iter()
        .map(|reference| match named.get(reference.name.as_str()) {
            Some(object) => {
                let mut reference = reference.clone();
                // Said in full: what the service has by now is not what is asked for.
                if reference.version == 0 {
                    reference.version = look(object, &["VersionNumber"]).as_u64().unwrap_or_default();
                }
                Ok(Found { reference, id: text(object, &["ID"]).into() })
            }
            None => Err(refused(format!("{kind} not found: {}", reference.name))),
        })
        .collect()
}

/// The image by its content, and where it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pinned {
    pub image: String,
    pub platforms: Vec<Value>,
}

/// Asks the registry for the image's digest. When that does not work out it warns of what follows from it.
pub async fn pin(
    client: &Client,
    image: &str,
    registry_auth: Option<&str>,
) -> Result<Option<Pinned>, ClientError> {
    let path = format!("/distribution/{}/json", escape_path(image));
    let answer =
        tokio::time::timeout(IMAGE_LOOK_UP_TIME_MAX, client.get_with::<Value>(&path, registry_auth)).await;
    let pinned = match answer {
        Ok(Ok(found)) => pinned(image, &found),
        // Then nothing else works either, and that says why.
        Ok(Err(error @ (ClientError::Unreachable { .. } | ClientError::Denied { .. }))) => return Err(error),
        Ok(Err(_)) | Err(_) => None,
    };
    if pinned.is_none() {
        note(&digest_warning(image));
    }
    Ok(pinned)
}

fn pinned(image: &str, found: &Value) -> Option<Pinned> {
    let digest = text(found, &["Descriptor", "digest"]);
    let digest = if digest.is_empty() { text(found, &["Descriptor", "Digest"]) } else { digest };
    let image = image::parse(image).filter(|_| !digest.is_empty())?.pinned(digest);
    let mut platforms = Vec::new();
    for platform in look(found, &["Platforms"]).as_array().into_iter().flatten() {
        let word = |upper: &str, lower: &str| match text(platform, &[upper]) {
            "" => text(platform, &[lower]),
            word => word,
        };
        let (architecture, os) = (word("Architecture", "architecture"), word("OS", "os"));
        // Signatures and the like, which run nowhere.
        if architecture == "unknown" || os == "unknown" {
            continue;
        }
        // Nodes say armv7l, images say arm: nothing to compare.
        let architecture = if architecture.eq_ignore_ascii_case("arm") { "" } else { architecture };
        let mut shown = json!({"OS": os});
        if !architecture.is_empty() {
            shown["Architecture"] = architecture.into();
        }
        if !platforms.contains(&shown) {
            platforms.push(shown);
        }
    }
    Some(Pinned { image, platforms })
}

pub fn put_pinned(spec: &mut Value, pinned: &Pinned) {
    *member(spec, &["TaskTemplate", "ContainerSpec", "Image"]) = pinned.image.as_str().into();
    if !pinned.platforms.is_empty() {
        *member(spec, &["TaskTemplate", "Placement", "Platforms"]) = json!(pinned.platforms);
    }
}

fn digest_warning(image: &str) -> String {
    format!(
        "image {image} could not be accessed on a registry to record\nits digest. Each node will access {image} \
         independently,\npossibly leading to different nodes running different\nversions of the image.\n"
    )
}

/// Slashes are steps of the path here.
fn escape_path(image: &str) -> String {
    image.split('/').map(escape).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pinned_to_its_digest_and_platforms() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let found = json!({
            "Descriptor": {"mediaType": "x", "digest": digest, "size": 1},
            "Platforms": [
                {"architecture": "amd64", "os": "linux"}, {"architecture": "arm", "os": "linux", "variant": "v7"},
                {"architecture": "arm", "os": "linux", "variant": "v5"}, {"architecture": "unknown", "os": "unknown"},
            ],
        });
        let expected = Pinned {
            image: format!("nginx:1@{digest}"),
            platforms: vec![json!({"Architecture": "amd64", "OS": "linux"}), json!({"OS": "linux"})],
        };
        assert_eq!(pinned("nginx:1", &found), Some(expected));
        for wrong in [json!({}), json!([]), json!({"Descriptor": {"digest": 1}})] {
            assert_eq!(pinned("nginx:1", &wrong), None, "{wrong}");
        }
        assert_eq!(escape_path("r:5000/a b:1"), "r%3A5000/a%20b%3A1");
    }
}
