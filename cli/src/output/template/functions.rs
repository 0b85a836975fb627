//! The functions of templates: Go's own that are used in the field, and Docker's.

use std::cmp::Ordering;
use std::fmt::Write;
use std::rc::Rc;

use common::limits::TEMPLATE_OUTPUT_BYTES_MAX;
use serde_json::Value as Json;

use super::printf;
use super::run::{Output, too_large};
use super::value::Value;

/// Over data, or over a table's column titles, which Docker's functions leave as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Values,
    Titles,
}

pub enum CallError {
    Arguments { wanted: String, got: usize },
    Failed(String),
}

impl From<String> for CallError {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

type Called<'d> = Result<Value<'d>, CallError>;

const DOCKERS: [&str; 8] = ["json", "join", "split", "lower", "upper", "title", "pad", "truncate"];
const GOS: [&str; 15] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf",
    "println",
];

pub fn is_known(name: &str) -> bool {
    DOCKERS.contains(&name) || GOS.contains(&name)
}

pub fn call<'d>(set: Set, name: &str, arguments: &[Value<'d>]) -> Called<'d> {
    let (least, most) = match name {
        "not" | "len" | "json" | "lower" | "upper" | "title" => (1, Some(1)),
        "ne" | "lt" | "le" | "gt" | "ge" | "join" | "split" | "truncate" => (2, Some(2)),
        "pad" => (3, Some(3)),
        "eq" | "and" | "or" | "index" | "printf" => (1, None),
        "slice" => (1, Some(4)),
        _ => (0, None),
    };
    let got = arguments.len();
    if got < least || most.is_some_and(|most| got > most) {
        let wanted = if most == Some(least) { least.to_string() } else { format!("at least {least}") };
        return Err(CallError::Arguments { wanted, got });
    }
    if set == Set::Titles && DOCKERS.contains(&name) {
        return Ok(arguments[0].clone());
    }
    match name {
        // The caller has stopped at the first value that decides, so the last one is left.
        "and" | "or" => Ok(arguments[got - 1].clone()),
        "not" => Ok(Value::Bool(!arguments[0].is_true())),
        "eq" => equal_to_any(&arguments[0], &arguments[1..]).map(Value::Bool),
        "ne" => equal(&arguments[0], &arguments[1]).map(|equal| Value::Bool(!equal)),
        "lt" | "le" | "gt" | "ge" => ordered(name, &arguments[0], &arguments[1]).map(Value::Bool),
        "len" => match arguments[0].len() {
            Some(length) => Ok(Value::Int(length as i128)),
            None => Err(format!("len of type {}", arguments[0].kind()).into()),
        },
        "index" => index(&arguments[0], &arguments[1..]),
        "slice" => slice(&arguments[0], &arguments[1..]),
        "print" => print(arguments, false),
        "println" => print(arguments, true),
        "printf" => printf::printf(text(&arguments[0])?, &arguments[1..]).map_err(CallError::from),
        "json" => json(&arguments[0]),
        "join" => join(&arguments[0], text(&arguments[1])?),
        "split" => split(text(&arguments[0])?, text(&arguments[1])?),
        "lower" => made(text(&arguments[0])?.to_lowercase()),
        "upper" => made(text(&arguments[0])?.to_uppercase()),
        "title" => made(title(text(&arguments[0])?)),
        "pad" => pad(text(&arguments[0])?, number(&arguments[1])?, number(&arguments[2])?),
        "truncate" => truncate(&arguments[0], number(&arguments[1])?),
        _ => Err(format!("function {name:?} not defined").into()),
    }
}

fn made<'d>(text: String) -> Called<'d> {
    if text.len() > TEMPLATE_OUTPUT_BYTES_MAX {
        return Err(too_large().into());
    }
    Ok(Value::made(text))
}

fn text<'a>(value: &'a Value<'_>) -> Result<&'a str, CallError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.kind()).into()),
    }
}

fn number(value: &Value<'_>) -> Result<i128, CallError> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(format!("wrong type for value; expected int; got {}", other.kind()).into()),
    }
}

fn equal_to_any(first: &Value<'_>, others: &[Value<'_>]) -> Result<bool, CallError> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned().into());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, CallError> {
    match (left, right) {
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => Ok(true),
        // A label that is not set compares like an empty one.
        (Value::Missing, Value::Text(text)) | (Value::Text(text), Value::Missing) => Ok(text.is_empty()),
        (Value::Missing | Value::Nil, _) | (_, Value::Missing | Value::Nil) => Ok(false),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::List(_) | Value::MadeList(_) | Value::Map { .. }, _) => {
            Err(format!("non-comparable type {}", left.kind()).into())
        }
        (_, Value::List(_) | Value::MadeList(_) | Value::Map { .. }) => {
            Err(format!("non-comparable type {}", right.kind()).into())
        }
        (left, right) => match left.order(right) {
            Some(order) => Ok(order == Ordering::Equal),
            None if left.kind() == right.kind() => Ok(false),
            None => Err("incompatible types for comparison".to_owned().into()),
        },
    }
}

