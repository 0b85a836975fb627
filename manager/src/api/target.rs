//! A request's target: API version, path and query, read without trust. Pure.
//!
//! The path is decoded before anything is decided by it, and one that a lenient reader could take for another
//! path is refused: what is ours must not reach the engine under a disguise.

use std::fmt;
use std::str::FromStr;

use common::engine_api::{API_VERSION_ACCEPTED_MAX, API_VERSION_MIN};
use common::limits::API_PATH_SEGMENTS_MAX;
use hyper::Uri;

use super::error::{ApiError, PAGE_NOT_FOUND};

/// `1.41`; in numbers, so that 1.9 is before 1.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
}

impl ApiVersion {
    /// Of a constant.
    pub(super) fn known(text: &str) -> Self {
        text.parse().expect("our own constants are versions")
    }
}

/// Not a version: why does not matter to anyone who could act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAVersion;

impl FromStr for ApiVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse().map_err(|_| NotAVersion) } else { Err(NotAVersion) }
        };
        let (major, minor) = text.split_once('.').ok_or(NotAVersion)?;
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// None for a path without version.
    pub version: Option<ApiVersion>,
    /// Decoded; at least one, none empty, none `.` or `..`.
    pub segments: Vec<String>,
    pub query: Query,
    /// Path and query as they came, without the version.
    pub raw: String,
}

impl Target {
    pub fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let (version, path) = split_version(uri.path())?;
        let decoded = decode(path, Plus::IsPlus).ok_or_else(|| ApiError::invalid("the path is not UTF-8"))?;
        let inner = decoded.strip_prefix('/').unwrap_or(&decoded);
        let segments: Vec<String> = inner.split('/').map(Into::into).collect();
        let strange = |segment: &String| matches!(segment.as_str(), "" | "." | "..");
        if segments.len() > API_PATH_SEGMENTS_MAX || segments.iter().any(strange) {
            return Err(ApiError::not_found(PAGE_NOT_FOUND));
        }
        let query = uri.query().unwrap_or_default();
        let raw = if query.is_empty() { path.into() } else { format!("{path}?{query}") };
        Ok(Self { version, segments, query: Query::parse(query)?, raw })
    }
}

/// `/v1.41/nodes` is version 1.41 and `/nodes`. Only a first segment that looks like a version is one.
fn split_version(path: &str) -> Result<(Option<ApiVersion>, &str), ApiError> {
    let Some((text, rest)) = path.strip_prefix("/v").and_then(|rest| {
        let slash = rest.find('/')?;
        Some(rest.split_at(slash))
    }) else {
        return Ok((None, path));
    };
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok((None, path));
    }
    // Docker's router knows no such path, whatever follows.
    let version: ApiVersion = text.parse().map_err(|_| ApiError::not_found(PAGE_NOT_FOUND))?;
    if version < ApiVersion::known(API_VERSION_MIN) {
        return Err(ApiError::invalid(format!(
            "client version {version} is too old. Minimum supported API version is {API_VERSION_MIN}, please upgrade your client to a newer version"
        )));
    }
    if version > ApiVersion::known(API_VERSION_ACCEPTED_MAX) {
        return Err(ApiError::invalid(format!(
            "client version {version} is too new. Maximum supported API version is {API_VERSION_ACCEPTED_MAX}"
        )));
    }
    Ok((Some(version), rest))
}

/// Decoded `name=value` pairs, in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::invalid("the query is not UTF-8");
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let name = decode(name, Plus::IsSpace).ok_or_else(invalid)?;
                Ok((name, decode(value, Plus::IsSpace).ok_or_else(invalid)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The first value of that name; empty when there is none, as Docker reads it.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Docker's truth: anything but nothing, `0`, `no`, `false` and `none`.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.get(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The stricter truth of a few parameters: one of Go's words for true or false, or nothing.
    pub fn strict_flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(ApiError::invalid(format!(
                "invalid value for {name}: {:?} is neither true nor false",
                shortened(other)
            ))),
        }
    }
}

