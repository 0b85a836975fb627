//! One line as a shell would split it: quotes, escapes and comments, and nothing is expanded.

use std::iter::Peekable;
use std::str::{Chars, FromStr};

/// A command line of `--args`, `--entrypoint` and the like. An empty one takes away what was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl FromStr for Words {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = Vec::new();
        let mut letters = text.chars().peekable();
        loop {
            while letters.next_if(|letter| letter.is_ascii_whitespace()).is_some() {}
            match letters.peek() {
                None => return Ok(Self(words)),
                Some('#') => while letters.next_if(|letter| *letter != '\n').is_some() {},
                Some(_) => words.push(word(&mut letters)?),
            }
        }
    }
}

fn word(letters: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    const NO_QUOTE: &str = "EOF found when expecting closing quote";
    const NO_LETTER: &str = "EOF found after escape character";
    let mut word = String::new();
    while let Some(letter) = letters.next_if(|letter| !letter.is_ascii_whitespace()) {
        match letter {
            '\\' => word.push(letters.next().ok_or(NO_LETTER)?),
            '\'' => loop {
                match letters.next().ok_or(NO_QUOTE)? {
                    '\'' => break,
                    letter => word.push(letter),
                }
            },
            '"' => loop {
                match letters.next().ok_or(NO_QUOTE)? {
                    '"' => break,
                    '\\' => word.push(letters.next().ok_or(NO_LETTER)?),
                    letter => word.push(letter),
                }
            },
            letter => word.push(letter),
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_become_words() {
        #[rustfmt::skip]
        let cases: [(&str, Result<&[&str], &str>); 12] = [
            ("", Ok(&[])), ("  ", Ok(&[])),
            ("a b  c", Ok(&["a", "b", "c"])),
            ("sh -c 'echo \"hi\" $x'", Ok(&["sh", "-c", "echo \"hi\" $x"])),
            (r#"a "b \"c\" d" e\ f"#, Ok(&["a", "b \"c\" d", "e f"])),
            ("a''b \"\"", Ok(&["ab", ""])),
            ("a # comment", Ok(&["a"])),
            ("a#b", Ok(&["a#b"])),
            ("# only\nnext", Ok(&["next"])),
            ("'a", Err("EOF found when expecting closing quote")),
            ("\"a", Err("EOF found when expecting closing quote")),
            ("a\\", Err("EOF found after escape character")),
        ];
        for (text, expected) in cases {
            let seen = text.parse::<Words>().map(|words| words.0);
            let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(seen, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_words_stay(words in prop::collection::vec("[a-zA-Z0-9_./-]{1,8}", 0..5)) {
            prop_assert_eq!(words.join(" ").parse::<Words>().map(|seen| seen.0), Ok(words));
        }

        #[test]
        fn no_text_panics(text in "[a \\\\'\"#\n]{0,20}") {
            let _ = text.parse::<Words>();
        }
    }
}
