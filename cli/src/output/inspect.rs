//! `inspect`: a JSON array of what the daemon sent, or a template per object.

use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use serde_json::Value as Json;

use super::json;
use super::listing::parsing_error;
use super::template::Template;
use crate::exit::Failure;

/// What `--format` of `inspect` and `info` says.
#[derive(Clone, Debug)]
pub enum Format {
    /// Compact, on one line.
    Json,
    Template(Arc<Template>),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            text => Template::parse(text)
                .map(|template| Self::Template(Arc::new(template)))
                .map_err(parsing_error),
        }
    }
}

/// One object, with a line break at the end.
pub fn show(format: &Format, object: &Json) -> Result<String, Failure> {
    match format {
        Format::Json => Ok(format!("{object}\n")),
        Format::Template(template) => {
            let text = template.render(object).map_err(|error| Failure::usage(parsing_error(error)))?;
            Ok(format!("{text}\n"))
        }
    }
}

/// All objects as one indented array; `[]` when there are none.
pub fn array(objects: &[Bytes]) -> anyhow::Result<String> {
    let array = [b"[".as_slice(), &objects.join(b",".as_slice()), b"]"].concat();
    let text = json::indent(&array).context("make sense of the daemon's answer")?;
    Ok(format!("{text}\n"))
}

/// The same on one line.
pub fn compact_array(objects: &[Bytes]) -> String {
    let objects: Vec<_> = objects.iter().map(|object| String::from_utf8_lossy(object.trim_ascii())).collect();
    format!("[{}]\n", objects.join(","))
}

/// Adds the members that Docker's types always have and its JSON leaves out, so that templates can name them.
pub fn fill(object: &mut Json, defaults: &Json) {
    if let (Json::Object(object), Json::Object(defaults)) = (object, defaults) {
        for (key, default) in defaults {
            match object.get_mut(key) {
                Some(Json::Null) if default.is_object() => {
                    object.insert(key.clone(), default.clone());
                }
                Some(value) => fill(value, default),
                None => {
                    object.insert(key.clone(), default.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrays_keep_the_order_of_members() {
        let objects = [Bytes::from_static(br#"{"b":1,"a":2}"#), Bytes::from_static(b"{}")];
        assert_eq!(
            array(&objects).expect("valid"),
            "[\n    {\n        \"b\": 1,\n        \"a\": 2\n    },\n    {}\n]\n"
        );
        assert_eq!(array(&[]).expect("valid"), "[]\n");
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let mut object = json!({"a": {"b": 1}, "d": null, "f": null});
        fill(&mut object, &json!({"a": {"b": 9, "c": ""}, "d": {"e": 1}, "f": 2, "g": null}));
        assert_eq!(object, json!({"a": {"b": 1, "c": ""}, "d": {"e": 1}, "f": null, "g": null}));
    }
}
