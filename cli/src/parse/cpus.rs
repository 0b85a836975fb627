//! `--limit-cpu 0.5`: processors as a decimal or a fraction, kept as billionths.

/// Billionths of a processor.
pub fn parse(text: &str) -> Result<i64, String> {
    let failed = || format!("failed to parse {text} as a rational number");
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let divisor: i128 = below.parse().ok().filter(|below| *below > 0).ok_or_else(failed)?;
    let (negative, above) = above.strip_prefix('-').map_or((false, above), |above| (true, above));
    let (whole, fraction) = above.split_once('.').unwrap_or((above, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(failed());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".into());
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| failed())? };
    let fraction: i128 =
        if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().map_err(|_| failed())? };
    let nano =
        whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(fraction)).ok_or_else(failed)?;
    if nano % divisor != 0 {
        return Err("value is too precise".into());
    }
    let nano = nano / divisor;
    i64::try_from(if negative { -nano } else { nano }).map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn processors_as_people_write_them() {
        #[rustfmt::skip]
        let cases = [
            ("0", Ok(0)), ("1", Ok(1_000_000_000)), ("0.5", Ok(500_000_000)), (".25", Ok(250_000_000)), ("2.", Ok(2_000_000_000)),
            ("1/4", Ok(250_000_000)), ("0.000000001", Ok(1)), ("0.5000000000000", Ok(500_000_000)), ("-1", Ok(-1_000_000_000)),
            ("0.0000000001", Err("value is too precise")), ("1/3", Err("value is too precise")),
            ("", Err("failed to parse  as a rational number")), ("x", Err("failed to parse x as a rational number")),
            ("1/0", Err("failed to parse 1/0 as a rational number")), ("1.2.3", Err("failed to parse 1.2.3 as a rational number")),
            ("99999999999999999999", Err("failed to parse 99999999999999999999 as a rational number")),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9./]{0,45}") {
            let _ = parse(&text);
        }
    }
}
