//! Randomness as the program sees it: a trait, so that a seed repeats a run.

use aws_lc_rs::rand::{SecureRandom, SystemRandom as Source};
use rand::{Rng, SeedableRng, rngs::StdRng};

pub trait Random: Send + 'static {
    fn fill(&mut self, bytes: &mut [u8]);

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Evenly spread in `[0, 1)`.
    fn fraction(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The operating system's generator: for ids, keys and everything that must not be guessed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        Source::new().fill(bytes).expect("the operating system gives random bytes");
    }
}

/// A repeatable stream. Different names give independent streams of one seed.
#[derive(Debug)]
pub struct SeededRandom(StdRng);

impl SeededRandom {
    pub fn new(seed: u64, name: &str) -> Self {
        let mut state = [0; 32];
        state[..8].copy_from_slice(&seed.to_le_bytes());
        for (index, byte) in name.bytes().enumerate() {
            let place = 8 + index % 24;
            state[place] = state[place].wrapping_mul(31).wrapping_add(byte);
        }
        Self(StdRng::from_seed(state))
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
