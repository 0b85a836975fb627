//! Numbers as Go's `strconv` reads them, with its words: `0444` is octal, `0x1f` hexadecimal.

/// An unsigned number below 2^`bits`.
pub fn unsigned(text: &str, bits: u32) -> Result<u64, &'static str> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    in_radix(digits, radix, bits)
}

/// A decimal number below 2^`bits`.
pub fn decimal(text: &str, bits: u32) -> Result<u64, &'static str> {
    in_radix(text, 10, bits)
}

pub fn octal(text: &str, bits: u32) -> Result<u64, &'static str> {
    in_radix(text, 8, bits)
}

fn in_radix(digits: &str, radix: u32, bits: u32) -> Result<u64, &'static str> {
    if digits.is_empty() || !digits.chars().all(|letter| letter.is_digit(radix)) {
        return Err("invalid syntax");
    }
    match u64::from_str_radix(digits, radix) {
        Ok(number) if bits >= 64 || number < 1 << bits => Ok(number),
        _ => Err("value out of range"),
    }
}

/// `true`, `1`, `t`, …: what a flag without a value means, and its opposite.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid boolean value {text:?}: say true or false")),
    }
}

/// A share: `0.25`.
pub fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_their_bases() {
        #[rustfmt::skip]
        let cases = [
            ("0", 16, Ok(0)), ("80", 16, Ok(80)), ("0444", 32, Ok(0o444)), ("0o444", 32, Ok(0o444)), ("0x1F", 32, Ok(31)),
            ("0b11", 32, Ok(3)), ("65536", 16, Err("value out of range")), ("18446744073709551615", 64, Ok(u64::MAX)),
            ("99999999999999999999", 64, Err("value out of range")), ("", 16, Err("invalid syntax")),
            ("-1", 16, Err("invalid syntax")), ("+1", 16, Err("invalid syntax")), ("08", 16, Err("invalid syntax")),
            ("0x", 16, Err("invalid syntax")), ("8o", 16, Err("invalid syntax")),
        ];
        for (text, bits, expected) in cases {
            assert_eq!(unsigned(text, bits), expected, "{text}");
        }
        assert_eq!(decimal("08", 16), Ok(8));
        assert_eq!(boolean("False"), Ok(false));
        assert!(boolean("yes").is_err() && ratio("x").is_err() && ratio("nan").is_err());
        assert_eq!(ratio("0.5"), Ok(0.5));
    }
}
