//! Durations as Go writes them: `1h2m3s`, units ns, us, ms, s, m, h. In the API they are nanoseconds.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nanoseconds(pub i64);

/// The words of Go's own parser, which people search for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?} (ns|us|ms|s|m|h)")]
    MissingUnit(String),
    #[error("time: unknown unit {unit:?} in duration {text:?} (ns|us|ms|s|m|h)")]
    UnknownUnit { unit: String, text: String },
}

impl FromStr for Nanoseconds {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.into());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
            if unit.is_empty() {
                return Err(DurationError::MissingUnit(text.into()));
            }
            let scale = scale_of(unit)
                .ok_or_else(|| DurationError::UnknownUnit { unit: unit.into(), text: text.into() })?;
            let part = scaled(whole, fraction, scale).ok_or_else(invalid)?;
            total = total.checked_add(part).ok_or_else(invalid)?;
            rest = after;
        }
        let total = if negative { -total } else { total };
        i64::try_from(total).map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Nanoseconds {
    /// `2160h0m0s`, `1.5s`, `20ms`, `0s`: Go's form, which `from_str` reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanoseconds = self.0.unsigned_abs();
        let decimal = |value: u64, scale: u64| {
            let digits = scale.ilog10() as usize;
            let text = format!("{}.{:0digits$}", value / scale, value % scale);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match nanoseconds {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{sign}{nanoseconds}ns"),
            1_000..1_000_000 => write!(f, "{sign}{}µs", decimal(nanoseconds, 1_000)),
            1_000_000..SECOND => write!(f, "{sign}{}ms", decimal(nanoseconds, 1_000_000)),
            _ => {
                let minutes = nanoseconds / SECOND / 60;
                let seconds = decimal(nanoseconds % (60 * SECOND), SECOND);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{sign}{seconds}s"),
                    (0, minutes) => write!(f, "{sign}{minutes}m{seconds}s"),
                    (hours, minutes) => write!(f, "{sign}{hours}h{minutes}m{seconds}s"),
                }
            }
        }
    }
}

const SECOND: u64 = 1_000_000_000;

fn scale_of(unit: &str) -> Option<i128> {
    match unit {
        "ns" => Some(1),
        "us" | "µs" | "μs" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(i128::from(SECOND)),
        "m" => Some(60 * i128::from(SECOND)),
        "h" => Some(3_600 * i128::from(SECOND)),
        _ => None,
    }
}

/// `whole.fraction × scale`, cut to whole nanoseconds; none when it is out of any sensible range.
fn scaled(whole: &str, fraction: &str, scale: i128) -> Option<i128> {
    // Digits beyond these are below one nanosecond of an hour.
    const FRACTION_DIGITS_MAX: usize = 15;
    let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<u64>().ok()?) };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let divisor = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(scale)?.checked_add(fraction * scale / divisor)
}

fn split_while(text: &str, accept: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !accept(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_durations() {
        #[rustfmt::skip]
        let cases = [
            ("0", Ok(0)), ("0s", Ok(0)), ("5s", Ok(5_000_000_000)), ("1h2m3s", Ok(3_723_000_000_000)),
            ("2160h", Ok(7_776_000_000_000_000)), ("1.5h", Ok(5_400_000_000_000)), (".5s", Ok(500_000_000)),
            ("1.s", Ok(1_000_000_000)), ("100ms", Ok(100_000_000)), ("7us", Ok(7_000)), ("7µs", Ok(7_000)),
            ("9ns", Ok(9)), ("-1s", Ok(-1_000_000_000)), ("+1s", Ok(1_000_000_000)),
            ("0.3333333333333333333h", Ok(1_199_999_999_999)),
            ("", Err("time: invalid duration \"\"")),
            ("foo", Err("time: invalid duration \"foo\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("1.2.3s", Err("time: invalid duration \"1.2.3s\"")),
            ("-", Err("time: invalid duration \"-\"")),
            ("99999999h", Err("time: invalid duration \"99999999h\"")),
            ("99999999999999999999999s", Err("time: invalid duration \"99999999999999999999999s\"")),
            ("5", Err("time: missing unit in duration \"5\" (ns|us|ms|s|m|h)")),
            ("5d", Err("time: unknown unit \"d\" in duration \"5d\" (ns|us|ms|s|m|h)")),
            ("1 h", Err("time: unknown unit \" h\" in duration \"1 h\" (ns|us|ms|s|m|h)")),
        ];
        for (text, expected) in cases {
            let seen = text.parse::<Nanoseconds>().map(|value| value.0).map_err(|error| error.to_string());
            assert_eq!(seen, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn shown_as_go_shows_them() {
        #[rustfmt::skip]
        let cases = [
            (0, "0s"), (1, "1ns"), (1_100, "1.1µs"), (20_000_000, "20ms"), (5_000_000_000, "5s"),
            (1_500_000_000, "1.5s"), (90_000_000_000, "1m30s"), (600_000_000_000, "10m0s"),
            (7_776_000_000_000_000, "2160h0m0s"), (-1_000_000_000, "-1s"),
        ];
        for (value, expected) in cases {
            assert_eq!(Nanoseconds(value).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Nanoseconds>();
        }

        #[test]
        fn no_nearly_right_text_panics(text in "[-+]?([0-9.]{0,25}(ns|us|µs|ms|s|m|h|x)?){0,4}") {
            let _ = text.parse::<Nanoseconds>();
        }

        #[test]
        fn what_is_shown_reads_back(value in any::<i64>()) {
            prop_assert_eq!(Nanoseconds(value).to_string().parse(), Ok(Nanoseconds(value)));
        }
    }
}
