//! What a template works on: parts of the data by reference, and what functions made.

use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::rc::Rc;

use serde_json::{Map, Value as Json};

#[derive(Clone, Debug)]
pub enum Value<'d> {
    /// A key that a map of anything does not have.
    Missing,
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text<'d>),
    List(&'d [Json]),
    MadeList(Rc<[Value<'d>]>),
    Map {
        map: &'d Map<String, Json>,
        /// Its keys are people's own (labels), so that a key that is not there is no mistake.
        open: bool,
    },
}

/// Cheap to copy in either case.
#[derive(Clone, Debug)]
pub enum Text<'d> {
    Data(&'d str),
    Made(Rc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Data(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// Fields whose value has keys that people choose.
const OPEN_FIELDS: [&str; 4] = ["Labels", "Options", "DriverOpts", "Sysctls"];

impl<'d> Value<'d> {
    pub fn of(json: &'d Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), _, _) => Self::Int(value.into()),
                (None, Some(value), _) => Self::Int(value.into()),
                (None, None, value) => Self::Float(value.unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(Text::Data(text)),
            Json::Array(list) => Self::List(list),
            Json::Object(map) => Self::Map { map, open: false },
        }
    }

    pub fn made(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    /// `.name`, or what is wrong with that.
    pub fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Map { map, open } => match map.get(name) {
                Some(Json::Object(map)) => Ok(Self::Map { map, open: OPEN_FIELDS.contains(&name) }),
                Some(value) => Ok(Self::of(value)),
                None if *open => Ok(Self::Missing),
                None => Err(format!("map has no entry for key {name:?}")),
            },
            Self::Nil | Self::Missing => Err(format!("nil pointer evaluating interface {{}}.{name}")),
            other => Err(format!("can't evaluate field {name} in type {}", other.kind())),
        }
    }

    /// Go's name of the type, for error texts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::MadeList(_) => "[]string",
            Self::Map { .. } => "map[string]interface {}",
        }
    }

    pub fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::MadeList(list) => !list.is_empty(),
            Self::Map { map, .. } => !map.is_empty(),
        }
    }

    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::List(list) => Some(list.len()),
            Self::MadeList(list) => Some(list.len()),
            Self::Map { map, .. } => Some(map.len()),
            Self::Missing | Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
        }
    }

    /// The element of a list.
    pub fn element(&self, index: usize) -> Option<Self> {
        match self {
            Self::List(list) => list.get(index).map(Self::of),
            Self::MadeList(list) => list.get(index).cloned(),
            _ => None,
        }
    }

    /// The order of two values of one kind; none for kinds that have none, or that differ.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Float(b)) => (*a as f64).partial_cmp(b),
            (Self::Float(a), Self::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some((**a).cmp(&**b)),
            _ => None,
        }
    }

    /// As Go's `%v` prints it; at the top of an action a missing value is `<no value>`.
    pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
        match self {
            Self::Missing => out.write_str("<no value>"),
            Self::Nil => out.write_str("<nil>"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Float(value) => out.write_str(&float(*value)),
            Self::Text(text) => out.write_str(text),
            Self::List(list) => write_list(out, list.iter().map(Self::of)),
            Self::MadeList(list) => write_list(out, list.iter().cloned()),
            Self::Map { map, .. } => {
                out.write_str("map[")?;
                for (index, (key, value)) in sorted(map).into_iter().enumerate() {
                    if index > 0 {
                        out.write_char(' ')?;
                    }
                    write!(out, "{key}:")?;
                    Self::of(value).write(out)?;
                }
                out.write_char(']')
            }
        }
    }

    /// For the function `json`.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Missing | Self::Nil => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => {
                let signed = i64::try_from(*value).map(Json::from);
                signed.or_else(|_| u64::try_from(*value).map(Json::from)).unwrap_or(Json::Null)
            }
            Self::Float(value) => Json::from(*value),
            Self::Text(text) => Json::String(text.to_string()),
            Self::List(list) => Json::Array(list.to_vec()),
            Self::MadeList(list) => Json::Array(list.iter().map(Self::to_json).collect()),
            Self::Map { map, .. } => Json::Object((*map).clone()),
        }
    }
}

/// Maps are walked in the order of their keys, whatever order the parser of JSON kept.
pub fn sorted(map: &Map<String, Json>) -> Vec<(&String, &Json)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn write_list<'d>(out: &mut dyn Write, values: impl Iterator<Item = Value<'d>>) -> fmt::Result {
    out.write_char('[')?;
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.write_char(' ')?;
        }
        value.write(out)?;
    }
    out.write_char(']')
}

/// Go's shortest form: `1.5`, `1e+06`, `1e-07`.
pub fn float(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() || (1e-4..1e6).contains(&size) {
        return value.to_string();
    }
    exponential(&format!("{value:e}"))
}

/// Rust's `1.5e6` to Go's `1.5e+06`.
pub fn exponential(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}
