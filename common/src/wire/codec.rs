//! Values as bytes: a format version, then bincode. The only code that names bincode.
//!
//! Bincode reads fields in order and knows no defaults, so a changed type is a new format:
//! raise `FORMAT`, keep decoding the old one, keep its bytes as a test file.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::FRAME_BYTES_MAX;

/// The format this program writes.
pub const FORMAT: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("no bytes")]
    Empty,
    #[error("format {found} is not known to this version of swarm, which reads up to {FORMAT}")]
    Format { found: u8 },
    #[error("{left} bytes after the end of the value")]
    Trailing { left: usize },
    #[error("damaged or foreign bytes: {0}")]
    Content(String),
}

/// Encodes any of our own types. They hold nothing that bincode refuses, so this does not fail.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    encode_into(&mut bytes, value);
    bytes
}

/// Appends the value alone, for callers that keep the format elsewhere.
pub fn encode_into<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    bincode::serde::encode_into_std_write(value, bytes, bincode::config::standard())
        .expect("our types encode, and a vector takes every write");
}

/// Decodes what `encode` wrote; refuses anything else, whatever the bytes are.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&FORMAT, body)) => decode_all(body),
        Some((&found, _)) => Err(DecodeError::Format { found }),
    }
}

/// Decodes a value without format byte that takes up all of `bytes`.
pub fn decode_all<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = decode_prefix(bytes)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::Trailing { left }),
    }
}

/// Decodes a value from the start of `bytes`; also says how many it took.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    let config = bincode::config::standard().with_limit::<FRAME_BYTES_MAX>();
    bincode::serde::decode_from_slice(bytes, config).map_err(|error| DecodeError::Content(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Sample = (u64, String, Vec<Option<u128>>, bool);

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(value: Sample) {
            prop_assert_eq!(decode::<Sample>(&encode(&value)).unwrap(), value);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode::<Sample>(&bytes);
        }

        #[test]
        fn a_cut_value_is_refused(value: Sample, cut in 1usize..8) {
            let bytes = encode(&value);
            prop_assert!(decode::<Sample>(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
        }
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        let huge_length = [&[FORMAT, 253][..], &u64::MAX.to_le_bytes()].concat();
        assert!(decode::<Vec<u8>>(&huge_length).is_err());
        assert!(decode::<String>(&huge_length).is_err());
    }

    #[test]
    fn an_unknown_format_is_named() {
        let error = decode::<u8>(&[9, 1]).unwrap_err();
        assert_eq!(error.to_string(), "format 9 is not known to this version of swarm, which reads up to 1");
    }
}
