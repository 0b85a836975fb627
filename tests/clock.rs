//! Wall clocks that are wrong, jump, and run past the end of certificates.

use common::engine_api::swarm::InitRequest;
use common::identity::NodeIdentity;
use harness::cluster::{Cluster, SOON, options};
use harness::faketime::{WallClock, wall_clock};
use harness::loads::{Load, LoadOptions};
use harness::node::NodeOptions;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const RENEWED: &str = "certificate renewed";
const EXPIRED: &str = "Swarm certificates have expired. To replace them, leave the swarm and join again.";

fn load(cluster: &Cluster, managers: usize, seed: u64) -> Load {
    let sockets = cluster.nodes[..managers].iter().map(|node| node.socket()).collect();
    let registers = (0..cluster.nodes.len()).map(|index| cluster.id(index).to_owned()).collect();
    Load::start(LoadOptions::new(sockets, registers, seed))
}

async fn enough_written(cluster: &Cluster, load: &Load, more: usize) {
    let wanted = load.acknowledged() + more;
    let written = async || match load.acknowledged() {
        acknowledged if acknowledged >= wanted => Ok(()),
        acknowledged => Err(format!("{acknowledged} of {wanted}; {}", load.last_failure())),
    };
    cluster.wait_until("writes are acknowledged", SOON, written).await.unwrap();
}

/// How often a line with these words is in the logs of all nodes.
fn said(cluster: &Cluster, words: &[&str]) -> usize {
    let logs = cluster.nodes.iter().map(|node| node.log());
    logs.map(|log| log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()).sum()
}

fn identity_of(cluster: &Cluster, index: usize) -> NodeIdentity {
    cluster.nodes[index].identity().unwrap()
}

#[tokio::test]
async fn clocks_that_jump_while_nodes_run_do_no_harm() {
    let test = "clocks_that_jump_while_nodes_run_do_no_harm";
    let mut clocks = Vec::new();
    for _ in 0..4 {
        let Some(clock) = wall_clock(test) else { return };
        clocks.push(clock);
    }
    let options = options(3, 1).into_iter().zip(&clocks).map(|(options, clock)| clock.of(options)).collect();
    let mut cluster = Cluster::with_options(3, options).await.unwrap();
    let load = load(&cluster, 3, 21);
    let term = cluster.client(0).raft().await.unwrap().term;
    // The leader's, a follower's and a worker's, one at a time and then all at once in different directions.
    let leader = cluster.leader(SOON).await.unwrap();
    for index in [leader, (leader + 1) % 3, 3] {
        for seconds in [HOUR, -HOUR + MINUTE, DAY, 0] {
            clocks[index].set(seconds).unwrap();
            enough_written(&cluster, &load, 50).await;
        }
    }
    for (clock, seconds) in clocks.iter().zip([HOUR, -HOUR + MINUTE, DAY, -10 * MINUTE]) {
        clock.set(seconds).unwrap();
    }
    enough_written(&cluster, &load, 100).await;
    cluster.all_ready(SOON).await.unwrap();
    assert_eq!(said(&cluster, &["node state decided", "ready -> "]), 0, "nobody was missed");
    assert_eq!(said(&cluster, &[RENEWED]), 0, "no certificate was near its end");
    assert_eq!(cluster.client(0).raft().await.unwrap().term, term, "nobody had to fight for the lead");

    // Starts with clocks that disagree, and with clocks that were set right while the node was down.
    for round in 0..2 {
        for (index, clock) in clocks.iter().enumerate() {
            cluster.nodes[index].kill();
            if round == 1 {
                clock.set(0).unwrap();
            }
            cluster.nodes[index].launch().await.unwrap();
            cluster.all_ready(SOON).await.unwrap();
        }
    }
    enough_written(&cluster, &load, 50).await;
    let leader = cluster.leader(SOON).await.unwrap();
    let report = load.finish(&cluster.client(leader)).await.unwrap();
    eprintln!("{report}");
    report.check().unwrap();
}

/// Labels a node through whoever leads; gives the time that the change was written under.
async fn writes(cluster: &Cluster, index: usize, value: &str) -> String {
    let id = cluster.id(index);
    let written = async || {
        let client = cluster.client(cluster.leader(SOON).await.map_err(|error| format!("{error:#}"))?);
        let change = client.change_node(id, |spec| drop(spec.labels.insert("day".into(), value.into())));
        change.await.map_err(|error| format!("{error:#}"))?;
        Ok(client.node(id).await.map_err(|error| format!("{error:#}"))?.updated_at)
    };
    cluster.wait_until("a write is acknowledged", SOON, written).await.unwrap()
}

