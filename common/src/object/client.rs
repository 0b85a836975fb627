//! Who may use the API from afar: the client certificates on record, and the roles they carry.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::words::words;
use crate::limits::{CLIENT_CERTIFICATES_MAX, CLIENT_NAME_BYTES_MAX};
use crate::random::Random;
use crate::time::Timestamp;

/// What a client may do. A later one may do all that an earlier one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccessRole {
    /// Reads what the cluster holds, its events and its logs; no secret of any kind.
    Viewer,
    /// Changes what runs.
    Operator,
    /// Everything, including what lets others in, and the Docker Engine behind us.
    Admin,
}

impl AccessRole {
    pub const ALL: [AccessRole; 3] = [AccessRole::Viewer, AccessRole::Operator, AccessRole::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            AccessRole::Viewer => "viewer",
            AccessRole::Operator => "operator",
            AccessRole::Admin => "admin",
        }
    }
}

words!(
    AccessRole,
    "role of a client",
    "viewer, operator or admin",
    Viewer = "viewer",
    Operator = "operator",
    Admin = "admin"
);

/// The serial number of a client certificate: random, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientSerial(pub u128);

impl ClientSerial {
    /// The two top bits are 01, so that the number is positive and has the same length in every certificate.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Self(u128::from_be_bytes(bytes) & (u128::MAX >> 1) | 1 << 126)
    }
}

impl fmt::Display for ClientSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a serial number has 32 hexadecimal digits")]
pub struct NotASerial;

impl FromStr for ClientSerial {
    type Err = NotASerial;

    fn from_str(text: &str) -> Result<Self, NotASerial> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or(NotASerial)
    }
}

/// One certificate that was issued to a client. The certificate itself is not kept: only its holder needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    pub name: String,
    pub role: AccessRole,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub revoked: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    Valid,
    Revoked,
    Expired,
}

impl ClientState {
    pub fn as_str(self) -> &'static str {
        match self {
            ClientState::Valid => "valid",
            ClientState::Revoked => "revoked",
            ClientState::Expired => "expired",
        }
    }
}

impl ClientRecord {
    pub fn state(&self, now: Timestamp) -> ClientState {
        match self.revoked {
            Some(_) => ClientState::Revoked,
            None if now > self.expires => ClientState::Expired,
            None => ClientState::Valid,
        }
    }
}

/// All client certificates that were issued and have not been forgotten.
pub type Clients = BTreeMap<ClientSerial, ClientRecord>;

/// Why a client certificate cannot be put on record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientRefusal {
    #[error(
        "invalid client name '{0}': 1 to {CLIENT_NAME_BYTES_MAX} of a-z A-Z 0-9 . _ @ -, the first no sign, and no serial number"
    )]
    Name(String),
    #[error(
        "there are {CLIENT_CERTIFICATES_MAX} client certificates that are valid: revoke those that nobody needs"
    )]
    TooMany,
}

pub fn check_client_name(name: &str) -> Result<(), ClientRefusal> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    let good = name.len() <= CLIENT_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || b"._@-".contains(&byte))
        && name.parse::<ClientSerial>().is_err();
    if good { Ok(()) } else { Err(ClientRefusal::Name(name.chars().take(CLIENT_NAME_BYTES_MAX).collect())) }
}

/// The record with one more certificate. What has expired makes room first, then what was revoked longest ago: a
/// certificate that is not on record is refused all the same.
pub fn with_client(
    clients: &Clients,
    serial: ClientSerial,
    record: ClientRecord,
    now: Timestamp,
) -> Result<Clients, ClientRefusal> {
    check_client_name(&record.name)?;
    let mut next = clients.clone();
    while next.len() >= CLIENT_CERTIFICATES_MAX {
        let dispensable = next
            .iter()
            .filter(|(_, record)| record.state(now) != ClientState::Valid)
            .min_by_key(|(_, record)| (now <= record.expires, record.revoked.unwrap_or(record.expires)));
        let Some((serial, _)) = dispensable else { return Err(ClientRefusal::TooMany) };
        let serial = *serial;
        next.remove(&serial);
    }
    next.insert(serial, record);
    Ok(next)
}

