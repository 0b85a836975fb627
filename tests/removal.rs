//! Nodes that go: removed ones are refused everywhere and forget the cluster; one that stops says so.

use std::sync::Arc;
use std::time::Duration;

use common::identity::NodeIdentity;
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock};
use common::transport::quic::{QuicSettings, QuicTransport};
use common::transport::{Peer, StreamKind, Transport, TransportError};
use harness::cluster::{Cluster, SOON};
use harness::run;

/// What a manager says of a node that told it before it went.
const STOPPED: &str = "node was stopped, its tasks stay for a moment";

/// A node in the hands of somebody who kept its identity.
struct Ghost {
    transport: Arc<QuicTransport>,
    tasks: Tasks,
}

impl Ghost {
    fn of(identity: NodeIdentity) -> Ghost {
        let tasks = Tasks::new();
        let settings = QuicSettings::new(run::address());
        let (transport, _arrivals) =
            QuicTransport::start(settings, identity, &tasks, Arc::new(SystemClock)).unwrap();
        Ghost { transport, tasks }
    }

    async fn knock(&self, cluster: &Cluster, index: usize) -> Result<(), TransportError> {
        let peer = Peer { node: cluster.id(index).parse().unwrap(), addr: cluster.nodes[index].addr() };
        self.transport.open(peer, StreamKind::Session).await.map(drop)
    }

