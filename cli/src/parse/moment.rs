//! Moments of `--since` and `--until`: `42m` ago, RFC 3339, a date, or seconds since 1970.

use std::time::Duration;

use common::time::Timestamp;

use super::duration::Nanoseconds;

/// As the API takes it: seconds since 1970 with nine decimals.
pub fn parse(text: &str, now: Timestamp) -> Result<String, String> {
    if let Some(at) = from_number(text) {
        return Ok(at);
    }
    if let Ok(Nanoseconds(ago)) = text.parse() {
        let span = Duration::from_nanos(ago.unsigned_abs());
        let at = if ago < 0 { now.plus(span) } else { Timestamp(now.0.saturating_sub(ago.unsigned_abs())) };
        return Ok(seconds(at));
    }
    // Without a zone it is UTC, in which everything else is shown too.
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ if text.ends_with('Z') || has_offset(text) => text.to_owned(),
        _ => format!("{text}Z"),
    };
    match Timestamp::from_rfc3339(&full) {
        Some(at) => Ok(seconds(at)),
        None => Err(format!("invalid time {text:?}: say 42m, 2026-11-20T08:00:00Z or seconds since 1970")),
    }
}

pub fn seconds(at: Timestamp) -> String {
    format!("{}.{:09}", at.0 / 1_000_000_000, at.0 % 1_000_000_000)
}

fn from_number(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = !whole.is_empty() && whole.len() <= 10 && fraction.len() <= 9;
    (fits && digits(whole) && digits(fraction)).then(|| format!("{whole}.{fraction:0<9}"))
}

fn has_offset(text: &str) -> bool {
    text.len() > 19 && text.as_bytes()[19..].iter().any(|byte| matches!(byte, b'+' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);

    #[test]
    fn moments_as_people_write_them() {
        #[rustfmt::skip]
        let cases = [
            ("10m", Some("1795161000.000000000")), ("-10m", Some("1795162200.000000000")), ("1.5s", Some("1795161598.500000000")),
            ("0", Some("0.000000000")), ("1795161600", Some("1795161600.000000000")), ("1795161600.5", Some("1795161600.500000000")),
            ("2026-11-20T08:00:00Z", Some("1795161600.000000000")), ("2026-11-20T08:00:00.123Z", Some("1795161600.123000000")),
            ("2026-11-20T09:00:00+01:00", Some("1795161600.000000000")), ("2026-11-20T08:00:00", Some("1795161600.000000000")),
            ("2026-11-20T08:00", Some("1795161600.000000000")), ("2026-11-20", Some("1795132800.000000000")),
            ("", None), ("yesterday", None), ("2026-13-20", None), ("12345678901", None), ("1.", Some("1.000000000")),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, NOW).ok().as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9:TZ+.mhsä]{0,30}") {
            let _ = parse(&text, NOW);
        }
    }
}
