//! `key=value` arguments: labels.

/// A key alone has the empty value. Docker takes any key that is not empty and has no space.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        "" => Err(format!("invalid label {text:?}: the key is empty (expected key=value)")),
        key if key.contains(char::is_whitespace) => {
            Err(format!("invalid label {text:?}: the key contains whitespace"))
        }
        key => Ok((key.into(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        #[rustfmt::skip]
        let cases = [
            ("a=b", Some(("a", "b"))), ("a", Some(("a", ""))), ("a=", Some(("a", ""))), ("a=b=c", Some(("a", "b=c"))),
            ("=b", None), ("", None), ("a b=c", None),
        ];
        for (text, expected) in cases {
            let seen = label(text).ok();
            let seen = seen.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
            assert_eq!(seen, expected, "{text}");
        }
    }
}
