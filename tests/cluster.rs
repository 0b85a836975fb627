//! One cluster of real daemons through joins, role changes and goodbyes.

use common::engine_api::node::Node;
use common::engine_api::swarm::InitRequest;
use harness::cluster::{Cluster, SOON, options};
use harness::node::NodeOptions;

/// Waits until a node is a manager that the others reach, or is none.
async fn is_manager(cluster: &Cluster, index: usize, expected: bool) {
    let what =
        format!("{} is {}", cluster.nodes[index].name(), if expected { "a manager" } else { "no manager" });
    cluster
        .wait_until(&what, SOON, async || {
            let leader = cluster.leader(SOON).await.map_err(|error| format!("{error:#}"))?;
            let node =
                cluster.client(leader).node(cluster.id(index)).await.map_err(|error| format!("{error:#}"))?;
            let found =
                node.manager_status.as_ref().is_some_and(|manager| manager.reachability == "reachable");
            if found == expected {
                Ok(())
            } else {
                Err(format!("{:?} {:?}", node.spec.role, node.manager_status))
            }
        })
        .await
        .unwrap();
}

fn leaders(nodes: &[Node]) -> Vec<&str> {
    let leads = |node: &&Node| node.manager_status.as_ref().is_some_and(|manager| manager.leader);
    nodes.iter().filter(leads).map(|node| node.id.as_str()).collect()
}

