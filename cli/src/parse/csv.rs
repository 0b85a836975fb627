//! Comma-separated fields of one flag value, quoted as in CSV: `source=a,"target=/with,comma"`.

/// The fields of `text`, with the words of Go's reader for what it does not take.
pub fn fields(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Err("EOF".into());
    }
    let error = |column: usize, what: &str| format!("parse error on line 1, column {}: {what}", column + 1);
    let mut fields = Vec::new();
    let mut letters = text.char_indices().peekable();
    loop {
        let mut field = String::new();
        if letters.next_if(|(_, letter)| *letter == '"').is_some() {
            loop {
                match letters.next() {
                    None => return Err(error(text.len(), "extraneous or missing \" in quoted-field")),
                    Some((_, '"')) if letters.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
                    Some((_, '"')) => break,
                    Some((_, letter)) => field.push(letter),
                }
            }
            if let Some((at, letter)) = letters.peek()
                && *letter != ','
            {
                return Err(error(*at, "extraneous or missing \" in quoted-field"));
            }
        } else {
            while let Some((at, letter)) = letters.next_if(|(_, letter)| *letter != ',') {
                if letter == '"' {
                    return Err(error(at, "bare \" in non-quoted field"));
                }
                field.push(letter);
            }
        }
        fields.push(field);
        if letters.next().is_none() {
            return Ok(fields);
        }
    }
}

/// Does this read as `key=value[,key=value…]`, and not as a plain value?
pub fn is_long_form(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.as_bytes().windows(3).any(|window| is_word(&window[0]) && window[1] == b'=' && is_word(&window[2]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_what_is_in_them() {
        #[rustfmt::skip]
        let cases: [(&str, Result<&[&str], &str>); 9] = [
            ("a", Ok(&["a"])),
            ("a=1,b", Ok(&["a=1", "b"])),
            ("a,,", Ok(&["a", "", ""])),
            (r#""a=1,2",b"#, Ok(&["a=1,2", "b"])),
            (r#""say ""hi""""#, Ok(&[r#"say "hi""#])),
            (r#""""#, Ok(&[""])),
            (r#"a"b"#, Err(r#"parse error on line 1, column 2: bare " in non-quoted field"#)),
            (r#""a"b"#, Err(r#"parse error on line 1, column 4: extraneous or missing " in quoted-field"#)),
            ("", Err("EOF")),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|fields| fields.iter().map(|field| (*field).to_owned()).collect());
            assert_eq!(fields(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a=,\"ä]{0,20}") {
            let _ = fields(&text);
            let _ = is_long_form(&text);
        }
    }
}
