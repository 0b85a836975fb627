//! What an error says without what it repeats of somebody's body: no token, key or value gets into the record. Pure.

use common::limits::AUDIT_ERROR_CHARS_MAX;

/// Prefixes of things that let somebody in; what follows them is left out.
const SECRETS: [&str; 3] = ["SWMTKN-", "SWMKEY-", "-----BEGIN"];

/// The text of an error as it may be kept.
pub fn error(text: &str) -> String {
    // These repeat a piece of the body that could not be read.
    if text.starts_with("invalid JSON") {
        return "invalid JSON".into();
    }
    let mut kept = String::new();
    let mut rest = text;
    while let Some((at, prefix)) = first_secret(rest) {
        kept.push_str(&rest[..at + prefix.len()]);
        kept.push('…');
        let after = &rest[at + prefix.len()..];
        let end = if prefix == "-----BEGIN" {
            after.len()
        } else {
            after.find(ends_a_secret).unwrap_or(after.len())
        };
        rest = &after[end..];
    }
    kept.push_str(rest);
    kept.chars().filter(|letter| !letter.is_control()).take(AUDIT_ERROR_CHARS_MAX).collect()
}

fn first_secret(text: &str) -> Option<(usize, &'static str)> {
    SECRETS.into_iter().filter_map(|prefix| Some((text.find(prefix)?, prefix))).min()
}

fn ends_a_secret(letter: char) -> bool {
    !(letter.is_ascii_alphanumeric() || "-+/=_".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_lets_somebody_in_is_left_out() {
        #[rustfmt::skip]
        let cases = [
            ("node x not found", "node x not found"),
            ("invalid JSON: invalid type: string \"hunter2\", expected u64", "invalid JSON"),
            ("token SWMTKN-1-abc-def is wrong", "token SWMTKN-… is wrong"),
            ("'SWMKEY-1-a+b/c=' and SWMTKN-1-x", "'SWMKEY-…' and SWMTKN-…"),
            ("bad key -----BEGIN PRIVATE KEY-----\nabc", "bad key -----BEGIN…"),
            ("two\nlines", "twolines"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected);
        }
        assert_eq!(error(&"x".repeat(10_000)).len(), AUDIT_ERROR_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn no_token_gets_through(before in ".{0,40}", secret in "[0-9a-z]{25}", after in "\\PC{0,40}") {
            let kept = error(&format!("{before}SWMTKN-1-{secret}{after}"));
            prop_assert!(!kept.contains(&secret));
        }
    }
}
