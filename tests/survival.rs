//! Daemons killed at any moment, under load: nothing acknowledged is lost, and whoever returns is who it was.

use std::time::Duration;

use common::engine_api::swarm::InitRequest;
use common::time::{Clock, Monotonic, SystemClock};
use futures_util::future::join_all;
use harness::cluster::{Cluster, SOON};
use harness::loads::{Load, LoadOptions, Report};

const NO_LEADER: &str = "The swarm does not have a leader";

fn now() -> Monotonic {
    SystemClock.monotonic()
}

/// Sixteen clients that write through the first `managers` nodes, with the labels of all nodes as registers.
fn load(cluster: &Cluster, managers: usize, seed: u64) -> Load {
    let sockets = cluster.nodes[..managers].iter().map(|node| node.socket()).collect();
    let registers = (0..cluster.nodes.len()).map(|index| cluster.id(index).to_owned()).collect();
    Load::start(LoadOptions::new(sockets, registers, seed))
}

/// Waits until a write is acknowledged that was asked for after a moment; gives how long that took.
async fn writes_again(cluster: &Cluster, load: &Load, since: Monotonic) -> Duration {
    let first = cluster
        .wait_until("a write is acknowledged", SOON, async || {
            load.first_after(since).ok_or_else(|| load.last_failure())
        })
        .await
        .unwrap();
    first.since(since)
}

/// Waits for `more` acknowledged writes, so that there is something to lose.
async fn enough_written(cluster: &Cluster, load: &Load, more: usize) {
    let wanted = load.acknowledged() + more;
    let written = async || match load.acknowledged() {
        acknowledged if acknowledged >= wanted => Ok(()),
        acknowledged => Err(format!("{acknowledged} of {wanted}; {}", load.last_failure())),
    };
    cluster.wait_until("writes are acknowledged", SOON, written).await.unwrap();
}

async fn finish(cluster: &Cluster, load: Load) -> Report {
    let leader = cluster.leader(SOON).await.unwrap();
    let report = load.finish(&cluster.client(leader)).await.unwrap();
    eprintln!("{report}");
    report.check().unwrap();
    report
}

async fn kill_leaders(managers: usize, times: usize) {
    let mut cluster = Cluster::new(managers, 0).await.unwrap();
    let load = load(&cluster, managers, 1);
    let mut gaps = Vec::new();
    for _ in 0..times {
        let leader = cluster.leader(SOON).await.unwrap();
        enough_written(&cluster, &load, 20).await;
        cluster.nodes[leader].kill();
        gaps.push(writes_again(&cluster, &load, now()).await);
        cluster.nodes[leader].launch().await.unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    gaps.sort();
    eprintln!(
        "leader killed, next write: median {:?}, worst {:?}",
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1]
    );
    let report = finish(&cluster, load).await;
    assert!(report.acknowledged.len() > times * 10, "{report}");
}

#[tokio::test]
async fn the_leader_of_three_is_killed_twenty_times() {
    kill_leaders(3, 20).await;
}

#[tokio::test]
async fn the_leader_of_five_is_killed_twenty_times() {
    kill_leaders(5, 20).await;
}

#[tokio::test]
async fn two_of_five_are_killed_at_once_again_and_again() {
    let mut cluster = Cluster::new(5, 0).await.unwrap();
    let load = load(&cluster, 5, 2);
    for round in 0..5 {
        let leader = cluster.leader(SOON).await.unwrap();
        let other = (leader + 1 + round % 4) % 5;
        for index in [leader, other] {
            cluster.nodes[index].kill();
        }
        writes_again(&cluster, &load, now()).await;
        for index in [leader, other] {
            cluster.nodes[index].launch().await.unwrap();
        }
        cluster.all_ready(SOON).await.unwrap();
    }
    finish(&cluster, load).await;
}

#[tokio::test]
async fn everybody_is_killed_at_once_and_returns_as_themselves() {
    let mut cluster = Cluster::new(3, 2).await.unwrap();
    let before = cluster.client(0).swarm().await.unwrap();
    cluster
        .client(0)
        .change_node(cluster.id(4), |spec| drop(spec.labels.insert("kept".into(), "yes".into())))
        .await
        .unwrap();
    for node in &mut cluster.nodes {
        node.kill();
    }
    join_all(cluster.nodes.iter_mut().map(|node| node.launch()))
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    cluster.all_ready(SOON).await.unwrap();
    let nodes = cluster.client(1).nodes().await.unwrap();
    assert_eq!(nodes.len(), 5, "no node is there twice: {nodes:?}");
    let kept = nodes.iter().find(|node| node.id == cluster.id(4)).unwrap();
    assert_eq!(kept.spec.labels.get("kept").map(String::as_str), Some("yes"));
    let after = cluster.client(2).swarm().await.unwrap();
    assert_eq!((after.id, after.join_tokens), (before.id, before.join_tokens));
}

