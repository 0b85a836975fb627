//! Gossip over the memory transport: what the handle shows of others who come, lead, fall silent and leave.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::gossip::{Identity, MemberState};
use crate::object::cluster::LivenessPreset;
use crate::object::{ClusterId, Role};
use crate::time::SystemClock;
use crate::transport::PeerIdentity;
use crate::transport::memory::Network;

/// Virtual: the clock of these tests is paused and moves by itself.
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    gossip: Gossip,
    peer: Peer,
    tasks: Tasks,
}

fn start(network: &Network, node: u128, generation: u64) -> Node {
    let peer =
        |node: u128| Peer { node: NodeId(node), addr: SocketAddr::from(([10, 0, 0, node as u8], 2377)) };
    let tasks = Tasks::new();
    let identity = PeerIdentity { node: NodeId(node), role: Role::Manager, cluster: ClusterId(1) };
    let (transport, arrivals) = network.join(identity, peer(node).addr, &tasks);
    let start = Start {
        me: Identity::new(NodeId(node), peer(node).addr, generation, node == 1),
        preset: LivenessPreset::Lan,
        contacts: vec![peer(1)],
        seed: node as u64,
    };
    let gossip = Gossip::start(start, transport, arrivals.datagrams, Arc::new(SystemClock), &tasks);
    Node { gossip, peer: peer(node), tasks }
}

/// Waits until `observer` sees the node so.
async fn sees(observer: &Node, node: NodeId, state: MemberState) -> Member {
    let mut changes = observer.gossip.subscribe();
    let seen = async {
        loop {
            match observer.gossip.member(node) {
                Some(member) if member.state == state => return member,
                _ => changes.next().await.expect("gossip runs"),
            };
        }
    };
    timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{node:?} is not {state:?}"))
}

async fn three(network: &Network) -> [Node; 3] {
    let nodes = [start(network, 1, 10), start(network, 2, 20), start(network, 3, 30)];
    for observer in &nodes {
        for other in nodes.iter().filter(|other| other.peer != observer.peer) {
            let member = sees(observer, other.peer.node, MemberState::Alive).await;
            assert_eq!(member.id.peer(), other.peer);
            assert_eq!(member.id.manager, other.peer.node == NodeId(1));
        }
    }
    nodes
}

#[tokio::test(start_paused = true)]
async fn the_silent_is_down_and_back_when_it_is_heard() {
    let network = Network::new(1);
    let [a, b, c] = three(&network).await;
    network.isolate(c.peer.node, true);
    sees(&a, c.peer.node, MemberState::Down).await;
    sees(&b, c.peer.node, MemberState::Down).await;
    let mut generation = c.gossip.generation();
    network.isolate(c.peer.node, false);
    let back = sees(&a, c.peer.node, MemberState::Alive).await;
    assert!(back.id.generation > 30);
    generation.wait_for(|generation| *generation == back.id.generation).await.expect("gossip runs");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_has_left_and_may_start_again() {
    let network = Network::new(2);
    let [a, b, c] = three(&network).await;
    let mut changes = a.gossip.subscribe();
    c.gossip.leave().await;
    c.tasks.stop().await;
    network.kill(c.peer.node);
    sees(&a, c.peer.node, MemberState::Left).await;
    sees(&b, c.peer.node, MemberState::Left).await;
    assert!(
        matches!(changes.next().await, Some(News::Event(Event::Left(member))) if member.id.peer() == c.peer)
    );
    let _again = start(&network, 3, 31);
    assert_eq!(sees(&a, c.peer.node, MemberState::Alive).await.id.generation, 31);
}

#[tokio::test(start_paused = true)]
async fn who_leads_and_what_a_node_is_now_gets_around() {
    let network = Network::new(3);
    let [a, b, c] = three(&network).await;
    b.gossip.announce_leader(7).await.expect("gossip runs");
    let hint = LeaderHint { term: 7, node: b.peer.node, addr: b.peer.addr };
    for node in [&a, &b, &c] {
        let mut leader = node.gossip.leader();
        let heard = leader.wait_for(|leader| *leader == Some(hint));
        timeout(PATIENCE, heard).await.expect("all hear of it").expect("gossip runs");
    }
    let mut changes = a.gossip.subscribe();
    c.gossip.set_manager(true).await.expect("gossip runs");
    let promoted = async {
        loop {
            if let Some(News::Event(Event::Changed { member, before })) = changes.next().await {
                return (member.id.manager, before.manager);
            }
        }
    };
    assert_eq!(timeout(PATIENCE, promoted).await.expect("heard of"), (true, false));
}

#[tokio::test(start_paused = true)]
async fn a_handle_of_stopped_gossip_says_so() {
    let network = Network::new(4);
    let node = start(&network, 1, 1);
    let mut changes = node.gossip.subscribe();
    node.gossip.stop().await;
    assert_eq!(node.gossip.announce_leader(1).await, Err(GossipClosed));
    node.gossip.leave().await;
    drop(node);
    assert_eq!(changes.next().await, None);
}
