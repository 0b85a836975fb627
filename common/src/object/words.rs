//! Enums that are words to people and to the API: one list per type, read and written the same everywhere.

/// A word that is not one of the allowed ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not a {what}: use {allowed}")]
pub struct UnknownWord {
    pub what: &'static str,
    pub word: String,
    pub allowed: &'static str,
}

macro_rules! words {
    ($type:ident, $what:literal, $allowed:literal, $($variant:ident = $word:literal),+ $(,)?) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::object::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::object::UnknownWord {
                        what: $what,
                        word: word.chars().take(64).collect(),
                        allowed: $allowed,
                    }),
                }
            }
        }
    };
}

pub(crate) use words;
