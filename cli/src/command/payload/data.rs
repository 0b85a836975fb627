//! Where the value of a secret or config comes from: a file, standard input, or chance. It is shown nowhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, stdin};
use std::str::FromStr;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::object::sensitive::{Sensitive, SensitiveBytes};
use common::random::{Random, SystemRandom};

use crate::exit::Failure;

/// One more than any of them may have: what is longer is refused by the daemon, in its words.
const VALUE_BYTES_READ_MAX: u64 = 1_024_000;
const LENGTH_MAX: u32 = 4_096;

#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// File with the value; - is standard input
    #[arg(value_name = "FILE|-", conflicts_with = "generate")]
    pub file: Option<String>,

    /// Let chance make the value; nobody is shown it
    #[arg(long, help_heading = "Generating")]
    pub generate: bool,

    /// Characters of a generated value
    #[arg(long, value_name = "N", requires = "generate", default_value_t = 32, help_heading = "Generating")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(LENGTH_MAX)))]
    pub length: u32,

    /// Characters to take: alnum, hex, digits, letters, symbols, or chars:CHARACTERS
    #[arg(long, requires = "generate", default_value = "alnum", help_heading = "Generating")]
    pub alphabet: Alphabet,
}

impl DataArgs {
    /// The value in base64, as requests carry it; none when nothing says where it is.
    pub fn read(&self) -> anyhow::Result<Option<Sensitive>> {
        let value = match self.file.as_deref() {
            None if self.generate => self.alphabet.generate(self.length, &mut SystemRandom),
            None => return Ok(None),
            Some("-") => read(&mut stdin().lock()).context("read the value from standard input")?,
            Some(path) => {
                let file = File::open(path).with_context(|| format!("open {path}"))?;
                read(&mut &file).with_context(|| format!("read {path}"))?
            }
        };
        Ok(Some(Sensitive::new(STANDARD.encode(value.reveal()))))
    }
}

/// What to say when a value is needed and there is none.
pub fn missing() -> anyhow::Error {
    Failure::usage("where is the value? Name a file, - for standard input, or --generate").into()
}

fn read(source: &mut dyn Read) -> std::io::Result<SensitiveBytes> {
    let mut value = Vec::with_capacity(VALUE_BYTES_READ_MAX as usize);
    source.take(VALUE_BYTES_READ_MAX).read_to_end(&mut value)?;
    Ok(SensitiveBytes::new(value))
}

/// At least two ASCII characters, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alphabet(Vec<u8>);

impl FromStr for Alphabet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of = |keep: fn(&u8) -> bool| (b'!'..=b'~').filter(keep).collect();
        let characters: Vec<u8> = match text {
            "alnum" => of(u8::is_ascii_alphanumeric),
            "hex" => b"0123456789abcdef".into(),
            "digits" => of(u8::is_ascii_digit),
            "letters" => of(u8::is_ascii_alphabetic),
            "symbols" => of(u8::is_ascii_graphic),
            _ => match text.strip_prefix("chars:") {
                Some(own) if own.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                    own.bytes().collect::<BTreeSet<u8>>().into_iter().collect()
                }
                Some(_) => return Err("characters of a generated value are printable ASCII".into()),
                None => return Err("use alnum, hex, digits, letters, symbols, or chars:CHARACTERS".into()),
            },
        };
        if characters.len() < 2 {
            return Err("with fewer than two characters there is nothing to choose".into());
        }
        Ok(Self(characters))
    }
}

impl Alphabet {
    /// Every character is as likely as every other one, everywhere.
    fn generate(&self, length: u32, random: &mut dyn Random) -> SensitiveBytes {
        let length = length as usize;
        // Bytes beyond the last whole round of the alphabet would favour its start.
        let fair = 256 - 256 % self.0.len();
        let mut value = Vec::with_capacity(length);
        while value.len() < length {
            let mut byte = [0];
            random.fill(&mut byte);
            let number = usize::from(byte[0]);
            if number < fair {
                value.push(self.0[number % self.0.len()]);
            }
        }
        SensitiveBytes::new(value)
    }
}

#[cfg(test)]
mod tests {
    use common::random::SeededRandom;

    use super::*;

    #[test]
    fn alphabets() {
        #[rustfmt::skip]
        let cases = [
            ("alnum",       Ok(62)), ("hex", Ok(16)), ("digits", Ok(10)), ("letters", Ok(52)), ("symbols", Ok(94)),
            ("chars:aab",   Ok(2)),
            ("chars:aaa",   Err("with fewer than two characters there is nothing to choose")),
            ("chars:",      Err("with fewer than two characters there is nothing to choose")),
            ("chars:aä",    Err("characters of a generated value are printable ASCII")),
            ("base64",      Err("use alnum, hex, digits, letters, symbols, or chars:CHARACTERS")),
        ];
        for (text, expected) in cases {
            let found = text.parse::<Alphabet>().map(|alphabet| alphabet.0.len());
            assert_eq!(found, expected.map_err(String::from), "{text}");
        }
    }

    #[test]
    fn generated_values_are_of_the_alphabet_and_even() {
        let alphabet: Alphabet = "chars:abc".parse().expect("an alphabet");
        let mut random = SeededRandom::new(1, "values");
        let value = alphabet.generate(30_000, &mut random);
        assert_eq!(value.length(), 30_000);
        for character in b"abc" {
            let count = value.reveal().iter().filter(|byte| *byte == character).count();
            assert!((9_500..10_500).contains(&count), "{count}");
        }
        assert!(alphabet.generate(32, &mut random) != alphabet.generate(32, &mut random));
    }

    #[test]
    fn no_more_than_the_bound_is_read() {
        let value = read(&mut std::io::repeat(b'x')).expect("it reads");
        assert_eq!(value.length() as u64, VALUE_BYTES_READ_MAX);
    }
}
