//! `printf`: Go's verbs for texts and numbers.

use std::fmt::Write;

use common::limits::TEMPLATE_OUTPUT_BYTES_MAX;

use super::run::{Output, too_large};
use super::value::{Value, exponential, float};

/// A mistake in the format shows in the result, as in Go: `%!d(string=web)`, `%!d(MISSING)`, `%!(EXTRA int=1)`.
pub fn printf<'d>(format: &str, arguments: &[Value<'d>]) -> Result<Value<'d>, String> {
    let mut out = Output::default();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.write_str(&rest[..at]).map_err(|_| too_large())?;
        let (spec, after) = Spec::read(&rest[at + 1..])?;
        rest = after;
        let text = match spec.verb {
            None => "%!(NOVERB)".to_owned(),
            Some('%') => "%".to_owned(),
            Some(verb) => match arguments.next() {
                None => format!("%!{verb}(MISSING)"),
                Some(value) => spec.pad(&spec.show(verb, value)?, value),
            },
        };
        out.write_str(&text).map_err(|_| too_large())?;
    }
    out.write_str(rest).map_err(|_| too_large())?;
    let extra = arguments.as_slice();
    if !extra.is_empty() {
        let shown: Result<Vec<String>, String> =
            extra.iter().map(|value| Ok(format!("{}={}", value.kind(), plain(value)?))).collect();
        write!(out, "%!(EXTRA {})", shown?.join(", ")).map_err(|_| too_large())?;
    }
    Ok(Value::made(out.text))
}

/// What stands between `%` and its verb.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    alternate: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
    verb: Option<char>,
}

impl Spec {
    fn read(text: &str) -> Result<(Self, &str), String> {
        let mut spec = Self::default();
        let mut rest = text;
        loop {
            match rest.chars().next() {
                Some('-') => spec.minus = true,
                Some('+') => spec.plus = true,
                Some('0') => spec.zero = true,
                Some('#') => spec.alternate = true,
                Some(' ') => spec.space = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        (spec.width, rest) = amount(rest)?;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = amount(after)?;
            spec.precision = Some(precision);
            rest = after;
        }
        let mut letters = rest.chars();
        spec.verb = letters.next();
        Ok((spec, letters.as_str()))
    }

    fn show(&self, verb: char, value: &Value<'_>) -> Result<String, String> {
        let cut = |text: String| match self.precision {
            Some(letters) => text.chars().take(letters).collect(),
            None => text,
        };
        Ok(match (verb, value) {
            ('v', Value::Text(text)) if self.alternate => quote(text),
            ('v', Value::Int(number)) => self.signed(*number < 0, number.unsigned_abs().to_string()),
            ('v', value) => plain(value)?,
            ('s', Value::Text(_) | Value::List(_) | Value::MadeList(_) | Value::Map { .. }) => {
                cut(plain(value)?)
            }
            ('q', Value::Text(text)) => quote(&cut(text.to_string())),
            ('x' | 'X', Value::Text(text)) => {
                let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                if verb == 'x' { hexadecimal } else { hexadecimal.to_uppercase() }
            }
            ('t', Value::Bool(value)) => value.to_string(),
            ('T', value) => value.kind().to_owned(),
            ('c', Value::Int(code)) => {
                u32::try_from(*code).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
            }
            ('d' | 'x' | 'X' | 'o' | 'b', Value::Int(number)) => {
                let size = number.unsigned_abs();
                let digits = match verb {
                    'd' => size.to_string(),
                    'x' if self.alternate => format!("0x{size:x}"),
                    'x' => format!("{size:x}"),
                    'X' => format!("{size:X}"),
                    'o' => format!("{size:o}"),
                    _ => format!("{size:b}"),
                };
                self.signed(*number < 0, digits)
            }
            ('f' | 'F', Value::Float(number)) => {
                let digits = format!("{:.*}", self.precision.unwrap_or(6), number.abs());
                self.signed(number.is_sign_negative(), digits)
            }
            ('e', Value::Float(number)) => {
                let digits = format!("{:.*e}", self.precision.unwrap_or(6), number.abs());
                self.signed(number.is_sign_negative(), exponential(&digits))
            }
            ('g' | 'G', Value::Float(number)) => self.signed(number.is_sign_negative(), float(number.abs())),
            (verb, Value::Nil | Value::Missing) => format!("%!{verb}(<nil>)"),
            (verb, value) => format!("%!{verb}({}={})", value.kind(), plain(value)?),
        })
    }

    fn signed(&self, negative: bool, digits: String) -> String {
        let sign = match negative {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        format!("{sign}{digits}")
    }

    fn pad(&self, text: &str, value: &Value<'_>) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        let is_number = matches!(value, Value::Int(_) | Value::Float(_));
        if self.minus {
            format!("{text}{}", " ".repeat(missing))
        } else if self.zero && is_number {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+', ' '])));
            format!("{sign}{}{digits}", "0".repeat(missing))
        } else {
            format!("{}{text}", " ".repeat(missing))
        }
    }
}

/// A width or precision. Rust's own formatting takes at most 16 bits for these.
fn amount(text: &str) -> Result<(usize, &str), String> {
    const AMOUNT_MAX: usize = 60_000;
    const { assert!(AMOUNT_MAX < TEMPLATE_OUTPUT_BYTES_MAX && AMOUNT_MAX < u16::MAX as usize) };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    match digits.parse() {
        Ok(amount) if amount <= AMOUNT_MAX => Ok((amount, rest)),
        _ if digits.is_empty() => Ok((0, rest)),
        _ => Err(format!("width or precision {digits} is larger than {AMOUNT_MAX}")),
    }
}

fn plain(value: &Value<'_>) -> Result<String, String> {
    let mut out = Output::default();
    value.write(&mut out).map_err(|_| too_large())?;
    Ok(out.text)
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
