//! Gossip from nodes that are who they say, and say what they like.
//!
//! The input is a list of steps: what happens (u8), a number (u8), a length (u16) and that many bytes of a datagram.

use std::time::Duration;

use common::gossip::{Denied, Identity, Membership, Start};
use common::limits::{GOSSIP_DATAGRAM_BYTES_MAX, GOSSIP_MEMBERS_MAX};
use common::object::{LivenessPreset, NodeId, Role};
use common::time::{Monotonic, Timestamp};
use common::transport::Peer;
use common_fuzz::take_byte;

const STEPS_MAX: usize = 64;
const SENDS_PER_STEP_MAX: usize = 10_000;
const TICKS_PER_STEP_MAX: usize = 10_000;

const DATAGRAM: u8 = 0;
const TICK: u8 = 2;

pub fn run(mut data: &[u8]) {
    let mut now = Monotonic::default();
    let mut membership = node(1, now);
    for _ in 0..STEPS_MAX {
        if data.is_empty() {
            break;
        }
        let (step, number) = (take_byte(&mut data), take_byte(&mut data));
        let length = u16::from_be_bytes([take_byte(&mut data), take_byte(&mut data)]);
        let (datagram, rest) = data.split_at(data.len().min(length.into()));
        data = rest;
        let from = NodeId(number.into());
        match step % 8 {
            DATAGRAM => membership.datagram(now, from, Role::Worker, datagram),
            1 => membership.datagram(now, from, Role::Manager, datagram),
            TICK => now = now.plus(Duration::from_millis(u64::from(number) * 10)),
            3 => membership.lead(now, number.into()),
            4 => membership.deny(now, Denied { node: from, until: Timestamp(u64::from(number) << 56) }),
            5 => membership.change(now, number % 2 == 0, address(number)),
            6 => membership.meet(now, [Peer { node: from, addr: address(number) }]),
            _ if number == 0 => membership.leave(now),
            _ => membership.stop_leading(),
        }
        settle(&mut membership, now);
    }
}

/// Fires what is due and takes out what there is to do for the shell.
fn settle(membership: &mut Membership, now: Monotonic) {
    let mut ticks = 0;
    while membership.deadline().is_some_and(|deadline| deadline <= now) {
        membership.tick(now);
        ticks += 1;
        assert!(ticks < TICKS_PER_STEP_MAX, "what is due gets done");
    }
    let mut sends = 0;
    while let Some((_, datagram)) = membership.next_send() {
        assert!(datagram.len() <= GOSSIP_DATAGRAM_BYTES_MAX, "{} bytes in a datagram", datagram.len());
        sends += 1;
    }
    assert!(sends < SENDS_PER_STEP_MAX, "{sends} datagrams at once");
    while membership.next_event().is_some() {}
    while membership.next_touched().is_some() {}
    assert!(membership.members().count() <= GOSSIP_MEMBERS_MAX);
    assert_eq!(membership.counters().misuse, 0, "nobody makes us misuse the protocol");
}

fn address(number: u8) -> std::net::SocketAddr {
    ([10, 0, 0, number], 2377).into()
}

fn node(number: u8, now: Monotonic) -> Membership {
    let me = Identity::new(NodeId(number.into()), address(number), 5, number == 2);
    let contacts = (1..4).map(|other| Peer { node: NodeId(other.into()), addr: address(other) }).collect();
    Membership::new(Start { me, preset: LivenessPreset::Lan, contacts, seed: number.into() }, now)
}

/// What node 1 hears in the first seconds of a small cluster.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut now = Monotonic::default();
    let mut nodes: Vec<Membership> = (1..4).map(|number| node(number, now)).collect();
    nodes[1].lead(now, 3);
    let mut steps: Vec<Vec<u8>> = Vec::new();
    for round in 0..200 {
        now = now.plus(Duration::from_millis(10));
        steps.push(vec![TICK, 1, 0, 0]);
        if round == 100 {
            nodes[1].deny(now, Denied { node: NodeId(9), until: Timestamp(u64::MAX) });
        }
        if round == 150 {
            nodes[2].leave(now);
        }
        for sender in 0..nodes.len() {
            if nodes[sender].deadline().is_some_and(|deadline| deadline <= now) {
                nodes[sender].tick(now);
            }
            while let Some((peer, datagram)) = nodes[sender].next_send() {
                let (from, to) = (nodes[sender].me().node, peer.node.0 as usize);
                if to == 1 {
                    let length = u16::try_from(datagram.len()).expect("datagrams are short");
                    let head = [u8::from(sender == 1), from.0 as u8];
                    steps.push([&head[..], &length.to_be_bytes(), &datagram].concat());
                }
                if let Some(receiver) = to.checked_sub(1).and_then(|index| nodes.get_mut(index)) {
                    let role = if sender == 1 { Role::Manager } else { Role::Worker };
                    receiver.datagram(now, from, role, &datagram);
                }
            }
        }
    }
    // Each few steps are a seed: short ones are easier to change.
    steps.chunks(20).map(<[_]>::concat).collect()
}
