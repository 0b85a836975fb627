//! `--filter key=value`, repeated: same key means or, different keys mean and. The daemon knows the keys.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::client::escape;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub key: String,
    pub value: String,
}

impl FromStr for Filter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_lowercase(), value: value.trim().into() })
            }
            _ => Err("bad format of filter (expected name=value)"),
        }
    }
}

/// `path?filters=…` in the form Docker sends, `{"key":{"value":true}}`; the path alone without filters.
pub fn with_filters(path: &str, filters: &[Filter]) -> String {
    if filters.is_empty() {
        return path.into();
    }
    let mut by_key: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for filter in filters {
        by_key.entry(&filter.key).or_default().insert(&filter.value);
    }
    let json = serde_json::Value::Object(
        by_key
            .into_iter()
            .map(|(key, values)| {
                let values = values.into_iter().map(|value| (value.to_owned(), true.into())).collect();
                (key.to_owned(), serde_json::Value::Object(values))
            })
            .collect(),
    );
    format!("{path}?filters={}", escape(&json.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_a_query() {
        let filters: Vec<Filter> = ["role=worker", "Label=a=b", "role=manager", "role=worker"]
            .iter()
            .map(|text| text.parse().expect("a filter"))
            .collect();
        assert_eq!(
            with_filters("/nodes", &filters),
            format!(
                "/nodes?filters={}",
                escape(r#"{"label":{"a=b":true},"role":{"manager":true,"worker":true}}"#)
            )
        );
        assert_eq!(with_filters("/nodes", &[]), "/nodes");
        for bad in ["", "role", "=x", " =x"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