/// A node whose clock is a day ahead from its first moment on, as founder and as one that joins.
#[tokio::test]
async fn a_node_that_lives_a_day_ahead_joins_and_is_joined() {
    let test = "a_node_that_lives_a_day_ahead_joins_and_is_joined";
    let Some(clock) = wall_clock(test) else { return };
    clock.set(DAY).unwrap();
    let mut nodes = options(3, 1);
    nodes[1] = clock.of(nodes[1].clone());
    nodes[3] = clock.of(nodes[3].clone());
    let mut cluster = Cluster::with_options(3, nodes).await.unwrap();
    // It leads as well as any other: what it writes is of tomorrow, and what comes after it is not of yesterday.
    for _ in 0..10 {
        let leader = cluster.leader(SOON).await.unwrap();
        if leader == 1 {
            break;
        }
        cluster.nodes[leader].restart().await.unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    assert_eq!(cluster.leader(SOON).await.unwrap(), 1, "ten hand-overs came to the others alone");
    let tomorrow = writes(&cluster, 3, "tomorrow").await;
    cluster.nodes[1].stop().await.unwrap();
    let today = writes(&cluster, 3, "today").await;
    assert!(today >= tomorrow, "times never run backwards: {tomorrow}, then {today}");
    cluster.nodes[1].launch().await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
}

#[tokio::test]
async fn a_node_whose_certificate_has_expired_says_so_and_can_join_again() {
    let Some(clock) = wall_clock("a_node_whose_certificate_has_expired_says_so_and_can_join_again") else {
        return;
    };
    let mut nodes = options(1, 1);
    nodes[1] = clock.of(nodes[1].clone());
    let mut cluster = Cluster::with_options(1, nodes).await.unwrap();
    cluster.nodes[1].kill();
    // Past the time for which the key alone would still do.
    clock.set((90 + 365 + 10) * DAY).unwrap();
    cluster.nodes[1].launch().await.unwrap();
    let client = cluster.client(1);
    let info = client.info().await.unwrap();
    assert_eq!((info.local_node_state.as_str(), info.error.as_str()), ("error", EXPIRED));
    assert!(cluster.nodes[1].log().contains(EXPIRED));
    let refused = client.leave(false).await.unwrap_err().to_string();
    assert!(refused.contains("--force"), "{refused}");
    assert!(cluster.nodes[1].state_folder().join("identity.pem").exists(), "nothing is thrown away unasked");
    client.leave(true).await.unwrap();
    assert_eq!(client.info().await.unwrap().local_node_state, "inactive");
    let before = cluster.id(1).to_owned();
    cluster.forget(1);
    clock.set(0).unwrap();
    cluster.join(1, "worker").await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    assert_ne!(cluster.id(1), before);
}

/// All nodes live by one clock, in a cluster whose certificates live for an hour.
async fn short_lived(clock: &WallClock, managers: usize, workers: usize) -> Cluster {
    let nodes = options(managers, workers).into_iter().map(|node: NodeOptions| clock.of(node)).collect();
    let mut cluster = Cluster::of_strangers(nodes).await.unwrap();
    let (listen_addr, advertise_addr) = cluster.nodes[0].listen_and_advertise();
    let mut request = InitRequest { listen_addr, advertise_addr, ..InitRequest::default() };
    request.spec.ca_config.node_cert_expiry = HOUR * 1_000_000_000;
    cluster.init_with(0, &request).await.unwrap();
    for index in 1..managers + workers {
        cluster.join(index, if index < managers { "manager" } else { "worker" }).await.unwrap();
    }
    cluster.all_ready(SOON).await.unwrap();
    cluster
}

#[tokio::test]
async fn certificates_are_renewed_in_time_and_nobody_notices() {
    let Some(clock) = wall_clock("certificates_are_renewed_in_time_and_nobody_notices") else { return };
    let mut cluster = short_lived(&clock, 3, 1).await;
    let load = load(&cluster, 3, 22);
    let term = cluster.client(0).raft().await.unwrap().term;
    // Each jump is past the latest moment at which a certificate is renewed, and short of its end; the second is
    // past the end of the first certificate.
    for minutes in [51, 102] {
        let before: Vec<_> = (0..4).map(|index| identity_of(&cluster, index).not_after).collect();
        clock.set(minutes * MINUTE).unwrap();
        for (index, before) in before.into_iter().enumerate() {
            let what = format!("{} has its next certificate", cluster.nodes[index].name());
            let renewed = async || {
                let after = identity_of(&cluster, index).not_after;
                if after > before { Ok(()) } else { Err(format!("until {after}")) }
            };
            cluster.wait_until(&what, SOON, renewed).await.unwrap();
        }
        enough_written(&cluster, &load, 50).await;
    }
    // A connection ends with the certificate that it was made with; the next one is there before anybody is missed.
    assert_eq!(said(&cluster, &["node state decided", "-> down"]), 0, "nobody was missed");
    assert_eq!(cluster.client(0).raft().await.unwrap().term, term, "the leader kept its lead");
    assert_eq!(said(&cluster, &[RENEWED]), 8, "each was renewed once each time");
    // The new ones are what a start finds, and what others let in.
    for index in 0..4 {
        cluster.nodes[index].kill();
        cluster.nodes[index].launch().await.unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    let leader = cluster.leader(SOON).await.unwrap();
    let report = load.finish(&cluster.client(leader)).await.unwrap();
    eprintln!("{report}");
    report.check().unwrap();
}