#[tokio::test]
async fn three_managers_and_two_workers_agree_on_who_is_in() {
    let cluster = Cluster::new(3, 2).await.unwrap();
    let mut views = Vec::new();
    for index in 0..3 {
        let nodes = cluster.client(index).nodes().await.unwrap();
        assert_eq!(nodes.len(), 5);
        assert!(nodes.iter().all(|node| node.status.state == "ready"), "{nodes:?}");
        assert_eq!(nodes.iter().filter(|node| node.manager_status.is_some()).count(), 3);
        let addresses: Vec<String> =
            (0..5).map(|index| cluster.nodes[index].addr().ip().to_string()).collect();
        assert!(nodes.iter().all(|node| addresses.contains(&node.status.addr)), "{nodes:?}");
        views.push(leaders(&nodes).into_iter().map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(views[0].len(), 1, "one leader: {views:?}");
    assert!(views.iter().all(|leaders| *leaders == views[0]), "{views:?}");

    for index in 3..5 {
        let refused = cluster.client(index).get("/nodes").await.unwrap();
        assert_eq!(refused.status, 503);
        assert!(refused.message().contains("Worker nodes can't be used"), "{}", refused.message());
        let info = cluster.client(index).info().await.unwrap();
        assert_eq!((info.local_node_state.as_str(), info.control_available), ("active", false));
    }
}

#[tokio::test]
async fn nodes_are_promoted_and_demoted_in_both_directions() {
    let cluster = Cluster::new(1, 2).await.unwrap();
    for index in 1..3 {
        cluster.client(0).set_role(cluster.id(index), "manager").await.unwrap();
        is_manager(&cluster, index, true).await;
    }
    // The leader too: it hands over first.
    let leader = cluster.leader(SOON).await.unwrap();
    cluster.client(leader).set_role(cluster.id(leader), "worker").await.unwrap();
    is_manager(&cluster, leader, false).await;
    let next = cluster.leader(SOON).await.unwrap();
    assert_ne!(next, leader);

    let other = (0..3).find(|index| *index != leader && *index != next).unwrap();
    cluster.client(next).set_role(cluster.id(other), "worker").await.unwrap();
    is_manager(&cluster, other, false).await;

    let node = cluster.client(next).node(cluster.id(next)).await.unwrap();
    let spec = common::engine_api::node::NodeSpec { role: "worker".into(), ..node.spec };
    let refused = cluster.client(next).update_node(&node.id, node.version.index, &spec).await.unwrap();
    assert_eq!(
        (refused.status, refused.message().as_str()),
        (400, "attempting to demote the last manager of the swarm")
    );
    cluster.all_ready(SOON).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_leaves_is_down_and_can_be_removed_and_come_back_as_another() {
    let mut cluster = Cluster::new(1, 1).await.unwrap();
    let old = cluster.id(1).to_owned();
    let live = cluster.client(0).delete(&format!("/nodes/{old}")).await.unwrap();
    assert_eq!(live.status, 400, "{}", live.message());
    assert!(live.message().contains("is not down and can't be removed"), "{}", live.message());

    cluster.client(1).leave(false).await.unwrap();
    cluster.node_state(1, "down", SOON).await.unwrap();
    let gone = cluster.client(0).node(&old).await.unwrap().status;
    assert_eq!(gone.message, "node left the swarm", "it is not waited for as after a stop");
    assert_eq!(cluster.client(1).info().await.unwrap().local_node_state, "inactive");
    cluster.client(0).delete(&format!("/nodes/{old}")).await.unwrap().ok().unwrap();
    assert_eq!(cluster.client(0).nodes().await.unwrap().len(), 1);

    cluster.forget(1);
    cluster.join(1, "worker").await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    assert_ne!(cluster.id(1), old);
}

#[tokio::test]
async fn a_manager_leaves_only_when_that_is_meant() {
    let cluster = Cluster::new(2, 0).await.unwrap();
    let refused = cluster.client(1).post("/swarm/leave", &()).await.unwrap();
    assert_eq!(refused.status, 503);
    assert!(
        refused.message().starts_with("You are attempting to leave the swarm on a node"),
        "{}",
        refused.message()
    );

    cluster.client(0).set_role(cluster.id(1), "worker").await.unwrap();
    cluster
        .wait_until("it knows that it is no manager", SOON, async || match cluster.client(1).info().await {
            Ok(info) if !info.control_available => Ok(()),
            found => Err(format!("{found:?}")),
        })
        .await
        .unwrap();
    cluster.client(1).leave(false).await.unwrap();

    let last = cluster.client(0).post("/swarm/leave", &()).await.unwrap();
    assert!(
        last.message().contains("Removing the last manager erases all current state"),
        "{}",
        last.message()
    );
    cluster.client(0).leave(true).await.unwrap();
    assert_eq!(cluster.client(0).info().await.unwrap().local_node_state, "inactive");
    let gone = cluster.client(0).get("/swarm").await.unwrap();
    assert_eq!(gone.status, 503);
}

#[tokio::test]
async fn a_daemon_keeps_its_cluster_over_a_restart_and_forgets_it_on_leave() {
    let mut cluster = Cluster::new(1, 0).await.unwrap();
    let id = cluster.client(0).swarm().await.unwrap().id;
    cluster.nodes[0].restart().await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    assert_eq!(cluster.client(0).swarm().await.unwrap().id, id);

    cluster.client(0).leave(true).await.unwrap();
    cluster.nodes[0].restart().await.unwrap();
    assert_eq!(cluster.client(0).info().await.unwrap().local_node_state, "inactive");
    cluster.init(0).await.unwrap();
    assert_ne!(cluster.client(0).swarm().await.unwrap().id, id, "another cluster");
}

#[tokio::test]
async fn a_cluster_may_run_on_ipv6() {
    // There is one loopback address of this family, so the nodes differ in their ports: free ones, as far as one
    // can know before using them.
    let free_port = || Some(std::net::UdpSocket::bind("[::1]:0").ok()?.local_addr().ok()?.port());
    let (Some(first), Some(second)) = (free_port(), free_port()) else {
        harness::skip::skipped(
            "a_cluster_may_run_on_ipv6",
            "ipv6",
            "the loopback address ::1 cannot be used",
        );
        return;
    };
    let at =
        |options: &NodeOptions, port: u16| options.clone().at((std::net::Ipv6Addr::LOCALHOST, port).into());
    let options = options(1, 1);
    let options = vec![at(&options[0], first), at(&options[1], second)];
    let cluster = Cluster::with_options(1, options).await.unwrap();
    let nodes = cluster.client(0).nodes().await.unwrap();
    assert!(nodes.iter().all(|node| node.status.addr == "::1"), "{nodes:?}");
}

#[tokio::test]
async fn no_address_is_taken_that_others_could_not_use() {
    let mut cluster = Cluster::of_strangers(options(1, 0)).await.unwrap();
    for bad in ["not-an-address", "192.0.2.77:2377", "127.0.0.1:99999"] {
        let request =
            InitRequest { listen_addr: bad.into(), advertise_addr: bad.into(), ..InitRequest::default() };
        let answer = cluster.client(0).post("/swarm/init", &request).await.unwrap();
        assert!(!answer.is_ok(), "{bad}");
        assert!(!answer.message().is_empty(), "{bad}");
        assert_eq!(cluster.client(0).info().await.unwrap().local_node_state, "inactive", "{bad}");
    }
    cluster.init(0).await.unwrap();
    let again = cluster.client(0).post("/swarm/init", &InitRequest::default()).await.unwrap();
    assert_eq!(again.status, 503);
    assert!(again.message().contains("already part of a swarm"), "{}", again.message());
}
