//! Where tasks may go: constraints and preferences as parsed types.
//!
//! A constraint is `key op value`. Docker's operators are `==` and `!=`; ours beside them are `=~` and `!~` with a
//! pattern of `*` and `?`, and `in (a, b)` and `not in (a, b)`. Comparing knows no case.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Node;
use super::node::Platform;

/// Where the tasks of a service may go and how they spread. Kept as people wrote it: what is shown is what was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Each holds or the node is out; read by `Constraint::parse`.
    pub constraints: Vec<String>,
    /// `node.labels.K` or `engine.labels.K`, outermost first: spread over the values of each.
    pub spread_over: Vec<String>,
    /// Tasks of the service on one node; 0 means any number.
    pub replicas_max_per_node: u64,
    /// Any of these; none means all. Empty members mean any.
    pub platforms: Vec<Platform>,
}

/// What a node has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Constraint {
    /// As it was written.
    text: Box<str>,
    subject: Subject,
    /// Whether none of `values` may be the node's, instead of one of them having to.
    negated: bool,
    values: Vec<Value>,
}

/// Why a text is not a constraint, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("invalid expr: {0}")]
    Expression(String),
    #[error("key '{0}' is invalid")]
    Key(String),
    #[error("value '{0}' is invalid")]
    Value(String),
    #[error("constraint expected one operator from ==, !=")]
    Operator,
}

/// What of a node is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    Id,
    Hostname,
    Address,
    Role,
    Os,
    Architecture,
    NodeLabel(Box<str>),
    EngineLabel(Box<str>),
    /// Nothing that a node has: no node matches, whatever the operator.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Word(Box<str>),
    Pattern(Box<str>),
}

impl Constraint {
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        // Docker's two first, wherever they stand: what it takes means here what it means there.
        for (operator, negated, is_pattern) in
            [("==", false, false), ("!=", true, false), ("=~", false, true), ("!~", true, true)]
        {
            if let Some((key, value)) = text.split_once(operator) {
                let subject = Subject::parse(key)?;
                let value = checked(value)?;
                let value = if is_pattern { Value::Pattern(value) } else { Value::Word(value) };
                return Ok(Self { text: text.trim().into(), subject, negated, values: vec![value] });
            }
        }
        let (left, list) = text.split_once(" in ").ok_or(ConstraintError::Operator)?;
        let (key, negated) = match left.trim_end().strip_suffix(" not") {
            Some(key) => (key, true),
            None => (left, false),
        };
        let subject = Subject::parse(key)?;
        let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
        let list = list.ok_or_else(|| ConstraintError::Expression(text.into()))?;
        let values = list.split(',').map(|value| checked(value).map(Value::Word));
        Ok(Self { text: text.trim().into(), subject, negated, values: values.collect::<Result<_, _>>()? })
    }

    pub fn matches(&self, node: &Node) -> bool {
        let described = node.description.as_ref();
        let hit = match &self.subject {
            Subject::Unknown => return false,
            Subject::Address => match self.hits_address(&node.status.addr) {
                Some(hit) => hit,
                None => return false,
            },
            Subject::Id => self.hits(&node.id.to_string()),
            Subject::Role => self.hits(&node.spec.role.to_string()),
            Subject::Hostname => self.hits(described.map_or("", |described| &described.hostname)),
            Subject::Os => self.hits(described.map_or("", |described| &described.platform.os)),
            Subject::Architecture => {
                self.hits(described.map_or("", |described| &described.platform.architecture))
            }
            Subject::NodeLabel(name) => self.hits(node.spec.labels.get(&**name).map_or("", |value| value)),
            Subject::EngineLabel(name) => {
                let value = described.and_then(|described| described.engine.labels.get(&**name));
                self.hits(value.map_or("", |value| value))
            }
        };
        hit != self.negated
    }

    fn hits(&self, found: &str) -> bool {
        self.values.iter().any(|value| match value {
            Value::Word(word) => word.eq_ignore_ascii_case(found),
            Value::Pattern(pattern) => matches_pattern(pattern.as_bytes(), found.as_bytes()),
        })
    }

    /// None where a value is neither an address nor a network, which no node matches.
    fn hits_address(&self, found: &str) -> Option<bool> {
        let address: Option<IpAddr> = found.parse().ok();
        let mut hit = false;
        for value in &self.values {
            hit |= match value {
                Value::Pattern(pattern) => matches_pattern(pattern.as_bytes(), found.as_bytes()),
                Value::Word(word) => match word.parse::<IpAddr>() {
                    Ok(wanted) => address.is_some_and(|found| found.to_canonical() == wanted.to_canonical()),
                    Err(_) => {
                        let (network, length) = network(word)?;
                        address.is_some_and(|found| is_within(found, network, length))
                    }
                },
            };
        }
        Some(hit)
    }
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Subject {
    fn parse(key: &str) -> Result<Self, ConstraintError> {
        let key = key.trim();
        let mut bytes = key.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !starts || !goes_on || key.len() < 2 {
            return Err(ConstraintError::Key(key.into()));
        }
        // Of a label, only what comes before its own name is without case.
        let after = |prefix: &str| {
            let (head, name) = key.split_at_checked(prefix.len())?;
            (head.eq_ignore_ascii_case(prefix) && !name.is_empty()).then(|| name.into())
        };
        if let Some(name) = after("node.labels.") {
            return Ok(Subject::NodeLabel(name));
        }
        if let Some(name) = after("engine.labels.") {
            return Ok(Subject::EngineLabel(name));
        }
        Ok(match key.to_ascii_lowercase().as_str() {
            "node.id" => Subject::Id,
            "node.hostname" => Subject::Hostname,
            "node.ip" => Subject::Address,
            "node.role" => Subject::Role,
            "node.platform.os" => Subject::Os,
            "node.platform.arch" => Subject::Architecture,
            _ => Subject::Unknown,
        })
    }
}

