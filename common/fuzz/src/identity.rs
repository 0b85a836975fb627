//! Certificates and signing requests, DER and PEM.

use std::sync::LazyLock;
use std::time::Duration;

use common::identity::certificate::certificates_from_pem;
use common::identity::client::{request_from_pem, request_to_pem};
use common::identity::external::certificate_in;
use common::identity::given::{check_certificate, check_pair, public_key};
use common::identity::locked_key::LockedKey;
use common::identity::{
    ClientCertificate, DataKey, NodeCertificate, NodeIdentity, NodeKey, RootAuthority, UnlockKey,
    WrappedDataKey,
};
use common::object::{AccessRole, ClientRecord, ClientSerial, ClusterId, NodeId, Role};
use common::random::SeededRandom;
use common::time::Timestamp;
use common_fuzz::take_byte;

const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);
/// As long as they all are.
const SERIAL: ClientSerial = ClientSerial(1 << 126);

static ROOT: LazyLock<RootAuthority> = LazyLock::new(|| RootAuthority::generate(NOW).expect("a root"));
static KEY: LazyLock<NodeKey> = LazyLock::new(|| NodeKey::generate().expect("a key"));

/// A byte that says which form, and then what a peer shows in its handshake, or what lies in a file.
pub fn certificate(mut data: &[u8]) {
    match take_byte(&mut data) % 9 {
        0 => facts(data),
        1 => pem(&String::from_utf8_lossy(data)),
        2 => {
            let _ = NodeKey::from_pem(&String::from_utf8_lossy(data));
        }
        4 => given_root(&String::from_utf8_lossy(data)),
        5 => drop(certificate_in(data)),
        3 => {
            if let Ok(wrapped) = WrappedDataKey::from_bytes(data) {
                let _ = wrapped.unwrap(&KEY, Some(&unlock_key()));
            }
        }
        6 => {
            if let Ok(locked) = LockedKey::from_bytes(data) {
                let _ = locked.unlock(&unlock_key());
            }
        }
        7 => client_request(&String::from_utf8_lossy(data)),
        _ => drop(UnlockKey::parse(&String::from_utf8_lossy(data))),
    }
}

/// What a certificate says, to the door for nodes and to the one for people. None opens both.
fn facts(der: &[u8]) {
    let (node, client) = (NodeCertificate::from_der(der), ClientCertificate::from_der(der));
    assert!(node.is_err() || client.is_err(), "{node:?} and {client:?}");
}

/// What somebody hands in over the API to get a client's certificate.
fn client_request(pem: &str) {
    let Ok(der) = request_from_pem(pem) else { return };
    let record = client();
    let Ok(pem) = ROOT.sign_client(&der, ClusterId(2), SERIAL, &record) else { return };
    let certificates = certificates_from_pem(&pem).expect("what we sign can be read");
    let facts = ClientCertificate::from_der(&certificates[0]).expect("what we sign names its client");
    assert_eq!((facts.serial, facts.name, facts.role), (SERIAL, record.name, record.role));
}

fn client() -> ClientRecord {
    ClientRecord {
        name: "alice".into(),
        role: AccessRole::Operator,
        issued: NOW,
        expires: NOW.plus(DAY),
        revoked: None,
    }
}

fn unlock_key() -> UnlockKey {
    UnlockKey::generate(&mut SeededRandom::new(1, "unlock key"))
}

fn pem(text: &str) {
    for der in certificates_from_pem(text).unwrap_or_default() {
        let _ = NodeCertificate::from_der(&der);
    }
    let _ = RootAuthority::from_pem(text, ROOT.key_pem().reveal());
    if let Ok(identity) = NodeIdentity::new(text, KEY.clone(), ROOT.certificate_pem()) {
        identity.tls_info();
    }
    if let Ok(identity) = NodeIdentity::new(&issue(), KEY.clone(), text) {
        identity.tls_info();
    }
}

/// What people hand over as the next root.
fn given_root(text: &str) {
    if let Ok(pem) = check_certificate(text, NOW) {
        assert_eq!(check_certificate(&pem, NOW).expect("once taken, always taken"), pem);
        let _ = ROOT.introduce(&pem, NOW, DAY);
    }
    let _ = check_pair(text, text, NOW);
    public_key(text);
}

fn issue() -> String {
    static ISSUED: LazyLock<String> = LazyLock::new(|| {
        let request = KEY.signing_request().expect("a request");
        ROOT.sign(&request, NodeId(1), ClusterId(2), Role::Manager, DAY, NOW).expect("a certificate")
    });
    ISSUED.clone()
}

pub fn certificate_seeds() -> Vec<Vec<u8>> {
    let der = certificates_from_pem(&issue()).expect("our own").remove(0);
    let mut random = SeededRandom::new(1, "data key");
    let data_key = DataKey::generate(&mut random);
    let wrapped = data_key.wrap(1, &KEY, Some(&unlock_key()), &mut random);
    let texts = [issue(), ROOT.certificate_pem().into(), format!("{}{}", issue(), ROOT.certificate_pem())];
    let mut seeds = vec![
        [&[0], &der[..]].concat(),
        [&[2], KEY.to_pem().reveal().as_bytes()].concat(),
        [&[3], wrapped.as_bytes()].concat(),
        [&[6], LockedKey::lock(&KEY, &unlock_key(), 3, &mut random).as_bytes()].concat(),
        [&[7], request_to_pem(&KEY).expect("a request").as_bytes()].concat(),
        [&[8], unlock_key().to_text().reveal().as_bytes()].concat(),
    ];
    let request = KEY.signing_request().expect("a request");
    let client = ROOT.sign_client(&request, ClusterId(2), SERIAL, &client()).expect("a certificate");
    seeds.push([&[0], &certificates_from_pem(&client).expect("our own")[0][..]].concat());
    let root = format!("{}{}", ROOT.certificate_pem(), ROOT.key_pem().reveal());
    seeds.push([&[4], root.as_bytes()].concat());
    let answer = br#"{"success":true,"result":{"certificate":"PEM"},"errors":[{"code":1,"message":"no"}]}"#;
    seeds.push([&[5][..], b"HTTP/1.0 200 OK\r\n\r\n", answer].concat());
    seeds.extend(texts.map(|text| [&[1], text.as_bytes()].concat()));
    seeds
}

/// What anybody with a join token may ask to have signed.
pub fn request(data: &[u8]) {
    let Ok(pem) = ROOT.sign(data, NodeId(1), ClusterId(2), Role::Worker, DAY, NOW) else { return };
    let certificates = certificates_from_pem(&pem).expect("what we sign can be read");
    let facts = NodeCertificate::from_der(&certificates[0]).expect("what we sign names its node");
    assert_eq!((facts.node, facts.cluster, facts.role), (NodeId(1), ClusterId(2), Role::Worker));
}

pub fn request_seeds() -> Vec<Vec<u8>> {
    vec![KEY.signing_request().expect("a request")]
}
