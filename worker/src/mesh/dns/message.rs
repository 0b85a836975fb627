//! Questions and answers as bytes.
//!
//! Pure. What a question may be is checked before anything of it is believed: its head first, so that a few bytes that
//! promise thousands of records cost nothing.

use std::net::IpAddr;

use common::limits::{DNS_ANSWER_BYTES_MAX, DNS_UDP_BYTES_MAX};
use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::mesh::names::{Answer, Data, NAME_SECONDS, Wanted};

/// What every resolver takes over UDP.
const PLAIN_BYTES: usize = 512;

/// One question that may be answered.
#[derive(Clone, Debug)]
pub struct Question {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
}

/// What came of some bytes.
#[derive(Debug)]
pub enum Read {
    Question(Question),
    /// Not to be answered by what it asks for: with these bytes instead.
    Refused(Vec<u8>),
    /// No question at all; an answer, say, which must not be answered.
    Nothing,
}

pub fn read(bytes: &[u8]) -> Read {
    let Ok(header) = Header::from_bytes(bytes) else { return Read::Nothing };
    if header.metadata.message_type == MessageType::Response {
        return Read::Nothing;
    }
    let refused = |code| Read::Refused(refusal(&header.metadata, None, None, code));
    if header.metadata.op_code != OpCode::Query {
        return refused(ResponseCode::NotImp);
    }
    let counts = header.counts;
    // At the end may stand EDNS, and a signature that nobody here checks.
    if (counts.queries, counts.answers, counts.authorities) != (1, 0, 0) || counts.additionals > 2 {
        return refused(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(bytes) else { return refused(ResponseCode::FormErr) };
    let Some(query) = message.queries.pop() else { return refused(ResponseCode::FormErr) };
    let question = Question { metadata: message.metadata, query, edns: message.edns };
    let is_for_everything =
        matches!(question.query.query_type, RecordType::ANY | RecordType::AXFR | RecordType::IXFR);
    if question.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Read::Refused(question.refuse(ResponseCode::BADVERS));
    }
    if question.query.query_class != DNSClass::IN || is_for_everything {
        return Read::Refused(question.refuse(ResponseCode::Refused));
    }
    Read::Question(question)
}

impl Question {
    /// The name in lower case, as `names` knows them; none where it cannot be one of the cluster's.
    pub fn name(&self) -> Option<String> {
        let mut name = String::with_capacity(self.query.name.len());
        for label in self.query.name.iter() {
            let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'.' | b'\\');
            if !label.iter().all(is_plain) {
                return None;
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
        Some(name)
    }

    pub fn wanted(&self) -> Wanted {
        match self.query.query_type {
            RecordType::A => Wanted::A,
            RecordType::AAAA => Wanted::Aaaa,
            RecordType::SRV => Wanted::Srv,
            RecordType::PTR => Wanted::Ptr,
            RecordType::NS | RecordType::SOA | RecordType::DS | RecordType::DNSKEY => Wanted::Delegation,
            _ => Wanted::Other,
        }
    }

    /// What the asker takes over UDP, and is given.
    pub fn udp_bytes(&self) -> usize {
        let said = self.edns.as_ref().map_or(PLAIN_BYTES, |edns| usize::from(edns.max_payload()));
        said.clamp(PLAIN_BYTES, DNS_UDP_BYTES_MAX)
    }

    /// The answer in at most so many bytes; none where there is nothing for us to say. One that is cut says so.
    pub fn answer(&self, answer: &Answer, bytes_max: usize) -> Option<Vec<u8>> {
        let (code, data) = match answer {
            Answer::Found(data) => (ResponseCode::NoError, data.as_slice()),
            Answer::Nothing => (ResponseCode::NoError, [].as_slice()),
            Answer::NoName => (ResponseCode::NXDomain, [].as_slice()),
            Answer::Elsewhere => return None,
        };
        let mut message = reply(&self.metadata, Some(&self.query), self.edns.is_some(), code);
        message.metadata.authoritative = true;
        message.answers = data.iter().filter_map(|data| self.record(data)).collect();
        Some(fitting(message, bytes_max))
    }

    pub fn refuse(&self, code: ResponseCode) -> Vec<u8> {
        refusal(&self.metadata, Some(&self.query), self.edns.as_ref(), code)
    }

    /// Nobody could say.
    pub fn failure(&self) -> Vec<u8> {
        self.refuse(ResponseCode::ServFail)
    }

    /// The same question for another resolver, under another id.
    pub fn forwarded(&self, id: u16) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = self.metadata.checking_disabled;
        message.metadata.authentic_data = self.metadata.authentic_data;
        message.queries.push(self.query.clone());
        message.edns = self.edns.as_ref().map(|asked| {
            let mut edns = our_edns();
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        encoded(&message)
    }

    /// The bytes that another resolver sent for `forwarded(id)` as the asker is given them; none where they answer
    /// something else, or say that this resolver cannot.
    pub fn relayed(&self, id: u16, mut bytes: Vec<u8>, bytes_max: usize) -> Option<Vec<u8>> {
        let header = Header::from_bytes(&bytes).ok()?;
        let is_answer = header.metadata.message_type == MessageType::Response && header.metadata.id == id;
        let can = matches!(header.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        if !is_answer || !can || header.counts.queries != 1 || !self.is_about(&bytes) {
            return None;
        }
        if bytes.len() > bytes_max {
            let mut message =
                reply(&self.metadata, Some(&self.query), self.edns.is_some(), ResponseCode::NoError);
            message.metadata.truncation = true;
            return Some(encoded(&message));
        }
        bytes.get_mut(..2)?.copy_from_slice(&self.metadata.id.to_be_bytes());
        Some(bytes)
    }

    /// Whether a whole answer repeats the question.
    fn is_about(&self, bytes: &[u8]) -> bool {
        let mut decoder = BinDecoder::new(bytes);
        let query = Header::read(&mut decoder).and_then(|_| Query::read(&mut decoder));
        query.is_ok_and(|query| query == self.query)
    }

    fn record(&self, data: &Data) -> Option<Record> {
        let data = match data {
            Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
            Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
            Data::Port { number, target } => RData::SRV(SRV::new(0, 0, *number, absolute(target)?)),
            Data::Name(name) => RData::PTR(PTR(absolute(name)?)),
        };
        Some(Record::from_rdata(self.query.name.clone(), NAME_SECONDS, data))
    }
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn our_edns() -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(u16::try_from(DNS_UDP_BYTES_MAX).unwrap_or(u16::MAX));
    edns
}

fn reply(asked: &Metadata, query: Option<&Query>, with_edns: bool, code: ResponseCode) -> Message {
    let mut message = Message::response(asked.id, asked.op_code);
    message.metadata.recursion_desired = asked.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.queries.extend(query.cloned());
    message.edns = with_edns.then(our_edns);
    message
}

fn refusal(asked: &Metadata, query: Option<&Query>, edns: Option<&Edns>, code: ResponseCode) -> Vec<u8> {
    encoded(&reply(asked, query, edns.is_some(), code))
}

/// As many of the answers as fit.
fn fitting(mut message: Message, bytes_max: usize) -> Vec<u8> {
    let bytes_max = bytes_max.min(DNS_ANSWER_BYTES_MAX);
    let mut bytes = encoded(&message);
    if bytes.len() <= bytes_max {
        return bytes;
    }
    message.metadata.truncation = true;
    let mut answers = std::mem::take(&mut message.answers);
    let without = encoded(&message).len();
    while bytes.len() > bytes_max && !answers.is_empty() {
        // They are about equally long.
        let room = bytes_max.saturating_sub(without).saturating_mul(answers.len());
        let kept = room / bytes.len().saturating_sub(without).max(1);
        answers.truncate(kept.min(answers.len() - 1));
        message.answers.clone_from(&answers);
        bytes = encoded(&message);
    }
    bytes
}

/// What we make ourselves can be written; nothing at all is an answer that everybody passes over.
fn encoded(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_default()
}

#[cfg(test)]
#[path = "message_test.rs"]
mod tests;