#[tokio::test]
async fn a_killed_worker_is_down_and_ready_again_when_it_returns() {
    let mut cluster = Cluster::new(1, 1).await.unwrap();
    for _ in 0..3 {
        cluster.nodes[1].kill();
        let killed = now();
        cluster.node_state(1, "down", SOON).await.unwrap();
        eprintln!("worker killed, down: {:?}", now().since(killed));
        cluster.nodes[1].launch().await.unwrap();
        cluster.node_state(1, "ready", SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_leader_that_stops_in_good_order_hands_over() {
    let mut cluster = Cluster::new(3, 0).await.unwrap();
    let load = load(&cluster, 3, 3);
    for _ in 0..3 {
        let leader = cluster.leader(SOON).await.unwrap();
        let asked = now();
        let status = cluster.nodes[leader].stop().await.unwrap();
        assert!(status.success(), "{status}\n{}", cluster.nodes[leader].log_tail());
        eprintln!("leader stopped in {:?}", now().since(asked));
        writes_again(&cluster, &load, now()).await;
        cluster.nodes[leader].launch().await.unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    finish(&cluster, load).await;
}

#[tokio::test]
async fn a_leader_that_loses_its_time_is_replaced_and_steps_down() {
    let cluster = Cluster::new(3, 0).await.unwrap();
    let load = load(&cluster, 3, 4);
    for _ in 0..3 {
        let leader = cluster.leader(SOON).await.unwrap();
        cluster.nodes[leader].pause().unwrap();
        // Clients that had asked the paused one wait for their own deadline; the others go on.
        cluster
            .wait_until("another leader", SOON, async || {
                let others = (0..3).filter(|index| *index != leader);
                for index in others {
                    let nodes = cluster.client(index).within(Duration::from_secs(3)).nodes().await;
                    let nodes = nodes.map_err(|error| format!("{error:#}"))?;
                    let leads = |node: &common::engine_api::node::Node| {
                        node.manager_status.as_ref().is_some_and(|manager| manager.leader)
                            && node.id != cluster.id(leader)
                    };
                    if nodes.iter().any(leads) {
                        return Ok(());
                    }
                }
                Err("none yet".into())
            })
            .await
            .unwrap();
        writes_again(&cluster, &load, now()).await;
        cluster.nodes[leader].resume().unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    finish(&cluster, load).await;
}

#[tokio::test]
async fn a_lost_majority_is_said_and_its_return_is_enough() {
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    let worker = cluster.client(0).node(cluster.id(3)).await.unwrap();
    for index in 1..3 {
        cluster.nodes[index].kill();
    }
    let client = cluster.client(0);
    // The survivor may believe for a moment that it leads; what it says after that has to be the truth, and soon.
    let lost = now();
    let answer = cluster
        .wait_until("the lost majority is said", SOON, async || {
            let answer = client.update_node(&worker.id, worker.version.index, &worker.spec).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.message().contains(NO_LEADER) { Ok(answer) } else { Err(answer.message()) }
        })
        .await
        .unwrap();
    eprintln!("majority lost, said: {:?}", now().since(lost));
    assert_eq!(answer.status, 500);
    let asked = now();
    let read = client.get("/nodes").await.unwrap();
    let took = now().since(asked);
    assert!(!read.is_ok() && read.message().contains(NO_LEADER), "{} {}", read.status, read.message());
    assert!(took < Duration::from_secs(10), "an answer, not a wait: {took:?}");
    assert_eq!(client.nodes_local().await.unwrap().len(), 4, "a read that asks for it gets what is here");

    cluster.nodes[1].launch().await.unwrap();
    let back = now();
    let returned = cluster.client(1);
    cluster
        .wait_until("the one that returned writes", SOON, async || {
            let change =
                returned.change_node(&worker.id, |spec| drop(spec.labels.insert("a".into(), "b".into())));
            change.await.map_err(|error| format!("{error:#}"))
        })
        .await
        .unwrap();
    eprintln!("majority back, well: {:?}", now().since(back));
}

#[tokio::test]
async fn a_survivor_makes_a_new_cluster_of_what_it_holds() {
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    cluster
        .client(1)
        .change_node(cluster.id(3), |spec| drop(spec.labels.insert("kept".into(), "yes".into())))
        .await
        .unwrap();
    let before = cluster.client(0).swarm().await.unwrap();
    for index in 0..2 {
        cluster.nodes[index].kill();
    }
    let addr = cluster.nodes[2].addr().to_string();
    let request = InitRequest {
        listen_addr: addr.clone(),
        advertise_addr: addr,
        force_new_cluster: true,
        ..InitRequest::default()
    };
    cluster.client(2).init(&request).await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    let after = cluster.client(2).swarm().await.unwrap();
    assert_eq!((&after.id, &after.join_tokens), (&before.id, &before.join_tokens));
    let nodes = cluster.client(2).nodes().await.unwrap();
    assert_eq!(nodes.len(), 4);
    assert_eq!(
        cluster.client(2).labels(cluster.id(3)).await.unwrap().get("kept").map(String::as_str),
        Some("yes")
    );
    assert_eq!(cluster.leader(SOON).await.unwrap(), 2);

    // A new manager joins what came of it.
    let added = cluster.add(harness::node::NodeOptions::named("m4")).await.unwrap();
    let manager = after.join_tokens.unwrap().manager;
    cluster.join_with(added, 2, &manager).await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
}
