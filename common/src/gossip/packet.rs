//! Gossip datagrams as bytes: a format version, then foca's packet.
//!
//! A packet is a header, a count of member updates and the updates (not in `Broadcast`), and a tail of facts, each
//! with its length. Foca writes most packets; a few are written here, to tell one certain node one certain thing.

use bytes::{Buf, BufMut, Bytes};
use foca::{Codec, Header, Member, Message};

use crate::limits::GOSSIP_DATAGRAM_BYTES_MAX;
use crate::wire::codec::{DecodeError, FORMAT, decode_prefix, encode_into};

use super::identity::{GENERATION_MAX, Identity};

/// The format version in front of every datagram.
pub(super) const FORMAT_BYTES: usize = 1;

#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    #[error("a datagram of {found} bytes; gossip sends at most {GOSSIP_DATAGRAM_BYTES_MAX}")]
    TooLong { found: usize },
    #[error("read a gossip datagram")]
    Decode(#[from] DecodeError),
    #[error("generation {found} is beyond all that a node can reach")]
    Generation { found: u64 },
    #[error("no room for {wanted} bytes more")]
    Full { wanted: usize },
}

/// Puts the format version in front of what foca or `compose` wrote.
pub(super) fn seal(packet: &[u8]) -> Bytes {
    let mut datagram = Vec::with_capacity(FORMAT_BYTES + packet.len());
    datagram.push(FORMAT);
    datagram.extend_from_slice(packet);
    datagram.into()
}

/// Takes the format version off. Returns the header and the whole packet as foca wants it.
pub(super) fn open(datagram: &[u8]) -> Result<(Header<Identity>, &[u8]), PacketError> {
    if datagram.len() > GOSSIP_DATAGRAM_BYTES_MAX {
        return Err(PacketError::TooLong { found: datagram.len() });
    }
    match datagram.split_first() {
        None => Err(DecodeError::Empty.into()),
        Some((&FORMAT, packet)) => Ok((PacketCodec::default().decode_header(packet)?, packet)),
        Some((&found, _)) => Err(DecodeError::Format { found }.into()),
    }
}

/// The members that a packet brings news of. Stops at the first that does not decode, as foca does.
pub(super) fn updates(packet: &[u8]) -> Vec<Identity> {
    let mut rest = packet;
    let mut codec = PacketCodec::default();
    let Ok(header) = codec.decode_header(&mut rest) else { return Vec::new() };
    if header.message == Message::Broadcast || rest.len() < 2 {
        return Vec::new();
    }
    let count = rest.get_u16();
    (0..count).map_while(|_| codec.decode_member(&mut rest).ok()).map(|member| *member.id()).collect()
}

/// Writes a packet of our own. Facts that do not fit are left out; says how many went in.
pub(super) fn compose(
    header: &Header<Identity>,
    updates: &[Member<Identity>],
    facts: &[Vec<u8>],
) -> (Bytes, usize) {
    let mut packet = Vec::new();
    encode_into(&mut packet, header);
    if !matches!(header.message, Message::Broadcast | Message::Announce | Message::TurnUndead) {
        packet.put_u16(u16::try_from(updates.len()).expect("we send a handful at once"));
        for member in updates {
            encode_into(&mut packet, member);
        }
    }
    let mut taken = 0;
    for fact in facts {
        let Ok(length) = u16::try_from(fact.len()) else { break };
        if FORMAT_BYTES + packet.len() + 2 + fact.len() > GOSSIP_DATAGRAM_BYTES_MAX {
            break;
        }
        packet.put_u16(length);
        packet.put_slice(fact);
        taken += 1;
    }
    (seal(&packet), taken)
}

/// How foca writes and reads its parts.
#[derive(Debug, Default)]
pub(super) struct PacketCodec {
    scratch: Vec<u8>,
}

impl PacketCodec {
    /// All of the value or nothing: a part of a member would spoil the packet.
    fn put<T: serde::Serialize>(&mut self, value: &T, mut buffer: impl BufMut) -> Result<(), PacketError> {
        self.scratch.clear();
        encode_into(&mut self.scratch, value);
        if buffer.remaining_mut() < self.scratch.len() {
            return Err(PacketError::Full { wanted: self.scratch.len() });
        }
        buffer.put_slice(&self.scratch);
        Ok(())
    }
}

fn take<T: serde::de::DeserializeOwned>(mut buffer: impl Buf) -> Result<T, PacketError> {
    let (value, used) = decode_prefix(buffer.chunk())?;
    buffer.advance(used);
    Ok(value)
}

