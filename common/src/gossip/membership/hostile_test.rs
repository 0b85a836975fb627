//! What others may send: nothing breaks us, and nothing grows without bound.

use foca::{Header, Member as Update, State};
use proptest::prelude::*;

use super::*;
use crate::gossip::facts::Listed;

const ME: u128 = 1;

fn id(node: u128) -> Identity {
    Identity::new(NodeId(node), SocketAddr::from(([10, 0, 0, node as u8], 2377)), 5, false)
}

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn membership() -> Membership {
    let start = Start { me: id(ME), preset: LivenessPreset::Lan, contacts: Vec::new(), seed: 1 };
    Membership::new(start, at(0))
}

fn packet(src: u128, message: Message<Identity>, updates: &[Update<Identity>], facts: &[Fact]) -> Bytes {
    let header = Header { src: id(src), src_incarnation: 0, dst: id(ME), message };
    let facts: Vec<_> = facts.iter().map(|fact| fact.encode()).collect();
    packet::compose(&header, updates, &facts).0
}

fn hear(membership: &mut Membership, from: u128, datagram: &[u8]) {
    membership.datagram(at(1), NodeId(from), Role::Worker, datagram);
}

fn sends(membership: &mut Membership) -> usize {
    std::iter::from_fn(|| membership.next_send()).count()
}

#[test]
fn nobody_speaks_for_somebody_else() {
    let mut membership = membership();
    hear(&mut membership, 3, &packet(2, Message::Announce, &[], &[]));
    hear(&mut membership, ME, &packet(ME, Message::Announce, &[], &[]));
    assert_eq!((membership.counters().foreign, membership.members().count()), (2, 0));
    assert_eq!(sends(&mut membership), 0);
    hear(&mut membership, 2, &packet(2, Message::Announce, &[], &[]));
    assert_eq!(membership.members().count(), 1);
}

#[test]
fn the_denied_are_not_heard() {
    let mut membership = membership();
    hear(&mut membership, 2, &packet(2, Message::Announce, &[], &[]));
    membership.deny(at(2), Denied { node: NodeId(2), until: crate::time::Timestamp(9) });
    assert_eq!(membership.members().count(), 0);
    hear(&mut membership, 2, &packet(2, Message::Announce, &[], &[]));
    let alive = Update::new(Identity { generation: 9, ..id(2) }, 0, State::Alive);
    hear(&mut membership, 3, &packet(3, Message::Gossip, &[alive], &[]));
    let members: Vec<_> = membership.members().map(|member| member.id.node).collect();
    assert_eq!((membership.counters().from_denied, members), (1, vec![NodeId(3)]));
}

#[test]
fn the_list_of_members_is_bounded() {
    let mut membership = membership();
    let mut next = 100;
    for _ in 0..GOSSIP_MEMBERS_MAX / 18 + 100 {
        let members: Vec<_> =
            (next..next + 18).map(|node| Listed { id: id(node), incarnation: 0, active: true }).collect();
        next += 18;
        hear(&mut membership, 2, &packet(2, Message::Broadcast, &[], &[Fact::Members(members)]));
    }
    for node in next..next + 100 {
        hear(&mut membership, node, &packet(node, Message::Announce, &[], &[]));
        let update = Update::new(id(node + 1_000), 0, State::Alive);
        hear(&mut membership, 2, &packet(2, Message::Gossip, &[update], &[]));
    }
    assert!(membership.members().count() <= GOSSIP_MEMBERS_MAX);
    assert!(membership.counters().over_full > 0);
}

#[test]
fn after_the_goodbye_nothing_is_answered() {
    let mut membership = membership();
    hear(&mut membership, 2, &packet(2, Message::Announce, &[], &[]));
    membership.leave(at(2));
    assert!(sends(&mut membership) > 0);
    hear(&mut membership, 2, &packet(2, Message::TurnUndead, &[], &[]));
    hear(&mut membership, 2, &packet(2, Message::Announce, &[], &[]));
    membership.lead(at(3), 1);
    membership.meet(at(3), [id(3).peer()]);
    assert_eq!(sends(&mut membership), 0);
    while let Some(deadline) = membership.deadline() {
        membership.tick(deadline);
    }
    assert!(membership.has_left());
    sends(&mut membership);
    hear(&mut membership, 2, &packet(2, Message::TurnUndead, &[], &[]));
    assert_eq!((sends(&mut membership), membership.deadline(), membership.me().generation), (0, None, 5));
}

#[test]
fn one_alone_sleeps() {
    let mut membership = membership();
    let deadline = membership.deadline().expect("it looks for others once");
    membership.tick(deadline);
    assert_eq!((membership.deadline(), sends(&mut membership)), (None, 0));
}

fn fact() -> impl Strategy<Value = Fact> {
    let node = || (0u128..6).prop_map(NodeId);
    let hint = (any::<u64>(), node(), any::<SocketAddr>());
    prop_oneof![
        (hint, any::<u64>()).prop_map(|((term, node, addr), sequence)| Fact::Leader {
            hint: LeaderHint { term, node, addr },
            sequence
        }),
        (node(), any::<u64>()).prop_map(|(node, generation)| Fact::Left { node, generation }),
        (node(), any::<u64>()).prop_map(|(node, generation)| Fact::Outlived { node, generation }),
        (node(), any::<u16>(), any::<bool>()).prop_map(|(node, incarnation, active)| Fact::Members(vec![
            Listed { id: id(node.0), incarnation, active }
        ])),
    ]
}

fn update() -> impl Strategy<Value = Update<Identity>> {
    let state = prop::sample::select(vec![State::Alive, State::Suspect, State::Down]);
    (0u128..6, 0u64..8, any::<u16>(), state).prop_map(|(node, generation, incarnation, state)| {
        Update::new(Identity { generation, ..id(node) }, incarnation, state)
    })
}

fn message() -> impl Strategy<Value = Message<Identity>> {
    let target = 0u128..6;
    (target, any::<u8>(), 0..10u8).prop_map(|(target, probe_number, kind)| match kind {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq { target: id(target), probe_number },
        3 => Message::IndirectPing { origin: id(target), probe_number },
        4 => Message::IndirectAck { target: id(target), probe_number },
        5 => Message::ForwardedAck { origin: id(target), probe_number },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::TurnUndead,
        _ => Message::Gossip,
    })
}

proptest! {
    /// Well-formed lies, and the same with a bent byte: no panic, and time goes on.
    #[test]
    fn no_datagram_breaks_us(
        datagrams in prop::collection::vec(
            (2u128..6, message(), prop::collection::vec(update(), 0..4), prop::collection::vec(fact(), 0..3), any::<Option<(prop::sample::Index, u8)>>()),
            1..40,
        ),
    ) {
        let mut membership = membership();
        for (step, (src, message, updates, facts, bent)) in datagrams.into_iter().enumerate() {
            let mut datagram = packet(src, message, &updates, &facts).to_vec();
            if let Some((place, byte)) = bent {
                let place = place.index(datagram.len());
                datagram[place] ^= byte;
            }
            let now = at(step as u64 * 70);
            membership.datagram(now, NodeId(src), Role::Worker, &datagram);
            membership.tick(now);
            sends(&mut membership);
            prop_assert_eq!(membership.me().node, NodeId(ME));
            prop_assert!(membership.members().all(|member| member.id.node != NodeId(ME)));
            prop_assert!(membership.deadline().is_none_or(|deadline| deadline > now));
        }
        prop_assert_eq!(membership.counters().misuse, 0);
    }
}
