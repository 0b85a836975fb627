//! Moments in requests: `since` and `until`, as Docker's clients send them.

use common::time::{Clock, SystemClock, Timestamp};

use super::error::ApiError;
use super::target::shortened;

/// Seconds since 1970 with up to nine decimals, or RFC 3339; none where nothing is said.
pub(super) fn parse_moment(name: &str, text: &str) -> Result<Option<Timestamp>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let moment = seconds(text).or_else(|| Timestamp::from_rfc3339(text));
    moment.map(Some).ok_or_else(|| {
        ApiError::invalid(format!("invalid value for {name}: {:?} is not a time", shortened(text)))
    })
}

/// The end of a log. As in Docker `0` is none: SDKs send it where nobody asked for an end.
pub(super) fn parse_log_end(text: &str) -> Result<Option<Timestamp>, ApiError> {
    Ok(parse_moment("until", text)?.filter(|end| *end > Timestamp::default()))
}

/// Before 1970 means from the beginning.
fn seconds(text: &str) -> Option<Timestamp> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, text),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    let nanoseconds: u64 = format!("{part:0<9}").parse().ok()?;
    let seconds: u64 = whole.parse().ok()?;
    let moment = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
    Some(if sign < 0 { Timestamp::default() } else { Timestamp(moment) })
}

/// Ends at `moment`; never without one.
pub(super) async fn reached(moment: Option<Timestamp>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.since(SystemClock.now())).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_where_an_end_is_given() {
        for (text, expected) in
            [("", None), ("0", None), ("0.0", None), ("2", Some(Timestamp(2_000_000_000)))]
        {
            assert_eq!(parse_log_end(text).map_err(drop), Ok(expected), "{text}");
        }
    }

    #[test]
    fn moments_are_seconds_or_dates() {
        #[rustfmt::skip]
        let cases = [
            ("",                     Ok(None)),
            ("0",                    Ok(Some(Timestamp(0)))),
            ("1795161600",           Ok(Some(Timestamp(1_795_161_600_000_000_000)))),
            ("1795161600.5",         Ok(Some(Timestamp(1_795_161_600_500_000_000)))),
            ("1795161600.000000001", Ok(Some(Timestamp(1_795_161_600_000_000_001)))),
            ("-62135596800",         Ok(Some(Timestamp(0)))),
            ("2026-11-20T08:00:00Z", Ok(Some(Timestamp(1_795_161_600_000_000_000)))),
            ("99999999999999999999", Err(())),
            ("yesterday",            Err(())),
            ("1.2.3",                Err(())),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_moment("since", text).map_err(drop), expected, "{text}");
        }
    }
}
