//! What people type and paste: ids and join tokens, with what is written of them again.

use common::identity::JoinToken;
use common::identity::token::same;
use common::object::{ClusterId, NodeId};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(node) = text.parse::<NodeId>() {
        assert_eq!(node.to_string(), text);
    }
    let _ = text.parse::<ClusterId>();
    if let Ok(token) = JoinToken::parse(text) {
        assert!(same(token.to_secret().reveal(), text));
        token.is_for("root");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let token = "SWMTKN-1-6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof-0123456789abcdefghijklmno";
    vec![token.into(), NodeId(1 << 127).to_string().into(), "not one of them".into()]
}
