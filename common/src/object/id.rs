//! Ids: 128 random bits, written as 25 base36 characters, one type per kind of object.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::random::Random;

/// Characters of an id as people and the API see it.
pub const ID_LENGTH: usize = 25;
/// Characters shown in narrow tables.
pub const SHORT_ID_LENGTH: usize = 12;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an id: expected {ID_LENGTH} characters of 0-9 and a-z")]
pub struct InvalidId {
    pub text: String,
}

/// Writes 128 bits as base36, padded to 25 characters: text order is number order.
pub fn to_base36(mut value: u128) -> String {
    let mut digits = [b'0'; ID_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(value % 36) as usize];
        value /= 36;
    }
    digits.iter().map(|byte| *byte as char).collect()
}

/// Reads exactly 25 lower-case base36 characters that fit in 128 bits.
pub fn from_base36(text: &str) -> Result<u128, InvalidId> {
    let invalid = || InvalidId { text: text.chars().take(64).collect() };
    if text.len() != ID_LENGTH {
        return Err(invalid());
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return Err(invalid()),
        };
        value.checked_mul(36).and_then(|value| value.checked_add(digit.into())).ok_or_else(invalid)
    })
}

/// 128 random bits with the top one set, so that an id never starts with a run of zeros.
pub fn random_bits(random: &mut dyn Random) -> u128 {
    let high = u128::from(random.next_u64() | 1 << 63);
    high << 64 | u128::from(random.next_u64())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);

        impl $name {
            pub fn generate(random: &mut dyn Random) -> Self {
                Self(random_bits(random))
            }

            /// The form narrow tables show.
            pub fn short(&self) -> String {
                self.to_string().chars().take(SHORT_ID_LENGTH).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&to_base36(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_base36(self.0))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                from_base36(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_u128(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    u128::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id_type!(
    /// A node. Also its certificate's common name and its address in gossip.
    NodeId
);
id_type!(
    /// A cluster. Also the organization of every certificate in it.
    ClusterId
);
id_type!(
    /// A service.
    ServiceId
);
id_type!(
    /// A secret or a config.
    PayloadId
);
id_type!(
    /// A network of the cluster.
    NetworkId
);
id_type!(
    /// A task. Never moved and never used again: a replacement is a new task.
    TaskId
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_number_are_the_same_id(value: u128) {
            let text = to_base36(value);
            prop_assert_eq!(text.len(), ID_LENGTH);
            prop_assert_eq!(from_base36(&text), Ok(value));
        }

        #[test]
        fn text_order_is_number_order(a: u128, b: u128) {
            prop_assert_eq!(to_base36(a).cmp(&to_base36(b)), a.cmp(&b));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = from_base36(&text);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in ["", "abc", "zzzzzzzzzzzzzzzzzzzzzzzzz", "ABCDEFGHIJKLMNOPQRSTUVWXY", "äääääääääääää"]
        {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }
}
