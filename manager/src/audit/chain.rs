//! A line of the audit record: JSON that ends with a check over itself and the line before. Pure.
//!
//! So a line that was changed, cut or taken out shows. It is no proof against somebody who may write the file and
//! computes all that follows anew.

use aws_lc_rs::digest::{SHA256, digest};
use common::engine_api::access::AuditRecord;
use common::identity::token::to_hex;

/// Bytes of a check, as hexadecimal digits.
const CHECK_DIGITS: usize = 32;
const MEMBER: &str = ",\"Check\":\"";
const END: &str = "\"}";

/// The check of a line; the empty one stands before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check(String);

/// Why a line counts for nothing, or for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be read: cut, or changed.
    Damaged,
    /// It is whole, and what stood before it is not what stands there now.
    Gap,
}

/// Adds the check to a record.
pub fn line(record: &AuditRecord, before: &Check) -> (String, Check) {
    let json = serde_json::to_string(record).unwrap_or_else(|_| "{}".into());
    let body = json.strip_suffix('}').unwrap_or(&json);
    let check = of(body, before);
    (format!("{body}{MEMBER}{}{END}", check.0), check)
}

/// Reads a line. With a gap before it, it is still told.
pub fn read(line: &str, before: &Check) -> (Option<(AuditRecord, Check)>, Option<Fault>) {
    let Some((body, check)) = split(line) else { return (None, Some(Fault::Damaged)) };
    let Ok(record) = serde_json::from_str(&format!("{body}}}")) else { return (None, Some(Fault::Damaged)) };
    let fault = (of(body, before) != check).then_some(Fault::Gap);
    (Some((record, check)), fault)
}

/// The check that a line ends with, believed.
pub fn check_of(line: &str) -> Option<Check> {
    split(line).map(|(_, check)| check)
}

fn split(line: &str) -> Option<(&str, Check)> {
    let rest = line.strip_suffix(END)?;
    let at = rest.len().checked_sub(CHECK_DIGITS)?;
    let (body, check) = (rest.get(..at)?, rest.get(at..)?);
    let good = check.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((body.strip_suffix(MEMBER)?, Check(check.into()))).filter(|_| good)
}

fn of(body: &str, before: &Check) -> Check {
    let hash = digest(&SHA256, format!("{}\n{body}", before.0).as_bytes());
    let mut text = to_hex(hash.as_ref());
    text.truncate(CHECK_DIGITS);
    Check(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(id: &str) -> AuditRecord {
        AuditRecord { id: id.into(), path: "/services/create".into(), status: 201, ..AuditRecord::default() }
    }

    #[test]
    fn lines_follow_each_other() {
        let (first, check) = line(&record("1"), &Check::default());
        let (second, _) = line(&record("2"), &check);
        assert!(serde_json::from_str::<serde_json::Value>(&second).is_ok(), "a line is JSON: {second}");
        assert_eq!(read(&first, &Check::default()), (Some((record("1"), check.clone())), None));
        let (read_second, fault) = read(&second, &check);
        assert_eq!((read_second.map(|(record, _)| record), fault), (Some(record("2")), None));
        // The first one taken out.
        assert_eq!(read(&second, &Check::default()).1, Some(Fault::Gap));
    }

    #[test]
    fn every_changed_byte_shows() {
        let (whole, _) = line(&record("1"), &Check::default());
        for at in 0..whole.len() {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] ^= 0x01;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(read(&changed, &Check::default()).1.is_some(), "byte {at}: {changed}");
            assert!(read(&whole[..at], &Check::default()).1 == Some(Fault::Damaged), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = read(&text, &Check::default());
            let _ = read(&format!("{text}{MEMBER}{}{END}", "a".repeat(32)), &Check::default());
        }
    }
}
