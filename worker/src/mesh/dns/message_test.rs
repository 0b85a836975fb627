//! Bytes as askers and resolvers send them.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

/// Room that EDNS takes in an answer.
const EDNS_BYTES: usize = 11;

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, bytes: u16, version: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(bytes).set_version(version).set_dnssec_ok(true);
    message.edns = Some(edns);
    message
}

fn question(message: &Message) -> Question {
    match read(&message.to_vec().unwrap()) {
        Read::Question(question) => question,
        other => panic!("a question: {other:?}"),
    }
}

fn refused(bytes: &[u8]) -> ResponseCode {
    match read(bytes) {
        Read::Refused(answer) => Message::from_vec(&answer).unwrap().metadata.response_code,
        other => panic!("refused: {other:?}"),
    }
}

fn addresses(count: u32) -> Answer {
    Answer::Found((0..count).map(|number| Data::Address(IpAddr::V4(Ipv4Addr::from(number)))).collect())
}

#[test]
fn questions_are_read_in_lower_case() {
    let of = |name: &str, kind| {
        let question = question(&query(name, kind));
        (question.name(), question.wanted())
    };
    assert_eq!(of("WeB.Front.", RecordType::A), (Some("web.front".into()), Wanted::A));
    assert_eq!(of("_http._tcp.web.", RecordType::SRV), (Some("_http._tcp.web".into()), Wanted::Srv));
    assert_eq!(of(".", RecordType::NS), (Some(String::new()), Wanted::Delegation));
    assert_eq!(of("web.", RecordType::HTTPS), (Some("web".into()), Wanted::Other));
    // A dot within a label is no border between two, and what is not text is no name of ours.
    for label in [&b"a.b"[..], b"\xff\x00", b"a b"] {
        let mut message = query("x.", RecordType::A);
        message.queries[0].name = Name::from_labels([label]).unwrap();
        assert_eq!(question(&message).name(), None, "{label:?}");
    }
}

