//! Read, change, write back: edits of an object that other people may be changing too.

use common::limits::EDIT_ATTEMPTS_MAX;
use serde_json::Value;

use super::cluster_flags::look;
use crate::client::{Client, escape};

/// What an edit of a spec came to.
pub enum Edit {
    Write,
    /// It is that way already.
    Leave,
}

/// Edits the spec of node `reference`. Returns the node's id, or none when `edit` left it alone.
///
/// The edit is a function of the spec alone, so when the node changed meanwhile it is made again on what is there now.
pub async fn node(
    client: &Client,
    reference: &str,
    edit: impl Fn(&Value, &mut Value) -> anyhow::Result<Edit>,
) -> anyhow::Result<Option<String>> {
    let mut attempt = 1;
    loop {
        let node: Value = client.get(&format!("/nodes/{}", escape(reference))).await?;
        let mut spec = look(&node, &["Spec"]).clone();
        if let Edit::Leave = edit(&node, &mut spec)? {
            return Ok(None);
        }
        let id = text(&node, &["ID"]).to_owned();
        let path = format!("/nodes/{}/update?version={}", escape(&id), version(&node));
        match client.post(&path, &spec).await {
            Ok(()) => return Ok(Some(id)),
            Err(error) if error.is_conflict() && attempt < EDIT_ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// How an edited service is written back.
#[derive(Clone, Debug, Default)]
pub struct ServiceWrite<'a> {
    /// Of the query, before the version: `registryAuthFrom=spec`.
    pub query: &'a str,
    pub registry_auth: Option<&'a str>,
}

/// Edits the spec of service `reference`. Returns the service's id and what the daemon warns of.
pub async fn service(
    client: &Client,
    reference: &str,
    write: ServiceWrite<'_>,
    edit: impl Fn(&mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<(String, Vec<String>)> {
    let mut attempt = 1;
    loop {
        let path = format!("/services/{}?insertDefaults=false", escape(reference));
        let service: Value = client.get(&path).await?;
        let mut spec = look(&service, &["Spec"]).clone();
        edit(&mut spec)?;
        let id = text(&service, &["ID"]).to_owned();
        let separator = if write.query.is_empty() { "" } else { "&" };
        let query = format!("{}{separator}version={}", write.query, version(&service));
        let path = format!("/services/{}/update?{query}", escape(&id));
        match client.post_with::<Value>(&path, &spec, write.registry_auth).await {
            Ok(answer) => return Ok((id, warnings(&answer))),
            Err(error) if error.is_conflict() && attempt < EDIT_ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// What an answer warns of.
pub fn warnings(answer: &Value) -> Vec<String> {
    let warnings = look(answer, &["Warnings"]).as_array();
    warnings.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What the cluster is asked to renew along with an update.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotate {
    pub worker_token: bool,
    pub manager_token: bool,
    pub unlock_key: bool,
}

/// Edits the cluster's spec; returns the cluster as it was before.
pub async fn cluster(client: &Client, rotate: Rotate, edit: impl Fn(&mut Value)) -> anyhow::Result<Value> {
    let mut attempt = 1;
    loop {
        let cluster: Value = client.get("/swarm").await?;
        let mut spec = look(&cluster, &["Spec"]).clone();
        edit(&mut spec);
        let path = format!(
            "/swarm/update?rotateManagerToken={}&rotateManagerUnlockKey={}&rotateWorkerToken={}&version={}",
            rotate.manager_token,
            rotate.unlock_key,
            rotate.worker_token,
            version(&cluster)
        );
        match client.post(&path, &spec).await {
            Ok(()) => return Ok(cluster),
            Err(error) if error.is_conflict() && attempt < EDIT_ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

pub fn version(object: &Value) -> u64 {
    look(object, &["Version", "Index"]).as_u64().unwrap_or_default()
}

/// The text at `path`, empty when there is none.
pub fn text<'v>(value: &'v Value, path: &[&str]) -> &'v str {
    look(value, path).as_str().unwrap_or_default()
}