    /// Waits until a node refuses this one as removed.
    async fn is_refused(&self, cluster: &Cluster, index: usize) {
        let what = format!("{} refuses the removed node", cluster.nodes[index].name());
        cluster
            .wait_until(&what, SOON, async || match self.knock(cluster, index).await {
                Err(TransportError::Removed { .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            })
            .await
            .unwrap();
    }

    async fn end(self) {
        self.transport.stop().await;
        self.tasks.stop().await;
    }
}

fn identity_of(cluster: &Cluster, index: usize) -> NodeIdentity {
    cluster.nodes[index].identity().unwrap()
}

async fn remove(cluster: &Cluster, index: usize, force: bool) {
    let path = format!("/nodes/{}?force={force}", cluster.id(index));
    cluster.client(0).delete(&path).await.unwrap().ok().unwrap();
}

/// Waits until a node has forgotten the cluster: it says so, and nothing of it is on its disk.
async fn has_forgotten(cluster: &Cluster, index: usize) {
    let what = format!("{} forgets the cluster", cluster.nodes[index].name());
    cluster
        .wait_until(&what, SOON, async || {
            let info = cluster.client(index).info().await.map_err(|error| format!("{error:#}"))?;
            let folder = cluster.nodes[index].state_folder();
            let left: Vec<_> = ["node.json", "identity.pem", "raft"]
                .into_iter()
                .filter(|name| folder.join(name).exists())
                .collect();
            match (info.local_node_state.as_str(), left.is_empty()) {
                ("inactive", true) => Ok(()),
                (state, _) => Err(format!("{state}, and there are {left:?}")),
            }
        })
        .await
        .unwrap();
}

/// It joins as a worker once more, and is another node.
async fn joins_as_another(cluster: &mut Cluster, index: usize, members: usize) {
    let before = cluster.id(index).to_owned();
    cluster.forget(index);
    cluster.join(index, "worker").await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    assert_ne!(cluster.id(index), before);
    let nodes = cluster.client(0).nodes().await.unwrap();
    assert!(nodes.len() == members && nodes.iter().all(|node| node.id != before), "{nodes:?}");
}

#[tokio::test]
async fn a_node_removed_while_it_was_down_learns_of_it_and_begins_anew() {
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    cluster.nodes[3].kill();
    cluster.node_state(3, "down", SOON).await.unwrap();
    remove(&cluster, 3, false).await;
    let before = SystemClock.monotonic();
    cluster.nodes[3].launch().await.unwrap();
    has_forgotten(&cluster, 3).await;
    eprintln!("removed while down, forgotten after its start: {:?}", SystemClock.monotonic().since(before));
    assert_eq!(cluster.client(0).nodes().await.unwrap().len(), 3);
    joins_as_another(&mut cluster, 3, 4).await;
}

#[tokio::test]
async fn a_running_node_removed_by_force_stops_at_once_and_begins_anew() {
    let mut cluster = Cluster::new(1, 2).await.unwrap();
    let refused = cluster.client(0).delete(&format!("/nodes/{}", cluster.id(2))).await.unwrap();
    assert_eq!(refused.status, 400, "{}", refused.message());
    let before = SystemClock.monotonic();
    remove(&cluster, 2, true).await;
    has_forgotten(&cluster, 2).await;
    eprintln!("removed while it ran, forgotten: {:?}", SystemClock.monotonic().since(before));
    joins_as_another(&mut cluster, 2, 3).await;
}

#[tokio::test]
async fn the_certificate_of_a_removed_node_opens_no_door_ever_again() {
    let mut cluster = Cluster::new(3, 2).await.unwrap();
    let identity = identity_of(&cluster, 4);
    cluster.nodes[4].kill();
    cluster.node_state(4, "down", SOON).await.unwrap();
    let ghost = Ghost::of(identity.clone());
    for index in 0..4 {
        ghost.knock(&cluster, index).await.unwrap(); // so that what is refused below was open before
    }
    remove(&cluster, 4, false).await;
    let removed = SystemClock.monotonic();
    for index in 0..4 {
        ghost.is_refused(&cluster, index).await;
    }
    eprintln!("removed, refused by all: {:?}", SystemClock.monotonic().since(removed));
    ghost.end().await;

    // What was decided outlives everybody who heard it, and whoever joins later hears it too.
    for node in &mut cluster.nodes[..4] {
        node.kill();
    }
    for node in &mut cluster.nodes[..4] {
        node.launch().await.unwrap();
    }
    cluster.forget(4);
    cluster.all_ready(SOON).await.unwrap();
    let added = cluster.add(harness::node::NodeOptions::named("w3")).await.unwrap();
    cluster.join(added, "worker").await.unwrap();
    let ghost = Ghost::of(identity);
    for index in (0..4).chain([added]) {
        ghost.is_refused(&cluster, index).await;
    }
    ghost.end().await;
}

/// Waits until a node is away because it said so, as another manager sees it.
async fn is_away_by_its_own_word(cluster: &Cluster, index: usize) {
    let id = cluster.id(index);
    let what = format!("{} is away by its own word", cluster.nodes[index].name());
    cluster
        .wait_until(&what, SOON, async || {
            let leader = cluster.leader(SOON).await.map_err(|error| error.to_string())?;
            let node = cluster.client(leader).node(id).await.map_err(|error| format!("{error:#}"))?;
            let status = node.status;
            assert_ne!(status.message, "heartbeat failure", "it told everybody");
            if (status.state.as_str(), status.message.as_str()) == ("disconnected", STOPPED) {
                Ok(())
            } else {
                Err(format!("{}: {}", status.state, status.message))
            }
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_says_so_and_returns_as_itself() {
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    for index in [3, (leader + 1) % 3, leader] {
        let term = cluster.client((index + 1) % 3).raft().await.unwrap().term;
        let status = cluster.nodes[index].stop().await.unwrap();
        assert!(status.success(), "{status}\n{}", cluster.nodes[index].log_tail());
        let gone = SystemClock.monotonic();
        is_away_by_its_own_word(&cluster, index).await;
        let took = SystemClock.monotonic().since(gone);
        eprintln!("{} stopped, away: {took:?}", cluster.nodes[index].name());
        let other = (0..3).find(|other| *other != index).unwrap();
        let after = cluster.client(other).raft().await.unwrap().term;
        let handed_over = u64::from(index == leader);
        assert_eq!(after, term + handed_over, "a lead is handed over, and nobody fights for one");
        cluster.nodes[index].launch().await.unwrap();
        cluster.node_state(index, "ready", SOON).await.unwrap();
    }
    assert!(cluster.client(0).within(Duration::from_secs(10)).nodes().await.unwrap().len() == 4);
}