#[test]
fn what_may_not_be_asked_is_refused() {
    let bytes = |message: Message| message.to_vec().unwrap();
    for kind in [RecordType::ANY, RecordType::AXFR, RecordType::IXFR] {
        assert_eq!(refused(&bytes(query("web.", kind))), ResponseCode::Refused, "{kind}");
    }
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(refused(&bytes(chaos)), ResponseCode::Refused);
    let mut update = query("web.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(refused(&bytes(update)), ResponseCode::NotImp);
    let mut two = query("web.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("db.").unwrap(), RecordType::A));
    assert_eq!(refused(&bytes(two)), ResponseCode::FormErr);
    // Its number is that of another code too.
    let version = refused(&bytes(with_edns(query("web.", RecordType::A), 1232, 1)));
    assert_eq!(u16::from(version), u16::from(ResponseCode::BADVERS));
    // Promises of records that do not come.
    let mut many = bytes(query("web.", RecordType::A));
    many[6..12].fill(0xff);
    assert_eq!(refused(&many), ResponseCode::FormErr);
    let mut cut = bytes(query("web.", RecordType::A));
    cut.truncate(15);
    assert_eq!(refused(&cut), ResponseCode::FormErr);
}

#[test]
fn what_is_no_question_is_not_answered() {
    let mut answer = query("web.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    for bytes in [answer.to_vec().unwrap(), vec![], vec![0; 11]] {
        assert!(matches!(read(&bytes), Read::Nothing), "{bytes:?}");
    }
}

#[test]
fn an_answer_is_the_questions_own() {
    let asked = question(&with_edns(query("WEB.", RecordType::A), 4096, 0));
    let answer = Message::from_vec(&asked.answer(&addresses(2), 512).unwrap()).unwrap();
    let metadata = answer.metadata;
    assert_eq!((metadata.id, metadata.message_type), (7, MessageType::Response));
    assert!(metadata.authoritative && metadata.recursion_desired && metadata.recursion_available);
    assert!(!metadata.truncation);
    assert_eq!(answer.queries[0].name.to_ascii(), "WEB.");
    assert_eq!(answer.edns.unwrap().max_payload(), 1232);
    let records: Vec<_> = answer.answers.iter().map(|record| (record.name.to_ascii(), record.ttl)).collect();
    assert_eq!(records, [("WEB.".to_string(), NAME_SECONDS), ("WEB.".into(), NAME_SECONDS)]);

    let plain = question(&query("web.", RecordType::A));
    let code = |answer: &Answer| {
        let answer = Message::from_vec(&plain.answer(answer, 512).unwrap()).unwrap();
        assert!(answer.edns.is_none() && answer.answers.is_empty());
        answer.metadata.response_code
    };
    assert_eq!(code(&Answer::Nothing), ResponseCode::NoError);
    assert_eq!(code(&Answer::NoName), ResponseCode::NXDomain);
    assert!(plain.answer(&Answer::Elsewhere, 512).is_none());
}

#[test]
fn every_kind_of_data_has_its_record() {
    let asked = question(&query("x.", RecordType::SRV));
    let data = vec![
        Data::Address("::1".parse().unwrap()),
        Data::Port { number: 80, target: "1.web.front".into() },
        Data::Name("1.web.Front".into()),
    ];
    let answer = Message::from_vec(&asked.answer(&Answer::Found(data), 512).unwrap()).unwrap();
    let texts: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(texts, ["::1", "0 0 80 1.web.front.", "1.web.Front."]);
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    for (bytes, edns) in [(512, None), (1232, Some(4096)), (600, Some(600)), (512, Some(1))] {
        let asked = match edns {
            Some(bytes) => question(&with_edns(query("web.", RecordType::A), bytes, 0)),
            None => question(&query("web.", RecordType::A)),
        };
        assert_eq!(asked.udp_bytes(), bytes);
        let cut = asked.answer(&addresses(1000), bytes).unwrap();
        let message = Message::from_vec(&cut).unwrap();
        assert!(message.metadata.truncation && cut.len() <= bytes, "{} of {bytes}", cut.len());
        assert!(
            message.answers.len() > (bytes - 60) / 16 * 3 / 4,
            "{} answers in {bytes}",
            message.answers.len()
        );
        assert_eq!(message.edns.is_some(), edns.is_some());
        let whole =
            Message::from_vec(&asked.answer(&addresses(1000), DNS_ANSWER_BYTES_MAX).unwrap()).unwrap();
        assert_eq!((whole.answers.len(), whole.metadata.truncation), (1000, false));
    }
}

#[test]
fn a_question_goes_on_under_another_id_and_comes_back_under_its_own() {
    let asked = question(&with_edns(query("Example.COM.", RecordType::A), 4096, 0));
    let forwarded = Message::from_vec(&asked.forwarded(99)).unwrap();
    assert_eq!((forwarded.metadata.id, forwarded.queries[0].name.to_ascii().as_str()), (99, "Example.COM."));
    let edns = forwarded.edns.clone().unwrap();
    assert!(forwarded.metadata.recursion_desired && edns.flags().dnssec_ok && edns.max_payload() == 1232);

    let answer = |change: &dyn Fn(&mut Message)| {
        let mut message = Message::response(99, OpCode::Query);
        message.add_query(forwarded.queries[0].clone());
        let data = RData::A(A::new(192, 0, 2, 1));
        message.add_answer(Record::from_rdata(forwarded.queries[0].name.clone(), 300, data));
        change(&mut message);
        asked.relayed(99, message.to_vec().unwrap(), 512).map(|bytes| Message::from_vec(&bytes).unwrap())
    };
    let relayed = answer(&|_| ()).unwrap();
    assert_eq!((relayed.metadata.id, relayed.answers[0].ttl), (7, 300));
    let none = answer(&|message| message.metadata.response_code = ResponseCode::NXDomain).unwrap();
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    let long = answer(&|message| {
        let record = message.answers[0].clone();
        message.add_answers((0..100).map(|_| record.clone()));
    });
    let long = long.unwrap();
    assert!(long.metadata.truncation && long.answers.is_empty() && long.metadata.id == 7);
    // Nobody's answer: another id, another question, a question, a resolver that cannot.
    let not_ours: [&dyn Fn(&mut Message); 5] = [
        &|message| message.metadata.id = 98,
        &|message| message.queries[0].name = Name::from_ascii("example.org.").unwrap(),
        &|message| message.queries.clear(),
        &|message| message.metadata.message_type = MessageType::Query,
        &|message| message.metadata.response_code = ResponseCode::Refused,
    ];
    for (number, change) in not_ours.iter().enumerate() {
        assert!(answer(*change).is_none(), "case {number}");
    }
    assert!(asked.relayed(99, vec![0; 5], 512).is_none());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        match read(&bytes) {
            Read::Question(question) => {
                let _ = question.name();
                prop_assert!(question.answer(&addresses(100), question.udp_bytes()).unwrap().len() <= question.udp_bytes());
                prop_assert!(question.relayed(1, bytes.clone(), 512).is_none());
            }
            Read::Refused(answer) => prop_assert!(answer.len() <= bytes.len() + EDNS_BYTES),
            Read::Nothing => {}
        }
    }

    /// A question with one byte of it changed.
    #[test]
    fn nor_does_what_is_nearly_a_question(place in 0..60_usize, byte: u8) {
        let mut bytes = with_edns(query("tasks.web.front.", RecordType::A), 4096, 0).to_vec().unwrap();
        if let Some(there) = bytes.get_mut(place) {
            *there = byte;
        }
        if let Read::Question(question) = read(&bytes) {
            let _ = question.name();
            let _ = question.forwarded(1);
            prop_assert!(question.answer(&addresses(100), 512).unwrap().len() <= 512);
        }
    }
}
