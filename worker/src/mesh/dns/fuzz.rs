//! What a fuzz program calls: any bytes where a task's question, a resolver's answer or a host's file would be.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use common::object::ports::EndpointMode;
use common::object::{NetworkId, NodeId, ServiceId, Slot, TaskId};
use common::wire::mesh::{MeshAttachment, MeshEndpoint, MeshService};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::message::{Question, Read, read};
use super::resolv;
use crate::mesh::names::{Asker, Known, Zone};

const NETWORK: NetworkId = NetworkId(1);

/// The way of a question: read, looked up, answered in what there is room for, or handed on.
pub fn question(bytes: &[u8]) {
    let question = match read(bytes) {
        Read::Question(question) => question,
        Read::Refused(answer) => {
            return assert!(answer.len() <= bytes.len() + 11, "a refusal is no amplifier");
        }
        Read::Nothing => return,
    };
    let asker = Asker { networks: vec![NETWORK], stack: Some("s".into()), resolvers: Vec::new() };
    if let Some(name) = question.name() {
        let answer = zone().answer(&asker, &name, question.wanted(), bytes.len() as u64);
        for bytes_max in [question.udp_bytes(), usize::MAX] {
            let bytes = question.answer(&answer, bytes_max);
            assert!(bytes.is_none_or(|bytes| !bytes.is_empty() && bytes.len() <= bytes_max));
        }
    }
    let forwarded = question.forwarded(1);
    assert!(matches!(read(&forwarded), Read::Question(_)), "what is handed on can be read");
}

/// What comes back for a question that was handed on.
pub fn answer(bytes: &[u8]) {
    let asked = asked();
    if let Some(relayed) = asked.relayed(9, bytes.to_vec(), 512) {
        assert!(relayed.len() <= 512 && relayed[..2] == [0, 7], "an answer goes to who asked");
    }
}

pub fn resolv_conf(bytes: &[u8]) {
    let host = resolv::resolvers(&String::from_utf8_lossy(bytes));
    let ourselves = (Ipv4Addr::LOCALHOST, 53).into();
    assert!(!resolv::choose(&[], &host, 53, ourselves).contains(&ourselves));
}

pub fn question_seeds() -> Vec<Vec<u8>> {
    #[rustfmt::skip]
    let asked = [
        ("web.", RecordType::A), ("WEB.net.", RecordType::AAAA), ("tasks.web.", RecordType::A), ("2.web.net.", RecordType::A),
        ("_http._tcp.web.", RecordType::SRV), ("9.0.0.10.in-addr.arpa.", RecordType::PTR), ("example.com.", RecordType::HTTPS),
        (".", RecordType::NS), ("web.", RecordType::ANY), ("db.", RecordType::TXT),
    ];
    let plain = asked.iter().map(|(name, kind)| message(name, *kind));
    let mut edns = message("web.", RecordType::A);
    edns.edns = Some(Edns::new());
    plain.chain([edns]).map(|message| message.to_vec().unwrap_or_default()).collect()
}

pub fn answer_seeds() -> Vec<Vec<u8>> {
    let answers = |count| {
        let mut message = message("example.com.", RecordType::A);
        message.metadata.message_type = MessageType::Response;
        message.metadata.id = 9;
        let name = message.queries[0].name.clone();
        let record = Record::from_rdata(name, 300, RData::A(A::new(192, 0, 2, 1)));
        message.answers = vec![record; count];
        message.to_vec().unwrap_or_default()
    };
    [0, 1, 60].map(answers).into()
}

pub fn resolv_conf_seeds() -> Vec<Vec<u8>> {
    [
        "nameserver 127.0.0.1\nnameserver 10.0.0.2\nsearch a.example\noptions ndots:2\n",
        "nameserver fe80::1%eth0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn asked() -> Question {
    let bytes = message("example.com.", RecordType::A).to_vec().unwrap_or_default();
    match read(&bytes) {
        Read::Question(question) => question,
        other => panic!("our own question is one: {other:?}"),
    }
}

fn message(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap_or_default(), kind));
    message
}

fn zone() -> Zone {
    let service = |id, name: &str, mode, vip| MeshService {
        id: ServiceId(id),
        name: name.into(),
        mode,
        ports: Vec::new(),
        networks: vec![MeshAttachment {
            network: NETWORK,
            network_name: "net".into(),
            vip,
            aliases: vec!["www".into(), "a.b".into()],
        }],
    };
    let endpoint = |number: u32| MeshEndpoint {
        task: TaskId(number.into()),
        service: ServiceId(2),
        slot: Slot::Number(number.into()),
        node: NodeId(1),
        addresses: vec![(NETWORK, IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)))],
        leaving: false,
    };
    let web = service(1, "web", EndpointMode::Vip, Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))));
    let db = service(2, "db", EndpointMode::Dnsrr, None);
    let all = [
        Arc::new(Known { service: web, endpoints: Vec::new() }),
        Arc::new(Known { service: db, endpoints: (10..200).map(endpoint).collect() }),
    ];
    let mut zone = Zone::default();
    zone.follow(all.iter());
    zone
}
