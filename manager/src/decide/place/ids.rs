//! Hash maps by id.

use std::hash::{BuildHasherDefault, Hasher};

pub type ById = BuildHasherDefault<IdHasher>;

/// Folds an id by one multiplication. Ids are random bits that managers chose, so nobody can aim at this; what
/// iterates over such a map decides nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

/// An odd number with its bits spread, from the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value) * u128::from(SPREAD);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64((value >> 64) as u64);
        self.write_u64(value as u64);
    }
}
