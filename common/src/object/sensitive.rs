//! What must not appear in logs or errors, and leaves memory when its last holder drops it.

use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// Text: a key, a token, a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensitive(String);

impl Sensitive {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself. Every caller is a place to look at when asking where secrets go.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Sensitive {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive(..)")
    }
}

/// Bytes: what a secret holds. Clones share them, so that a value is in memory once however many hold it.
#[derive(Clone, PartialEq, Eq)]
pub struct SensitiveBytes(Arc<Zeroizing<Vec<u8>>>);

impl SensitiveBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes themselves. Every caller is a place to look at when asking where secrets go.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// How many there are, which is no secret.
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for SensitiveBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SensitiveBytes(..)")
    }
}

impl Serialize for SensitiveBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for SensitiveBytes {
    /// In one piece: a vector that grows would leave copies behind.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = SensitiveBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<SensitiveBytes, E> {
                Ok(SensitiveBytes::new(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<SensitiveBytes, E> {
                Ok(SensitiveBytes::new(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec;

    #[test]
    fn nothing_of_it_is_shown_and_all_of_it_travels() {
        let (text, bytes) = (Sensitive::new("hunter2".into()), SensitiveBytes::new(b"hunter2".to_vec()));
        assert!(!format!("{text:?} {bytes:?}").contains("hunter2"));
        let again: (Sensitive, SensitiveBytes) = codec::decode(&codec::encode(&(&text, &bytes))).unwrap();
        assert_eq!(again, (text, bytes));
    }
}
