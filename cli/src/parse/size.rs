//! Amounts of bytes: `50M`, `1g`, `1.5GiB` are read as binary multiples and shown as `23.54GiB`.

/// Shows `bytes` with four digits, as Docker does.
pub fn show(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{}{}", four_digits(amount), UNITS[unit])
}

/// Go's `%.4g` for what sizes can be: at most four significant digits, no closing zeros.
fn four_digits(amount: f64) -> String {
    let whole_digits = if amount.abs() < 1.0 { 1 } else { amount.abs().log10() as usize + 1 };
    let text = format!("{amount:.*}", 4_usize.saturating_sub(whole_digits));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

pub fn parse(text: &str) -> Result<i64, SizeError> {
    let invalid = || SizeError(text.into());
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number_is_plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit())
        && number.matches('.').count() <= 1;
    if !number_is_plain {
        return Err(invalid());
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(invalid()),
    };
    let scale = 1_i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale).ok_or_else(invalid);
    }
    let amount = number.parse::<f64>().map_err(|_| invalid())? * scale as f64;
    if amount < i64::MAX as f64 { Ok(amount as i64) } else { Err(invalid()) }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid size: {0:?}")]
pub struct SizeError(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        #[rustfmt::skip]
        let cases = [
            ("0", Some(0)), ("32", Some(32)), ("32b", Some(32)), ("50M", Some(50 << 20)), ("1g", Some(1 << 30)),
            ("1GiB", Some(1 << 30)), ("1gb", Some(1 << 30)), ("1.5k", Some(1536)), ("4 t", Some(4 << 40)),
            ("1P", Some(1 << 50)), ("", None), ("k", None), (".5k", None), ("1.k", None), ("-1", None), ("1 ", Some(1)),
            ("1x", None), ("1..2k", None), ("1e3", None), ("9999999P", None), ("9999999.9P", None), ("1  k", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn sizes_as_docker_shows_them() {
        #[rustfmt::skip]
        let cases = [
            (0, "0B"), (1000, "1000B"), (1023, "1023B"), (1024, "1KiB"), (1536, "1.5KiB"), (2_097_152_000, "1.953GiB"),
            (25_275_691_008, "23.54GiB"), (i64::MAX, "8192PiB"), (-5, "-5B"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(show(bytes), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9.]{0,30} ?[a-zA-Zµ]{0,4}") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_amounts_are_exact(amount in 0_i64..1 << 20, unit in prop::sample::select(vec!["", "k", "m", "g", "t"])) {
            let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == unit).expect("listed");
            prop_assert_eq!(parse(&format!("{amount}{unit}")), Ok(amount << (10 * power)));
        }
    }
}
