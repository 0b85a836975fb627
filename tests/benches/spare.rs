//! Nodes that were let in and never came: objects that nobody but the measurement writes to.

use anyhow::Context;
use common::identity::{JoinToken, NodeKey};
use common::object::Availability;
use common::transport::quic::join;
use common::wire::join::{CertificateRequest, JoinResponse};
use harness::cluster::Cluster;

/// Asks the manager at `index` for this many certificates, and gives the ids of the nodes they are for.
pub async fn nodes(cluster: &Cluster, index: usize, count: usize) -> anyhow::Result<Vec<String>> {
    let tokens = cluster.client(index).swarm().await?.join_tokens.context("a manager shows tokens")?;
    let addr = cluster.nodes[index].addr();
    let root = join::fetch_root(addr, JoinToken::parse(&tokens.worker)?.digest()).await?;
    let mut ids = Vec::new();
    for _ in 0..count {
        let request = CertificateRequest {
            csr: NodeKey::generate()?.signing_request()?,
            token: tokens.worker.clone(),
            availability: Availability::Active,
        };
        match join::request(addr, &root, request).await? {
            JoinResponse::Certificate(issued) => ids.push(issued.node.to_string()),
            other => anyhow::bail!("no certificate: {other:?}"),
        }
    }
    Ok(ids)
}