fn ordered(name: &str, left: &Value<'_>, right: &Value<'_>) -> Result<bool, CallError> {
    let order = match left.order(right) {
        Some(order) => order,
        None if left.kind() == right.kind() => return Err("invalid type for comparison".to_owned().into()),
        None => return Err("incompatible types for comparison".to_owned().into()),
    };
    Ok(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn index<'d>(of: &Value<'d>, indexes: &[Value<'d>]) -> Called<'d> {
    let mut value = of.clone();
    for index in indexes {
        value = match (&value, index) {
            // What Go gives for a map of texts, which is what people look into.
            (Value::Map { map, .. }, Value::Text(key)) => {
                map.get(&**key).map_or_else(|| Value::made(""), Value::of)
            }
            (Value::Map { .. }, other) => {
                return Err(format!("value has type {}; should be string", other.kind()).into());
            }
            (Value::List(_) | Value::MadeList(_), Value::Int(at)) => {
                let element = usize::try_from(*at).ok().and_then(|at| value.element(at));
                element.ok_or_else(|| CallError::Failed(format!("index out of range: {at}")))?
            }
            (Value::Text(text), Value::Int(at)) => {
                let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at).copied());
                match byte {
                    Some(byte) => Value::Int(byte.into()),
                    None => return Err(format!("index out of range: {at}").into()),
                }
            }
            (Value::Missing | Value::Nil, _) => return Err("index of untyped nil".to_owned().into()),
            (Value::List(_) | Value::MadeList(_) | Value::Text(_), other) => {
                return Err(format!("cannot index slice/array with type {}", other.kind()).into());
            }
            (other, _) => return Err(format!("can't index item of type {}", other.kind()).into()),
        };
    }
    Ok(value)
}

fn slice<'d>(of: &Value<'d>, bounds: &[Value<'d>]) -> Called<'d> {
    let length = match of {
        Value::Text(_) | Value::List(_) | Value::MadeList(_) => of.len().unwrap_or(0),
        other => return Err(format!("can't slice item of type {}", other.kind()).into()),
    };
    let mut at = [0, length];
    for (slot, bound) in at.iter_mut().zip(bounds) {
        let bound = number(bound)?;
        let inside = usize::try_from(bound).ok().filter(|bound| *bound <= length);
        *slot = inside.ok_or_else(|| CallError::Failed(format!("index out of range: {bound}")))?;
    }
    let [from, to] = at;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}").into());
    }
    match of {
        Value::Text(text) => match text.get(from..to) {
            Some(part) => Ok(Value::made(part)),
            None => Err("slice ends within a character".to_owned().into()),
        },
        Value::List(list) => Ok(Value::List(&list[from..to])),
        Value::MadeList(list) => Ok(Value::MadeList(list[from..to].into())),
        _ => Ok(Value::Nil),
    }
}

/// Go's rule: a space between two values when neither is a text; `println` puts one everywhere.
fn print<'d>(arguments: &[Value<'d>], line: bool) -> Called<'d> {
    let mut out = Output::default();
    let mut write = || {
        for (index, value) in arguments.iter().enumerate() {
            let is_text = |value: &Value<'_>| matches!(value, Value::Text(_));
            if index > 0 && (line || !is_text(value) && !is_text(&arguments[index - 1])) {
                out.write_char(' ')?;
            }
            value.write(&mut out)?;
        }
        if line { out.write_char('\n') } else { Ok(()) }
    };
    match write() {
        Ok(()) => Ok(Value::made(out.text)),
        Err(std::fmt::Error) => Err(too_large().into()),
    }
}

fn json<'d>(value: &Value<'d>) -> Called<'d> {
    match value {
        Value::Map { map, .. } => made(serde_json::to_string(map).unwrap_or_default()),
        Value::List(list) => made(serde_json::to_string(list).unwrap_or_default()),
        other => made(Json::to_string(&other.to_json())),
    }
}

fn join<'d>(list: &Value<'d>, separator: &str) -> Called<'d> {
    let length = match list {
        Value::List(_) | Value::MadeList(_) => list.len().unwrap_or(0),
        Value::Nil | Value::Missing => 0,
        other => {
            return Err(format!("wrong type for value; expected []string; got {}", other.kind()).into());
        }
    };
    let mut out = Output::default();
    for at in 0..length {
        let element = list.element(at).unwrap_or(Value::Nil);
        let separator = if at > 0 { separator } else { "" };
        if out.write_str(separator).and_then(|()| out.write_str(text(&element).unwrap_or_default())).is_err()
        {
            return Err(too_large().into());
        }
        text(&element)?;
    }
    made(out.text)
}

fn split<'d>(source: &str, separator: &str) -> Called<'d> {
    // Go splits at every character for an empty separator; Rust adds an empty part at both ends.
    let parts: Rc<[Value<'d>]> = match separator {
        "" => source.chars().map(|letter| Value::made(letter.to_string())).collect(),
        separator => source.split(separator).map(Value::made).collect(),
    };
    Ok(Value::MadeList(parts))
}

/// The first letter of each word in upper case.
fn title(source: &str) -> String {
    let mut titled = String::with_capacity(source.len());
    let mut in_word = false;
    for letter in source.chars() {
        if in_word {
            titled.push(letter);
        } else {
            titled.extend(letter.to_uppercase());
        }
        in_word = letter.is_alphanumeric() || letter == '_' || letter == '\'';
    }
    titled
}

fn pad<'d>(source: &str, before: i128, after: i128) -> Called<'d> {
    let width = |count: i128| usize::try_from(count).ok().filter(|count| *count <= TEMPLATE_OUTPUT_BYTES_MAX);
    match (width(before), width(after)) {
        _ if source.is_empty() => made(String::new()),
        (Some(before), Some(after)) => made(format!("{}{source}{}", " ".repeat(before), " ".repeat(after))),
        _ => Err(format!("cannot pad by {before} and {after}").into()),
    }
}

/// Cuts to `length` bytes, less when that would cut a character.
fn truncate<'d>(value: &Value<'d>, length: i128) -> Called<'d> {
    let source = text(value)?;
    let Ok(length) = usize::try_from(length) else {
        return Err(format!("cannot truncate to {length}").into());
    };
    if source.len() <= length {
        return Ok(value.clone());
    }
    let end = (0..=length).rev().find(|end| source.is_char_boundary(*end)).unwrap_or(0);
    Ok(Value::made(&source[..end]))
}