/// The start of somebody's text, to put into an answer.
pub fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsPlus,
    IsSpace,
}

/// None when the bytes are not UTF-8. A `%` without two digits stands for itself.
fn decode(text: &str, plus: Plus) -> Option<String> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are one byte"));
                at += 3;
                continue;
            }
            (b'+', _, _) if plus == Plus::IsSpace => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(target: &str) -> Result<Target, ApiError> {
        Target::parse(&target.parse().expect("a target"))
    }

    #[test]
    fn the_version_is_taken_off_and_checked() {
        let too_old = "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version";
        let too_new = "client version 1.57 is too new. Maximum supported API version is 1.56";
        #[rustfmt::skip]
        let cases = [ // target, version and first segment, or the error
            ("/nodes",               Ok((None, "nodes"))),
            ("/v1.24/nodes",         Ok((Some("1.24"), "nodes"))),
            ("/v1.56/nodes?a=b",     Ok((Some("1.56"), "nodes"))),
            ("/volumes/x",           Ok((None, "volumes"))),
            ("/v1.10/nodes",         Err(too_old)),
            ("/v1.9/nodes",          Err("client version 1.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version")),
            ("/v1.57/nodes",         Err(too_new)),
            ("/v1.99999/nodes",      Err(PAGE_NOT_FOUND)),
            ("/v1/nodes",            Err(PAGE_NOT_FOUND)),
            ("/v1.41.0/nodes",       Err(PAGE_NOT_FOUND)),
            ("/v1.x/nodes",          Err(PAGE_NOT_FOUND)),
        ];
        for (target, expected) in cases {
            let found = parse(target);
            let found = found.as_ref().map_or_else(
                |error| Err(error.message.as_str()),
                |target| Ok((target.version.map(|version| version.to_string()), target.segments[0].as_str())),
            );
            assert_eq!(found, expected.map(|(version, first)| (version.map(Into::into), first)), "{target}");
        }
    }

    #[test]
    fn a_path_in_disguise_goes_nowhere() {
        for target in [
            "/",
            "//swarm",
            "/x/../swarm",
            "/x/%2e%2e/swarm",
            "/x%2F..%2Fswarm",
            "/./swarm",
            "/swarm/",
            "/v1.41//swarm",
        ] {
            assert_eq!(parse(target), Err(ApiError::not_found(PAGE_NOT_FOUND)), "{target}");
        }
        assert_eq!(parse("/%73warm").expect("a path").segments, ["swarm"]);
        assert_eq!(parse("/nodes/a%2Fb").expect("a path").segments, ["nodes", "a", "b"]);
        assert!(parse("/nodes/%ff").is_err());
    }

    #[test]
    fn what_is_handed_on_is_as_it_came() {
        let target = parse("/v1.41/images/a%2Fb/json?t=x%20y&z").expect("a target");
        assert_eq!(target.raw, "/images/a%2Fb/json?t=x%20y&z");
    }

    #[test]
    fn flags_are_docker_s() {
        let query = Query::parse("a=1&b=true&c=0&d=None&e&f=x&g=+no+").expect("a query");
        let flags: Vec<bool> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| query.flag(name)).into();
        assert_eq!(flags, [true, true, false, false, false, true, false, false]);
        assert_eq!(query.strict_flag("b"), Ok(true));
        assert_eq!(query.strict_flag("h"), Ok(false));
        assert!(query.strict_flag("f").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = Query::parse(&text);
            let _ = split_version(&text);
            let _ = text.parse::<ApiVersion>();
        }

        #[test]
        fn encoded_values_come_back(value in "\\PC{0,30}") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let query = Query::parse(&format!("k={encoded}")).expect("UTF-8");
            prop_assert_eq!(query.get("k"), value);
        }
    }
}