/// The certificates that a serial number or a name means; a name means all that have it and are not revoked.
pub fn find_clients(clients: &Clients, text: &str) -> Vec<ClientSerial> {
    if let Some(serial) = text.parse().ok().filter(|serial| clients.contains_key(serial)) {
        return vec![serial];
    }
    let named = clients.iter().filter(|(_, record)| record.name == text && record.revoked.is_none());
    named.map(|(serial, _)| *serial).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);

    fn record(name: &str, expires: u64, revoked: Option<u64>) -> ClientRecord {
        ClientRecord {
            name: name.into(),
            role: AccessRole::Viewer,
            issued: NOW,
            expires: NOW.plus(Duration::from_secs(expires)),
            revoked: revoked.map(|at| NOW.plus(Duration::from_secs(at))),
        }
    }

    #[test]
    fn a_later_role_may_do_more() {
        assert!(AccessRole::Viewer < AccessRole::Operator && AccessRole::Operator < AccessRole::Admin);
        for role in AccessRole::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("root".parse::<AccessRole>().is_err());
    }

    #[test]
    fn serials_survive_their_text() {
        let mut random = SeededRandom::new(1, "serials");
        for _ in 0..100 {
            let serial = ClientSerial::generate(&mut random);
            assert_eq!(serial.to_string().parse(), Ok(serial));
            assert_eq!(serial.0 >> 126, 1);
        }
        for wrong in ["", "7", "+0000000000000000000000000000007", &"f".repeat(33)] {
            assert_eq!(wrong.parse::<ClientSerial>(), Err(NotASerial), "{wrong}");
        }
    }

    #[test]
    fn names_are_plain() {
        for good in ["alice", "ci-2", "a.b@c", "A_1"] {
            assert_eq!(check_client_name(good), Ok(()), "{good}");
        }
        let (long, serial) = ("x".repeat(65), "a".repeat(32));
        for wrong in ["", "-a", ".a", "a b", "a/b", "ü", "a\n", &long, &serial] {
            assert!(check_client_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_worth_nothing_makes_room() {
        let mut clients: Clients = (0..CLIENT_CERTIFICATES_MAX as u128)
            .map(|number| (ClientSerial(number), record("valid", 100, None)))
            .collect();
        let add = |clients: &Clients| {
            with_client(
                clients,
                ClientSerial(u128::MAX),
                record("new", 100, None),
                NOW.plus(Duration::from_secs(10)),
            )
        };
        assert_eq!(add(&clients), Err(ClientRefusal::TooMany));
        clients.insert(ClientSerial(3), record("revoked", 100, Some(5)));
        let gone = |clients: &Clients, serial| {
            !add(clients).expect("there is room").contains_key(&ClientSerial(serial))
        };
        assert!(gone(&clients, 3));
        clients.insert(ClientSerial(4), record("expired", 5, None));
        assert!(gone(&clients, 4) && !gone(&clients, 3));
        assert_eq!(add(&clients).expect("there is room").len(), CLIENT_CERTIFICATES_MAX);
    }

    #[test]
    fn a_name_means_all_that_have_it() {
        let clients: Clients = [
            (ClientSerial(1), record("alice", 100, None)),
            (ClientSerial(2), record("alice", 100, Some(1))),
            (ClientSerial(3), record("alice", 100, None)),
            (ClientSerial(4), record("bob", 100, None)),
        ]
        .into();
        assert_eq!(find_clients(&clients, "alice"), [ClientSerial(1), ClientSerial(3)]);
        assert_eq!(find_clients(&clients, &ClientSerial(2).to_string()), [ClientSerial(2)]);
        assert!(find_clients(&clients, "ali").is_empty());
    }
}
