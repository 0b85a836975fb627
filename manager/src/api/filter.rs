//! The `filters` parameter of lists: which keys, which values, what matches. Pure.
//!
//! Several values of one key mean "or", several keys mean "and"; labels must all match.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::error::ApiError;
use super::target::shortened;

/// Checked against the keys that a list knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Docker's client sends `{"v":true}`, everyone else `["v"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// `text` is the parameter's value, empty when there is none.
    pub fn parse(text: &str, known_keys: &[&str]) -> Result<Self, ApiError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read: BTreeMap<String, Values> = serde_json::from_str(text).map_err(|error| {
            ApiError::invalid(format!(
                "invalid filters: expected {{\"key\":[\"value\"]}} or {{\"key\":{{\"value\":true}}}}: {error}"
            ))
        })?;
        let mut filters = BTreeMap::new();
        for (key, values) in read {
            if !known_keys.contains(&key.as_str()) {
                return Err(ApiError::invalid(format!("invalid filter '{}'", shortened(&key))));
            }
            let values = match values {
                Values::List(values) => values.into_iter().collect(),
                // Docker asks for the key alone: a value set to false counts as well.
                Values::Set(values) => values.into_keys().collect(),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether one of the key's values starts `text`; true without the key.
    pub fn prefix(&self, key: &str, text: &str) -> bool {
        self.any(key, |value| text.starts_with(value))
    }

    /// Whether one of the key's values satisfies; true without the key.
    pub fn any(&self, key: &str, matches: impl FnMut(&str) -> bool) -> bool {
        let mut values = self.values(key).peekable();
        values.peek().is_none() || values.any(matches)
    }

    /// Whether all of the key's `k` and `k=v` are among the labels. An empty value asks for the name alone.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).all(|wanted| {
            let (name, value) = wanted.split_once('=').unwrap_or((wanted, ""));
            labels.get(name).is_some_and(|found| value.is_empty() || found == value)
        })
    }

    /// Refuses values of `key` that are not one of `allowed`.
    pub fn check_words(&self, key: &str, allowed: &[&str]) -> Result<(), ApiError> {
        match self.values(key).find(|value| !allowed.contains(value)) {
            Some(value) => Err(ApiError::invalid(format!("Invalid {key} filter: '{}'", shortened(value)))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: [&str; 3] = ["id", "label", "role"];

    fn filters(text: &str) -> Filters {
        Filters::parse(text, &KEYS).expect("filters")
    }

    #[test]
    fn both_shapes_are_the_same() {
        assert_eq!(filters(r#"{"id":["a","b"]}"#), filters(r#"{"id":{"a":true,"b":true}}"#));
        assert_eq!(filters(""), filters("{}"));
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        let message = |text| Filters::parse(text, &KEYS).expect_err(text).message;
        assert_eq!(message(r#"{"x":["a"]}"#), "invalid filter 'x'");
        for text in ["[", "[]", "1", r#"{"id":1}"#, r#"{"id":[1]}"#, r#"{"id":{"a":"b"}}"#] {
            assert!(message(text).starts_with("invalid filters: "), "{text}");
        }
        let role = filters(r#"{"role":["boss"]}"#).check_words("role", &["worker", "manager"]);
        assert_eq!(role.unwrap_err().message, "Invalid role filter: 'boss'");
    }

    #[test]
    fn ids_match_by_their_start_and_labels_all() {
        let labels = BTreeMap::from([("a".into(), "1".into()), ("b".into(), String::new())]);
        #[rustfmt::skip]
        let cases = [ // filters, matches an object with id "xyz" and these labels
            ("",                             true),
            (r#"{"id":["xy"]}"#,             true),
            (r#"{"id":["q","x"]}"#,          true),
            (r#"{"id":["xyzz"]}"#,           false),
            (r#"{"label":["a"]}"#,           true),
            (r#"{"label":["a=1","b"]}"#,     true),
            (r#"{"label":["a=1","c"]}"#,     false),
            (r#"{"label":["a=2"]}"#,         false),
            (r#"{"label":["a="]}"#,          true),
            (r#"{"id":["x"],"label":["c"]}"#, false),
        ];
        for (text, expected) in cases {
            let filters = filters(text);
            assert_eq!(filters.prefix("id", "xyz") && filters.labels("label", &labels), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = Filters::parse(&text, &KEYS);
        }
    }
}