fn checked(value: &str) -> Result<Box<str>, ConstraintError> {
    let value = value.trim();
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || br":-_.*()?+[]\^$|/".contains(&byte)
    };
    if value.is_empty() || !value.bytes().all(allowed) {
        return Err(ConstraintError::Value(value.into()));
    }
    Ok(value.into())
}

/// `*` stands for any text, `?` for one character of ASCII. Goes back to the last `*` only, so it takes at most the
/// product of both lengths.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&text[from]) => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                None => return false,
                Some((star_at, taken_to)) => {
                    *taken_to += 1;
                    (at, from) = (*star_at + 1, *taken_to);
                }
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// `address/bits`.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u32 = length.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    (length <= bits).then_some((address, length))
}

fn is_within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    match (address.to_canonical(), network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(128 - length).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::node::NodeDescription;
    use crate::object::{Availability, NodeId, Role};
    use proptest::prelude::*;

    fn node() -> Node {
        let mut node = Node::new(NodeId(36), Role::Manager, Availability::Active);
        node.status.addr = "10.1.2.3".into();
        node.spec.labels.insert("zone".into(), "East-1".into());
        let mut description = NodeDescription { hostname: "Alpha".into(), ..NodeDescription::default() };
        description.platform = Platform { architecture: "x86_64".into(), os: "linux".into() };
        description.engine.labels.insert("disk".into(), "ssd".into());
        node.description = Some(description);
        node
    }

    #[test]
    fn a_node_matches_or_not() {
        #[rustfmt::skip]
        let cases = [
            ("node.id == 0000000000000000000000010", true),
            ("node.hostname==alpha", true),
            ("NODE.hostname == ALPHA", true),
            ("node.hostname != alpha", false),
            ("node.role == manager", true),
            ("node.role == worker", false),
            ("node.ip == 10.1.2.3", true),
            ("node.ip == ::ffff:10.1.2.3", true),
            ("node.ip == 10.1.0.0/16", true),
            ("node.ip != 10.1.0.0/16", false),
            ("node.ip == 0.0.0.0/0", true),
            ("node.ip == fe80::/10", false),
            ("node.ip != fe80::/10", true),
            ("node.ip == 10.1", false), // neither address nor network: no node, either way
            ("node.ip != 10.1", false),
            ("node.ip != 10.0.0.0/33", false),
            ("node.ip =~ 10.*", true),
            ("node.ip in (10.1.2.2, 10.1.2.0/24)", true),
            ("node.platform.os == Linux", true),
            ("node.platform.arch == x86_64", true),
            ("node.platform.arch == amd64", false),
            ("node.labels.zone == east-1", true),
            ("Node.Labels.zone == east-1", true),
            ("node.labels.Zone == east-1", false), // a label's own name has case
            ("node.labels.gone != a", true),       // a missing label is empty
            ("node.labels.gone == a", false),
            ("engine.labels.disk == ssd", true),
            ("engine.labels.disk != ssd", false),
            ("node.labels.zone =~ east-*", true),
            ("node.labels.zone =~ *st-?", true),
            ("node.labels.zone =~ east", false),
            ("node.labels.zone !~ west*", true),
            ("node.labels.gone =~ ?*", false),     // is there a value
            ("node.labels.zone =~ ?*", true),
            ("node.labels.zone in (west-1, EAST-1)", true),
            ("node.labels.zone in (west-1)", false),
            ("node.labels.zone not in (west-1, west-2)", true),
            ("node.labels.zone not in (east-1)", false),
            ("node.labels.zone == east-*", false), // a pattern only where it is asked for
            ("node.colour == red", false),
            ("node.colour != red", false),
            ("node.labels. != red", false),
        ];
        for (text, expected) in cases {
            let constraint = Constraint::parse(text).expect(text);
            assert_eq!(constraint.matches(&node()), expected, "{text}");
        }
    }

    #[test]
    fn what_a_node_never_said_is_empty() {
        let node = Node::new(NodeId(1), Role::Worker, Availability::Active);
        for (text, expected) in [
            ("node.hostname == a", false),
            ("node.hostname != a", true),
            ("engine.labels.a != a", true),
            ("node.ip != 10.0.0.0/8", true),
            ("node.ip == 10.0.0.1", false),
        ] {
            assert_eq!(Constraint::parse(text).expect(text).matches(&node), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_constraint_is_refused_in_dockers_words() {
        #[rustfmt::skip]
        let cases = [
            ("", "constraint expected one operator from ==, !="),
            ("node.id", "constraint expected one operator from ==, !="),
            ("node.id = a", "constraint expected one operator from ==, !="),
            ("node.id > a", "constraint expected one operator from ==, !="),
            ("== a", "key '' is invalid"),
            ("a == b", "key 'a' is invalid"),
            ("1node == b", "key '1node' is invalid"),
            ("no de == b", "key 'no de' is invalid"),
            ("node.id ==", "value '' is invalid"),
            ("node.id == a,b", "value 'a,b' is invalid"),
            ("node.id == ä", "value 'ä' is invalid"),
            ("node.id === a", "value '= a' is invalid"),
            ("node.id in a", "invalid expr: node.id in a"),
            ("node.id in ()", "value '' is invalid"),
            ("node.id in (a,,b)", "value '' is invalid"),
        ];
        for (text, error) in cases {
            assert_eq!(Constraint::parse(text).expect_err(text).to_string(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = Constraint::parse(&text).map(|constraint| constraint.matches(&node()));
        }

        #[test]
        fn text_like_a_constraint_does_not_panic(
            text in "(node.ip|node.labels.zone) ?(==|!=|=~|!~|in|not in) ?[(]?[0-9a-f:.*?/, ]{0,20}[)]?",
        ) {
            let _ = Constraint::parse(&text).map(|constraint| constraint.matches(&node()));
        }

        #[test]
        fn a_constraint_and_its_opposite_never_both_match(value in "[a-z0-9*?-]{1,8}") {
            for (one, other) in [("==", "!="), ("=~", "!~")] {
                let matches = |operator| {
                    let text = format!("node.labels.zone {operator} {value}");
                    Constraint::parse(&text).expect("well formed").matches(&node())
                };
                prop_assert_ne!(matches(one), matches(other));
            }
        }
    }
}
