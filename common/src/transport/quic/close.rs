//! Why connections end: codes and texts that both ends know.

use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::limits::CLOSE_REASON_BYTES_MAX;
use crate::object::NodeId;
use crate::transport::{Peer, TransportError};

/// The reasons this program closes a connection for. The text travels with the code, for older peers and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    GoingAway = 1,
    Removed = 2,
    WrongCluster = 3,
    Expired = 4,
    Idle = 5,
    /// Another connection to the same node does its work.
    Replaced = 6,
    Busy = 7,
    CertificateNeeded = 8,
    /// We sent, and for too long nothing came back.
    Unresponsive = 9,
    /// The far end has our own id.
    Duplicate = 10,
    /// Our certificate says something else now; the next connection shows it.
    Renewed = 11,
    /// The far end broke the rules of this protocol.
    Protocol = 12,
}

impl Close {
    const ALL: [Close; 12] = [
        Close::GoingAway,
        Close::Removed,
        Close::WrongCluster,
        Close::Expired,
        Close::Idle,
        Close::Replaced,
        Close::Busy,
        Close::CertificateNeeded,
        Close::Unresponsive,
        Close::Duplicate,
        Close::Renewed,
        Close::Protocol,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Close::GoingAway => "the node is stopping",
            Close::Removed => "the node was removed from the cluster",
            Close::WrongCluster => "the certificate is of another cluster",
            Close::Expired => "the certificate has expired",
            Close::Idle => "the connection was idle",
            Close::Replaced => "another connection replaced this one",
            Close::Busy => "too many connections",
            Close::CertificateNeeded => "a certificate is needed",
            Close::Unresponsive => "no answer on this connection",
            Close::Duplicate => "another node has the same id",
            Close::Renewed => "the certificate changed",
            Close::Protocol => "the protocol was not followed",
        }
    }

    /// Whether it is a verdict on who we are, and not on the moment.
    fn is_refusal(self) -> bool {
        match self {
            Close::Removed
            | Close::WrongCluster
            | Close::Expired
            | Close::CertificateNeeded
            | Close::Duplicate
            | Close::Protocol => true,
            Close::GoingAway
            | Close::Idle
            | Close::Replaced
            | Close::Busy
            | Close::Unresponsive
            | Close::Renewed => false,
        }
    }

    pub fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    pub fn from_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|close| close.code() == code)
    }

    pub fn apply(self, connection: &quinn::Connection) {
        connection.close(self.code(), self.text().as_bytes());
    }
}

/// What a failed or lost connection means to who wanted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The far end does not want us, whenever we come.
    Refused(String),
    /// The far end says that we are not of the cluster any more.
    Removed,
    /// The far end is another node.
    WrongNode(NodeId),
    /// What the far end shows is not good, or not now.
    NotTrusted(String),
    /// Not now.
    Unreachable(String),
}

impl Lost {
    pub fn into_error(self, peer: Peer) -> TransportError {
        let Peer { node, addr } = peer;
        match self {
            Lost::Refused(reason) => TransportError::Refused { node, addr, reason },
            Lost::Removed => TransportError::Removed { node, addr },
            Lost::WrongNode(found) => TransportError::WrongNode { expected: node, found, addr },
            Lost::Unreachable(reason) | Lost::NotTrusted(reason) => {
                TransportError::Unreachable { node, addr, reason }
            }
        }
    }
}

/// How the TLS check of the far end says that it found another node: our own text, in our own error.
const WRONG_NODE: &str = "the certificate is of node ";

pub fn wrong_node(found: NodeId) -> String {
    format!("{WRONG_NODE}{found}")
}

pub fn explain(error: &ConnectionError) -> Lost {
    match error {
        ConnectionError::ApplicationClosed(frame) => {
            let text = shown(&frame.reason);
            match Close::from_code(frame.error_code) {
                Some(Close::Removed) => Lost::Removed,
                Some(close) if close.is_refusal() => Lost::Refused(text),
                _ => Lost::Unreachable(text),
            }
        }
        ConnectionError::ConnectionClosed(frame) => match refused_by_tls(frame.error_code) {
            Some(text) => Lost::Refused(text.into()),
            None if frame.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                Lost::Unreachable(Close::Busy.text().into())
            }
            None => Lost::Unreachable(format!("it closed the connection: {}", frame.error_code)),
        },
        ConnectionError::TransportError(error) => match found_node(&error.reason) {
            Some(node) => Lost::WrongNode(node),
            None if is_tls(error.code) => Lost::NotTrusted(error.reason.clone()),
            None => Lost::Unreachable(error.reason.clone()),
        },
        ConnectionError::TimedOut => Lost::Unreachable("no answer".into()),
        ConnectionError::Reset => Lost::Unreachable("it has restarted".into()),
        ConnectionError::VersionMismatch
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Lost::Unreachable(error.to_string()),
    }
}

/// TLS alerts with which the far end answers a certificate that it does not take.
fn refused_by_tls(code: TransportErrorCode) -> Option<&'static str> {
    let alert = u64::from(code).checked_sub(0x100)?;
    match alert {
        45 => Some(Close::Expired.text()),
        42 | 43 | 44 | 46 | 48 | 49 | 51 => Some(Close::WrongCluster.text()),
        116 => Some(Close::CertificateNeeded.text()),
        0..=0xff => Some("the handshake failed"),
        _ => None,
    }
}

/// Whether a code stands for an alert of TLS.
fn is_tls(code: TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

fn found_node(reason: &str) -> Option<NodeId> {
    let start = reason.find(WRONG_NODE)? + WRONG_NODE.len();
    reason.get(start..)?.get(..crate::object::id::ID_LENGTH)?.parse().ok()
}

/// A peer's text, cut to what a line can hold and without characters that move a terminal's cursor.
fn shown(reason: &[u8]) -> String {
    let reason = &reason[..reason.len().min(CLOSE_REASON_BYTES_MAX)];
    let text: String = String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).collect();
    if text.is_empty() { "it closed the connection".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::ApplicationClose;

    fn closed(code: u32, reason: &[u8]) -> ConnectionError {
        ConnectionError::ApplicationClosed(ApplicationClose {
            error_code: VarInt::from_u32(code),
            reason: reason.to_vec().into(),
        })
    }

    #[test]
    fn every_reason_survives_the_wire() {
        for close in Close::ALL {
            assert_eq!(Close::from_code(close.code()), Some(close));
            let text = close.text().to_string();
            let expected = match close {
                Close::Removed => Lost::Removed,
                close if close.is_refusal() => Lost::Refused(text),
                _ => Lost::Unreachable(text),
            };
            assert_eq!(explain(&closed(close as u32, close.text().as_bytes())), expected);
        }
    }

    #[test]
    fn a_strange_reason_is_shown_harmlessly() {
        let long = [b"\x1b[2J\xff".to_vec(), vec![b'a'; 5000]].concat();
        let Lost::Unreachable(text) = explain(&closed(77, &long)) else { panic!("not a refusal") };
        assert!(text.len() <= CLOSE_REASON_BYTES_MAX + 3 && !text.contains('\x1b'), "{text}");
        assert_eq!(explain(&closed(77, b"")), Lost::Unreachable("it closed the connection".into()));
    }

    #[test]
    fn the_node_found_is_read_from_our_own_text() {
        let text = format!("unexpected error: {}", wrong_node(NodeId(77)));
        assert_eq!(found_node(&text), Some(NodeId(77)));
        assert_eq!(found_node("the certificate is of node ä"), None);
        assert_eq!(found_node(""), None);
    }
}
