//! Join tokens: `SWMTKN-1-<digest of the root certificate>-<secret>`, both numbers in base36.
//!
//! The digest lets a new node check the cluster before it sends anything; the secret lets the cluster check the
//! node. A token is a secret as a whole, so it has no `Display`, and its `Debug` says nothing.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroize;

use crate::object::id::{from_base36, to_base36};
use crate::object::sensitive::Sensitive;
use crate::random::Random;

const PREFIX: &str = "SWMTKN";
const FORMAT: &str = "1";
/// Base36 digits that hold 256 bits.
const DIGEST_LENGTH: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub struct InvalidToken;

/// A token that has the right form. Whether it lets anybody in is for `same` to say.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    digest: [u8; 32],
    secret: u128,
}

impl JoinToken {
    pub fn generate(root_pem: &str, random: &mut dyn Random) -> Self {
        let mut secret = [0; 16];
        random.fill(&mut secret);
        let token = Self { digest: root_digest(root_pem), secret: u128::from_be_bytes(secret) };
        secret.zeroize();
        token
    }

    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let [PREFIX, FORMAT, digest, secret] = text.split('-').collect::<Vec<_>>()[..] else {
            return Err(InvalidToken);
        };
        Ok(Self {
            digest: digest_from_base36(digest).ok_or(InvalidToken)?,
            secret: from_base36(secret).map_err(|_| InvalidToken)?,
        })
    }

    pub fn to_secret(&self) -> Sensitive {
        let digest = digest_to_base36(&self.digest);
        Sensitive::new(format!("{PREFIX}-{FORMAT}-{digest}-{}", to_base36(self.secret)))
    }

    /// Whether this token was made for the cluster with this root.
    pub fn is_for(&self, root_pem: &str) -> bool {
        self.digest == root_digest(root_pem)
    }

    /// SHA-256 of the root certificate's PEM text that the token asks for.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Compares two tokens as text, in a time that does not depend on where they differ.
pub fn same(expected: &str, given: &str) -> bool {
    verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_ok()
}

pub fn root_digest(root_pem: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, root_pem.as_bytes()).as_ref());
    bytes
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Long division by 36, digit by digit from the right.
fn digest_to_base36(digest: &[u8; 32]) -> String {
    let mut number = *digest;
    let mut digits = [0u8; DIGEST_LENGTH];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u16;
        for byte in &mut number {
            let value = remainder << 8 | u16::from(*byte);
            *byte = (value / 36) as u8;
            remainder = value % 36;
        }
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::from(remainder)];
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// None where the text has another length or other characters, or the number has more than 256 bits.
fn digest_from_base36(text: &str) -> Option<[u8; 32]> {
    if text.len() != DIGEST_LENGTH {
        return None;
    }
    let mut number = [0u8; 32];
    for digit in text.bytes() {
        let mut carry = u16::from(match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'z' => digit - b'a' + 10,
            _ => return None,
        });
        for byte in number.iter_mut().rev() {
            let value = u16::from(*byte) * 36 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(digest: [u8; 32], secret: u128) {
            let token = JoinToken { digest, secret };
            let text = token.to_secret();
            prop_assert_eq!(text.reveal().len(), "SWMTKN-1-".len() + 50 + 1 + 25);
            prop_assert!(JoinToken::parse(text.reveal()) == Ok(token));
        }

        #[test]
        fn no_text_panics(text in ".{0,120}") {
            let _ = JoinToken::parse(&text);
            let _ = JoinToken::parse(&format!("SWMTKN-1-{text}"));
        }

        #[test]
        fn no_digits_panic(digest in "[0-9a-z]{50}", secret in "[0-9a-z]{25}") {
            let text = format!("SWMTKN-1-{digest}-{secret}");
            if let Ok(token) = JoinToken::parse(&text) {
                prop_assert!(same(token.to_secret().reveal(), &text));
            }
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = JoinToken::generate("root", &mut SystemRandom).to_secret();
        let good = good.reveal();
        let (zeros, too_large) = ("0".repeat(25), "z".repeat(50));
        let cases = [
            String::new(),
            "SWMTKN-1".into(),
            good.to_uppercase(),
            good.replace("SWMTKN-1", "SWMTKN-2"),
            format!("{good}-1"),
            format!(" {good}"),
            good[..good.len() - 1].into(),
            format!("SWMTKN-1-{too_large}-{zeros}"),
        ];
        for text in cases {
            assert_eq!(JoinToken::parse(&text).unwrap_err().to_string(), "invalid join token", "{text}");
        }
    }

    #[test]
    fn a_token_names_its_root_and_is_compared_whole() {
        let (token, other) =
            (JoinToken::generate("root", &mut SystemRandom), JoinToken::generate("root", &mut SystemRandom));
        assert!(token.is_for("root") && !token.is_for("another root"));
        assert!(same(token.to_secret().reveal(), token.to_secret().reveal()));
        assert!(!same(token.to_secret().reveal(), other.to_secret().reveal()));
        assert!(!same(token.to_secret().reveal(), ""));
        assert_eq!(format!("{token:?}"), "JoinToken(..)");
    }

    #[test]
    fn the_digest_is_the_number_docker_writes() {
        assert_eq!(digest_to_base36(&[0; 32]), "0".repeat(50));
        let mut one = [0; 32];
        one[31] = 35;
        assert_eq!(digest_to_base36(&one), format!("{}z", "0".repeat(49)));
        // 2^256 - 1 in base 36.
        assert_eq!(digest_to_base36(&[0xff; 32]), "6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof");
    }
}
