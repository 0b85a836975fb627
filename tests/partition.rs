//! Real partitions: hosts in network namespaces whose cables are pulled.

use std::time::Duration;

use common::time::{Clock, SystemClock};
use harness::cluster::{Cluster, SOON};
use harness::loads::{Load, LoadOptions};
use harness::netns;

#[tokio::test]
async fn a_minority_refuses_a_majority_goes_on_and_healing_needs_nobody() {
    let Some(mut hosts) = netns::hosts(6, "a_minority_refuses_a_majority_goes_on_and_healing_needs_nobody")
    else {
        return;
    };
    let cluster = Cluster::with_options(5, hosts.options()).await.unwrap();
    let sockets = cluster.nodes[..5].iter().map(|node| node.socket()).collect();
    let registers = (0..6).map(|index| cluster.id(index).to_owned()).collect();
    let load = Load::start(LoadOptions::new(sockets, registers, 5));
    for round in 0..3 {
        let leader = cluster.leader(SOON).await.unwrap();
        let minority = [leader, (leader + 1 + round) % 5];
        // The worker is with the majority once, and with the minority once.
        let with_majority = |index: &usize| !minority.contains(index) && (*index < 5 || round % 2 == 0);
        let majority: Vec<usize> = (0..6).filter(with_majority).collect();
        let minority: Vec<usize> = (0..6).filter(|index| !majority.contains(index)).collect();
        hosts.partition(&[&majority, &minority]).unwrap();
        let parted = SystemClock.monotonic();

        let outvoted = cluster.client(leader).within(Duration::from_secs(10));
        cluster
            .wait_until("the minority refuses", SOON, async || {
                let read = outvoted.get("/nodes").await.map_err(|error| error.to_string())?;
                if read.is_ok() { Err("it answers".into()) } else { Ok(()) }
            })
            .await
            .unwrap();
        let goes_on = cluster.client(majority[0]).within(Duration::from_secs(10));
        cluster
            .wait_until("the majority goes on", SOON, async || {
                let change = goes_on.change_node(cluster.id(majority[0]), |spec| {
                    spec.labels.insert("round".into(), round.to_string());
                });
                change.await.map_err(|error| format!("{error:#}"))
            })
            .await
            .unwrap();
        eprintln!("parted, and the majority writes: {:?}", SystemClock.monotonic().since(parted));
        for index in &minority {
            let what = format!("{} is down for the majority", cluster.nodes[*index].name());
            cluster
                .wait_until(&what, SOON, async || {
                    let node =
                        goes_on.node(cluster.id(*index)).await.map_err(|error| format!("{error:#}"))?;
                    if node.status.state == "down" { Ok(()) } else { Err(node.status.state) }
                })
                .await
                .unwrap();
        }

        hosts.heal().unwrap();
        cluster.all_ready(SOON).await.unwrap();
        let label = cluster.client(leader).labels(cluster.id(majority[0])).await.unwrap();
        assert_eq!(
            label.get("round"),
            Some(&round.to_string()),
            "the outvoted one has what the majority wrote"
        );
    }
    let report = load.finish(&cluster.client(0)).await.unwrap();
    eprintln!("{report}");
    report.check().unwrap();
}

#[tokio::test]
async fn a_worker_whose_cable_is_pulled_is_down_and_returns_by_itself() {
    let Some(hosts) = netns::hosts(2, "a_worker_whose_cable_is_pulled_is_down_and_returns_by_itself") else {
        return;
    };
    let cluster = Cluster::with_options(1, hosts.options()).await.unwrap();
    for _ in 0..3 {
        let pulled = SystemClock.monotonic();
        hosts.cut(1).unwrap();
        cluster.node_state(1, "down", SOON).await.unwrap();
        eprintln!("cable pulled, down: {:?}", SystemClock.monotonic().since(pulled));
        hosts.plug(1).unwrap();
        cluster.node_state(1, "ready", SOON).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_hears_anybody_for_a_while() {
    let Some(mut hosts) = netns::hosts(4, "nobody_hears_anybody_for_a_while") else { return };
    let cluster = Cluster::with_options(3, hosts.options()).await.unwrap();
    hosts.partition(&[]).unwrap();
    for index in 0..3 {
        let client = cluster.client(index);
        cluster
            .wait_until("no manager has a majority", SOON, async || {
                let read = client.get("/nodes").await.map_err(|error| error.to_string())?;
                if read.is_ok() { Err("it answers".into()) } else { Ok(()) }
            })
            .await
            .unwrap();
    }
    hosts.heal().unwrap();
    cluster.all_ready(SOON).await.unwrap();
}