fn believable(identity: &Identity) -> Result<(), PacketError> {
    match identity.generation {
        0..=GENERATION_MAX => Ok(()),
        found => Err(PacketError::Generation { found }),
    }
}

impl Codec<Identity> for PacketCodec {
    type Error = PacketError;

    fn encode_header(&mut self, header: &Header<Identity>, buffer: impl BufMut) -> Result<(), PacketError> {
        self.put(header, buffer)
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<Header<Identity>, PacketError> {
        let header: Header<Identity> = take(buffer)?;
        believable(&header.src)?;
        Ok(header)
    }

    fn encode_member(&mut self, member: &Member<Identity>, buffer: impl BufMut) -> Result<(), PacketError> {
        self.put(member, buffer)
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<Member<Identity>, PacketError> {
        let member: Member<Identity> = take(buffer)?;
        believable(member.id())?;
        Ok(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::NodeId;
    use foca::State;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn identity() -> impl Strategy<Value = Identity> {
        (any::<u128>(), any::<SocketAddr>(), 0..=GENERATION_MAX, any::<bool>()).prop_map(
            |(node, addr, generation, manager)| Identity::new(NodeId(node), addr, generation, manager),
        )
    }

    fn message() -> impl Strategy<Value = Message<Identity>> {
        (identity(), any::<u8>(), 0..6u8).prop_map(|(target, probe_number, kind)| match kind {
            0 => Message::Ping(probe_number),
            1 => Message::PingReq { target, probe_number },
            2 => Message::ForwardedAck { origin: target, probe_number },
            3 => Message::Announce,
            4 => Message::Gossip,
            _ => Message::Broadcast,
        })
    }

    proptest! {
        #[test]
        fn what_is_composed_opens_to_the_same(
            src in identity(),
            dst in identity(),
            message in message(),
            members in prop::collection::vec((identity(), any::<u16>()), 0..8),
        ) {
            let header = Header { src, src_incarnation: 7, dst, message };
            let updates_in: Vec<_> = members.iter().map(|(id, incarnation)| Member::new(*id, *incarnation, State::Suspect)).collect();
            let (datagram, _) = compose(&header, &updates_in, &[]);
            let (opened, packet) = open(&datagram).unwrap();
            prop_assert_eq!(&opened, &header);
            let expected: Vec<_> = members.iter().map(|(id, _)| *id).collect();
            let bare = matches!(header.message, Message::Broadcast | Message::Announce);
            prop_assert_eq!(updates(packet), if bare { Vec::new() } else { expected });
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, member in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((_, packet)) = open(&bytes) {
                updates(packet);
            }
            let with_format = [&[FORMAT][..], &bytes].concat();
            if let Ok((_, packet)) = open(&with_format) {
                updates(packet);
            }
            let _ = PacketCodec::default().decode_member(&member[..]);
        }

        #[test]
        fn a_part_of_a_member_is_never_written(id in identity(), room in 0usize..60) {
            let member = Member::alive(id);
            let mut buffer = Vec::new().limit(room);
            let fits = PacketCodec::default().encode_member(&member, &mut buffer).is_ok();
            let written = buffer.into_inner();
            prop_assert_eq!(fits, !written.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let id = Identity::new(NodeId(1), "10.0.0.1:2377".parse().unwrap(), GENERATION_MAX + 1, false);
        let header = Header { src: id, src_incarnation: 0, dst: id, message: Message::Ping(1) };
        assert!(matches!(open(&compose(&header, &[], &[]).0), Err(PacketError::Generation { .. })));
        assert!(matches!(open(&[]), Err(PacketError::Decode(DecodeError::Empty))));
        assert!(matches!(open(&[77, 0, 0]), Err(PacketError::Decode(DecodeError::Format { found: 77 }))));
        let long = vec![FORMAT; GOSSIP_DATAGRAM_BYTES_MAX + 1];
        assert!(matches!(open(&long), Err(PacketError::TooLong { .. })));
    }

    #[test]
    fn a_packet_stays_within_its_bound_whatever_there_is_to_say() {
        let id = Identity::new(NodeId(u128::MAX), "[2001:db8::1]:2377".parse().unwrap(), 1_790_000_000, true);
        let header = Header { src: id, src_incarnation: 0, dst: id, message: Message::Broadcast };
        let (datagram, taken) = compose(&header, &[], &vec![vec![1; 100]; 30]);
        assert!(
            datagram.len() <= GOSSIP_DATAGRAM_BYTES_MAX && taken >= 9,
            "{} bytes, {taken} facts",
            datagram.len()
        );
    }
}
