//! JSON as `inspect` shows it: what the daemon sent, in its order, indented by 4.

use serde::de::IgnoredAny;

/// Sets line breaks and indentation anew and touches nothing else: numbers and order stay as they came.
pub fn indent(raw: &[u8]) -> Result<String, serde_json::Error> {
    serde_json::from_slice::<IgnoredAny>(raw)?;
    let mut text = String::with_capacity(raw.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let source = String::from_utf8_lossy(raw);
    let mut letters = source.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            text.push(letter);
            (in_string, escaped) = match letter {
                _ if escaped => (true, false),
                '\\' => (true, true),
                '"' => (false, false),
                _ => (true, false),
            };
            continue;
        }
        match letter {
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                text.push(letter);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                match letters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(close) => text.push(close),
                    None => {
                        depth += 1;
                        new_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(letter);
            }
            ',' => {
                text.push(',');
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            '"' => {
                in_string = true;
                text.push('"');
            }
            other => text.push(other),
        }
    }
    Ok(text)
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("    ", depth));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_white_space_changes() {
        let raw = br#"[ {"b":1.50,"a":[],"c":{ },"d":"x, {\"}: [","e":[1,{"f":null}]}]"#;
        let expected = r#"[
    {
        "b": 1.50,
        "a": [],
        "c": {},
        "d": "x, {\"}: [",
        "e": [
            1,
            {
                "f": null
            }
        ]
    }
]"#;
        assert_eq!(indent(raw).expect("valid"), expected);
        assert!(indent(b"[1,").is_err());
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(keys in prop::collection::btree_map(".{0,5}", ".{0,8}", 0..5), list in prop::collection::vec(any::<i64>(), 0..4)) {
            let value = serde_json::json!({"map": keys, "list": [list, []]});
            let text = indent(value.to_string().as_bytes()).expect("valid");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("valid"), value);
        }
    }
}
