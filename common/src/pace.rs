//! How much one caller may ask, and how often one address may fail. Pure: times come from the caller.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Monotonic;

/// Tokens that fill up by the second, as many as `burst`.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Monotonic,
}

/// A rate per key. The number of keys is bounded: those that are full again are forgotten first, then the oldest.
#[derive(Debug)]
pub struct Pace<K> {
    per_second: f64,
    burst: f64,
    keys_max: usize,
    buckets: BTreeMap<K, Bucket>,
}

impl<K: Ord + Clone> Pace<K> {
    pub fn new(per_second: f64, burst: u32, keys_max: usize) -> Self {
        Self { per_second, burst: burst.into(), keys_max, buckets: BTreeMap::new() }
    }

    /// Takes one; false where there is none left.
    pub fn take(&mut self, key: &K, now: Monotonic) -> bool {
        let left = self.left(key, now);
        if left < 1.0 {
            return false;
        }
        if !self.buckets.contains_key(key) && self.buckets.len() >= self.keys_max {
            self.forget(now);
        }
        self.buckets.insert(key.clone(), Bucket { left: left - 1.0, at: now });
        true
    }

    /// Whether there is one left, without taking it.
    pub fn has(&self, key: &K, now: Monotonic) -> bool {
        self.left(key, now) >= 1.0
    }

    fn left(&self, key: &K, now: Monotonic) -> f64 {
        self.buckets.get(key).map_or(self.burst, |bucket| self.filled(bucket, now))
    }

    fn filled(&self, bucket: &Bucket, now: Monotonic) -> f64 {
        (bucket.left + now.since(bucket.at).as_secs_f64() * self.per_second).min(self.burst)
    }

    fn forget(&mut self, now: Monotonic) {
        let (per_second, burst) = (self.per_second, self.burst);
        let full_after =
            |bucket: &Bucket| Duration::from_secs_f64((burst - bucket.left).max(0.0) / per_second);
        self.buckets.retain(|_, bucket| now.since(bucket.at) < full_after(bucket));
        if self.buckets.len() >= self.keys_max {
            let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.buckets.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut pace = Pace::new(2.0, 5, 10);
        let taken =
            |pace: &mut Pace<u8>, key, seconds| (0..100).filter(|_| pace.take(&key, at(seconds))).count();
        assert_eq!(taken(&mut pace, 1, 0), 5);
        assert!(!pace.has(&1, at(0)) && pace.has(&2, at(0)));
        assert_eq!(taken(&mut pace, 1, 1), 2);
        assert_eq!(taken(&mut pace, 2, 1), 5, "another key is another matter");
        assert_eq!(taken(&mut pace, 1, 1_000), 5, "never more than the burst");
    }

    #[test]
    fn keys_are_bounded() {
        let mut pace = Pace::new(1.0, 3, 4);
        for key in 0..100u32 {
            assert!(pace.take(&key, at(0)));
            assert!(pace.buckets.len() <= 4);
        }
        pace.take(&100, at(1_000));
        assert_eq!(pace.buckets.len(), 1, "those that are full again are forgotten");
    }
}
