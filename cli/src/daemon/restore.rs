//! A cluster that begins again with what a backup holds, on this node alone.
//!
//! At the address of one of its managers this node becomes that one again, so that those who know it find it; anywhere
//! else it is a new one. The others are down until they come: a worker that still has its certificate takes up its
//! place as soon as it finds a manager, a former manager likewise, as a worker that can be promoted again.

use std::sync::Arc;

use anyhow::Context;
use common::identity::{
    DataKey, DataKeys, Lock, NodeIdentity, NodeKey, RootAuthority, StoredIdentity, file as identity_file,
};
use common::limits::PROPOSAL_CHANGES_MAX;
use common::object::node::ManagerRecord;
use common::object::{Availability, Cluster, Node, NodeId, NodeState, Role};
use common::random::{Random, SystemRandom};
use common::time::Timestamp;
use common::wire::session::Parting;
use manager::api::{Control, Restore};
use manager::raft::{self, Founder};
use manager::store::{Change, Proposal, Tables, Write};

use super::address::Addresses;
use super::running::{Running, Setup};
use super::state::NodeFile;

/// Puts a backup in place and leads it. Until it is whole on disk, a start finds nothing and clears it away.
pub async fn restore(setup: &Setup, restore: Restore, addresses: Addresses) -> anyhow::Result<Arc<Running>> {
    let Restore { meta, tables, availability, .. } = restore;
    let cluster = tables.cluster().context("the backup holds no cluster")?.clone();
    let now = setup.clock.now();
    let random = &mut SystemRandom;
    let advertised = addresses.advertise.to_string();
    let known = tables.nodes.iter().find(|node| is_at(node, &advertised)).map(|node| node.id);
    let node = known.unwrap_or_else(|| NodeId::generate(random));
    let stored = identity(&cluster, node, now)?;
    let keys = stored.data_keys.clone().context("the new manager has no data key")?;
    let mut file = NodeFile::new(addresses, cluster.spec.liveness);
    file.founding = true;
    file.save(&setup.folder)?;
    identity_file::save(&setup.folder.identity_file(), &stored)?;

    let raft_id = raft::fresh_raft_id(cluster.next_raft_id, random);
    let addr = advertised;
    let changes = changes(&tables, node, availability, ManagerRecord { raft_id, addr: addr.clone() });
    let amend: Vec<Proposal> = changes
        .chunks(PROPOSAL_CHANGES_MAX)
        .map(|changes| Proposal { id: random.next_u64().max(1), at: now, changes: changes.to_vec() })
        .collect();
    let (folder, term) = (setup.folder.raft_folder(), meta.term);
    let write = move || {
        let founder = Founder { cluster: cluster.id, node, addr: &addr, data_keys: &keys };
        raft::restore(&folder, &founder, raft_id, term, tables, &amend)
    };
    tokio::task::spawn_blocking(write).await?.context("write the raft log of the restored cluster")?;
    file.raft_id = Some(raft_id);
    file.founding = false;
    file.save(&setup.folder)?;
    let running = Running::start(setup.clone(), file, stored).await?;
    let led = async {
        let manager = running.manager().context("the manager did not start")?;
        manager.read().await.context("lead the restored cluster")
    };
    if let Err(error) = led.await {
        running.stop(Parting::Leaves).await;
        return Err(error);
    }
    Ok(running)
}

/// A manager's identity under the cluster's own root, kept as the cluster wants managers to keep theirs.
fn identity(cluster: &Cluster, node: NodeId, now: Timestamp) -> anyhow::Result<StoredIdentity> {
    let authority = &cluster.authority;
    let root = RootAuthority::from_pem(&authority.certificate_pem, authority.key_pem.reveal())
        .context("use the root certificate of the backup")?;
    let key = NodeKey::generate()?;
    let csr = key.signing_request()?;
    let expiry = cluster.spec.node_certificate_expiry;
    let certificate = root
        .sign(&csr, node, cluster.id, Role::Manager, expiry, now)
        .context("sign the certificate of the restored manager")?;
    let at_rest = &cluster.at_rest;
    let identity = NodeIdentity::new(&certificate, key, root.certificate_pem())?;
    Ok(StoredIdentity {
        data_keys: Some(DataKeys {
            current: DataKey::generate(&mut SystemRandom),
            version: at_rest.data_key_version,
            previous: None,
        }),
        lock: Lock::wanted(at_rest)?,
        ..StoredIdentity::bare(identity)
    })
}

fn is_at(node: &Node, address: &str) -> bool {
    node.manager.as_ref().is_some_and(|manager| manager.addr == address)
}

/// One manager, this node; the others are workers that nobody has heard of.
fn changes(
    tables: &Tables,
    me: NodeId,
    availability: Option<Availability>,
    record: ManagerRecord,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(cluster) = tables.cluster() {
        let mut cluster = Cluster::clone(cluster);
        cluster.next_raft_id = record.raft_id.saturating_add(1);
        changes.push(Change::Cluster(Write::update(cluster)));
    }
    if tables.nodes.get(me).is_none() {
        let mut node = Node::new(me, Role::Manager, availability.unwrap_or_default());
        node.manager = Some(record.clone());
        changes.push(Change::Node(Write::Create(node)));
    }
    for node in tables.nodes.iter() {
        let mut next = Node::clone(node);
        if next.id == me {
            (next.spec.role, next.role) = (Role::Manager, Role::Manager);
            next.spec.availability = availability.unwrap_or(next.spec.availability);
            next.manager = Some(record.clone());
            next.status.state = NodeState::Unknown;
            changes.push(Change::Node(Write::update(next)));
            continue;
        }
        next.spec.role = Role::Worker;
        next.role = Role::Worker;
        next.manager = None;
        next.status.state = NodeState::Down;
        next.status.message = "not seen since the cluster was restored from a backup".into();
        changes.push(Change::Node(Write::update(next)));
    }
    changes
}
