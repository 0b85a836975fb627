//! Machines whose own address changes while their node is down: the others find them again without a person.

use std::net::{Ipv4Addr, SocketAddr};

use harness::cluster::{Cluster, SOON};
use harness::netns::{self, Hosts};
use harness::node::NodeOptions;

/// A cluster on hosts whose daemons were told no address.
async fn on_hosts(hosts: &Hosts, managers: usize) -> Cluster {
    let options = hosts.options().into_iter().map(NodeOptions::choosing_its_address).collect();
    Cluster::with_options(managers, options).await.unwrap()
}

/// Gives a host whose daemon is down another address.
fn move_host(cluster: &mut Cluster, hosts: &Hosts, index: usize) -> SocketAddr {
    assert!(!cluster.nodes[index].is_running());
    let addr = hosts.move_to(index, Ipv4Addr::new(10, 77, 0, 101 + u8::try_from(index).unwrap())).unwrap();
    cluster.nodes[index].set_addr(addr);
    addr
}

/// Waits until every node is ready, and shown where it is now by every manager; managers in raft's own list too.
async fn all_found(cluster: &Cluster, managers: usize) {
    cluster.all_ready(SOON).await.unwrap();
    for reader in 0..managers {
        let what = format!("{} shows all where they are", cluster.nodes[reader].name());
        cluster
            .wait_until(&what, SOON, async || {
                let client = cluster.client(reader);
                let raft = client.raft().await.map_err(|error| format!("{error:#}"))?;
                for node in client.nodes().await.map_err(|error| format!("{error:#}"))? {
                    let index = cluster.index_of(&node.id).ok_or(format!("{} is a stranger", node.id))?;
                    let addr = cluster.nodes[index].addr();
                    let name = cluster.nodes[index].name();
                    if node.status.addr != addr.ip().to_string() {
                        return Err(format!("{name} at {}", node.status.addr));
                    }
                    if index >= managers {
                        continue;
                    }
                    let manager = node.manager_status.unwrap_or_default();
                    if manager.addr != addr.to_string() || manager.reachability != "reachable" {
                        return Err(format!("manager {name}: {manager:?}"));
                    }
                    let member = raft.members.iter().find(|member| member.node_id == node.id);
                    if member.is_none_or(|member| member.addr != addr.to_string() || !member.voter) {
                        return Err(format!("raft has {name} as {member:?}"));
                    }
                }
                Ok(())
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_worker_and_then_every_manager_move_and_are_found() {
    let test = "a_worker_and_then_every_manager_move_and_are_found";
    let Some(hosts) = netns::hosts(4, test) else { return };
    let mut cluster = on_hosts(&hosts, 3).await;
    let leader = cluster.leader(SOON).await.unwrap();
    // The leader at the time last but one, so that a leader moves and a follower after it.
    for index in [3, (leader + 1) % 3, leader, (leader + 2) % 3] {
        cluster.nodes[index].kill();
        let addr = move_host(&mut cluster, &hosts, index);
        cluster.nodes[index].launch().await.unwrap();
        all_found(&cluster, 3).await;
        assert_eq!(cluster.client(index).info().await.unwrap().node_addr, addr.ip().to_string());
    }
    // Nothing of the old addresses is needed by a start of everybody.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.launch().await.unwrap();
    }
    all_found(&cluster, 3).await;
}

#[tokio::test]
async fn a_worker_finds_managers_of_whom_all_but_one_have_moved() {
    let test = "a_worker_finds_managers_of_whom_all_but_one_have_moved";
    let Some(hosts) = netns::hosts(4, test) else { return };
    let mut cluster = on_hosts(&hosts, 3).await;
    cluster.nodes[3].kill();
    for index in 0..2 {
        cluster.nodes[index].kill();
        move_host(&mut cluster, &hosts, index);
        cluster.nodes[index].launch().await.unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    move_host(&mut cluster, &hosts, 3);
    cluster.nodes[3].launch().await.unwrap();
    all_found(&cluster, 3).await;
}

#[tokio::test]
async fn the_only_manager_moves_and_its_worker_hears_of_it() {
    let test = "the_only_manager_moves_and_its_worker_hears_of_it";
    let Some(hosts) = netns::hosts(2, test) else { return };
    let mut cluster = on_hosts(&hosts, 1).await;
    cluster.nodes[0].kill();
    move_host(&mut cluster, &hosts, 0);
    cluster.nodes[0].launch().await.unwrap();
    // The worker stayed where the manager remembers it: the manager knocks there, and the worker hears where it is.
    all_found(&cluster, 1).await;
}
