//! A cluster's beginning: from nothing, or again from what one manager holds.

use std::sync::Arc;

use anyhow::Context;
use common::identity::{JoinToken, Lock, NodeIdentity, NodeKey, RootAuthority, StoredIdentity, UnlockKey};
use common::object::cluster::{AtRest, Authority};
use common::object::node::{Issued, ManagerRecord};
use common::object::{Cluster, ClusterId, Node, NodeId, Role};
use common::random::{Random, SystemRandom};
use common::time::Timestamp;
use manager::api::{Control, Init};
use manager::raft;
use manager::store::{Change, Proposal, Tables, Write};

use super::running::{Running, Setup};
use super::state::NodeFile;

/// The founder's place in the raft group.
pub const FIRST_RAFT_ID: u64 = 1;

/// Everything a new cluster begins with.
pub struct Founding {
    pub stored: StoredIdentity,
    pub cluster: Cluster,
    pub node: Node,
}

/// Makes the authority, its first certificate and both first objects. Nothing is on disk yet.
pub fn found(init: &Init, now: Timestamp) -> anyhow::Result<Founding> {
    let random = &mut SystemRandom;
    let (node, cluster) = (NodeId::generate(random), ClusterId::generate(random));
    let root = RootAuthority::generate(now).context("make the root certificate")?;
    let key = NodeKey::generate()?;
    let csr = key.signing_request()?;
    let expiry = init.spec.node_certificate_expiry;
    let certificate =
        root.sign(&csr, node, cluster, Role::Manager, expiry, now).context("sign the first certificate")?;
    let identity = NodeIdentity::new(&certificate, key, root.certificate_pem())?;
    let authority = Authority::new(
        root.certificate_pem().into(),
        root.key_pem(),
        JoinToken::generate(root.certificate_pem(), random).to_secret(),
        JoinToken::generate(root.certificate_pem(), random).to_secret(),
    );
    let lock = Lock {
        key: init.spec.autolock_managers.then(|| UnlockKey::generate(random)),
        version: u64::from(init.spec.autolock_managers),
    };
    let at_rest = AtRest {
        unlock_key: lock.key.as_ref().map(UnlockKey::to_text),
        unlock_key_version: lock.version,
        data_key_version: 0,
    };
    let cluster = Cluster {
        spec: init.spec.clone(),
        next_raft_id: FIRST_RAFT_ID + 1,
        address_pools: init.address_pools.clone(),
        subnet_size: init.subnet_size,
        data_path_port: init.data_path_port,
        at_rest,
        ..Cluster::new(cluster, authority)
    };
    let mut node = Node::new(node, Role::Manager, init.availability);
    node.status.issued =
        Some(Issued { public_key: identity.key().public_key().to_vec(), until: identity.not_after });
    // Locked from the first byte on disk, where the cluster locks.
    let stored = StoredIdentity { lock, ..StoredIdentity::bare(identity) };
    Ok(Founding { stored, cluster, node })
}

/// Makes this manager the only one, with everything it holds. The other managers become workers on paper: when one
/// of them comes back, it takes up that place, and can be promoted again.
pub async fn rebuild(
    setup: &Setup,
    mut file: NodeFile,
    stored: StoredIdentity,
) -> anyhow::Result<Arc<Running>> {
    let keys = stored.data_keys.clone().context("the key of the raft log is missing")?;
    let (node, cluster) = (stored.identity.node, stored.identity.cluster);
    let addr = file.advertise.to_string();
    let (folder, now) = (setup.folder.raft_folder(), setup.clock.now());
    let id = SystemRandom.next_u64().max(1);
    let amend = {
        let addr = addr.clone();
        move |raft_id: u64, tables: &Tables| {
            Some(Proposal { id, at: now, changes: alone(tables, node, raft_id, &addr) })
        }
    };
    let rewrite = move || raft::force_new_cluster(&folder, cluster, &keys, node, &addr, amend);
    let forced = tokio::task::spawn_blocking(rewrite).await?.context("rebuild the raft log")?;
    file.raft_id = Some(forced.raft_id);
    file.managers.clear();
    file.save(&setup.folder)?;
    let running = Running::start(setup.clone(), file, stored).await?;
    let manager = running.manager().context("the manager did not start")?;
    manager.read().await.context("lead the new cluster")?;
    Ok(running)
}

/// The changes that leave one manager and make workers of the others.
fn alone(tables: &Tables, me: NodeId, raft_id: u64, addr: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    for node in tables.nodes.iter() {
        let mut next = Node::clone(node);
        match (next.id == me, &mut next.manager) {
            (true, manager) => *manager = Some(ManagerRecord { raft_id, addr: addr.into() }),
            (false, Some(_)) => {
                next.spec.role = Role::Worker;
                next.role = Role::Worker;
                next.manager = None;
            }
            (false, None) => continue,
        }
        changes.push(Change::Node(Write::update(next)));
    }
    if let Some(cluster) = tables.cluster() {
        let mut cluster = Cluster::clone(cluster);
        cluster.next_raft_id = cluster.next_raft_id.max(raft_id.saturating_add(1));
        cluster.at_rest.data_key_version += 1; // managers have gone
        changes.push(Change::Cluster(Write::update(cluster)));
    }
    changes
}
