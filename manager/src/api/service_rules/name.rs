//! Names of services: which are allowed, and one for a service that came without.

use common::random::Random;

use super::super::error::ApiError;

const NAME_CHARACTERS_MAX: usize = 63;

pub fn check(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::invalid("meta: name must be provided"));
    }
    if !is_dns_component(name) {
        return Err(ApiError::invalid("name must be valid as a DNS name component"));
    }
    if name.len() > NAME_CHARACTERS_MAX {
        return Err(ApiError::invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// Letters, digits, `-` and `_`; the first and the last a letter or digit.
fn is_dns_component(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric();
    name.bytes().all(|byte| is_letter(byte) || matches!(byte, b'-' | b'_'))
        && name.bytes().next().is_some_and(is_letter)
        && name.bytes().next_back().is_some_and(is_letter)
}

/// `adjective_surname`. The caller looks whether it is free.
pub fn random_name(random: &mut dyn Random) -> String {
    let mut pick = |words: &[&'static str]| {
        let last = words.len() - 1;
        words[((random.fraction() * words.len() as f64) as usize).min(last)]
    };
    format!("{}_{}", pick(&ADJECTIVES), pick(&SURNAMES))
}

const ADJECTIVES: [&str; 40] = [
    "able", "bold", "brave", "bright", "brisk", "busy", "calm", "clear", "clever", "eager", "early", "fair",
    "fine", "firm", "fond", "frank", "fresh", "gentle", "glad", "grand", "happy", "keen", "kind", "lively",
    "lucid", "merry", "modest", "neat", "noble", "patient", "plain", "polite", "proud", "quick", "quiet",
    "ready", "sharp", "steady", "sunny", "warm",
];

const SURNAMES: [&str; 40] = [
    "abel", "babbage", "bell", "bohr", "boole", "cantor", "cauchy", "curie", "darwin", "dijkstra", "euclid",
    "euler", "faraday", "fermat", "fermi", "gauss", "godel", "hamilton", "hertz", "hilbert", "hopper",
    "hubble", "kepler", "knuth", "lamport", "laplace", "leibniz", "liskov", "lovelace", "maxwell", "mendel",
    "newton", "noether", "pascal", "planck", "ritchie", "shannon", "tesla", "turing", "volta",
];

#[cfg(test)]
mod tests {
    use super::*;
    use common::random::SeededRandom;

    #[test]
    fn random_names_are_names_and_differ() {
        let mut random = SeededRandom::new(1, "names");
        let names: std::collections::BTreeSet<String> = (0..100).map(|_| random_name(&mut random)).collect();
        assert!(names.len() > 80, "{names:?}");
        for name in &names {
            check(name).expect("a name");
        }
    }

    #[test]
    fn names_are_dns_components() {
        let long = "a".repeat(63);
        for name in ["a", "A-b_C9", "a__b", long.as_str()] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["-a", "a-", "_a", "a.b", "a b", "ä", "a/b"] {
            assert_eq!(
                check(name).unwrap_err().message,
                "name must be valid as a DNS name component",
                "{name}"
            );
        }
        assert_eq!(check(&"a".repeat(64)).unwrap_err().message, "name must be 63 characters or fewer");
        assert_eq!(check("").unwrap_err().message, "meta: name must be provided");
    }
}
