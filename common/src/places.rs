//! A bounded number of places, in all and per key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub struct Places<K: Ord> {
    taken: Mutex<(usize, BTreeMap<K, usize>)>,
    max: usize,
    per_key_max: usize,
}

/// Given back when it is dropped.
pub struct Place<K: Ord + Clone> {
    places: Arc<Places<K>>,
    key: K,
}

impl<K: Ord + Clone> Places<K> {
    pub fn new(max: usize, per_key_max: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), max, per_key_max })
    }

    pub fn take(self: &Arc<Self>, key: &K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().expect("no holder panics");
        let (all, by_key) = &mut *taken;
        let here = by_key.get(key).copied().unwrap_or(0);
        if *all >= self.max || here >= self.per_key_max {
            return None;
        }
        *all += 1;
        by_key.insert(key.clone(), here + 1);
        Some(Place { places: self.clone(), key: key.clone() })
    }
}

impl<K: Ord + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().expect("no holder panics");
        taken.0 -= 1;
        match taken.1.get_mut(&self.key) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(taken.1.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_in_all_and_per_key() {
        let places = Places::new(3, 2);
        let first = places.take(&1).expect("a place");
        let _second = places.take(&1).expect("a place");
        assert!(places.take(&1).is_none());
        let _third = places.take(&2).expect("a place");
        assert!(places.take(&3).is_none());
        drop(first);
        assert!(places.take(&3).is_some());
        assert!(places.take(&1).is_some());
    }
}
