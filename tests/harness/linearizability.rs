//! Whether one register could have done what clients saw: linearizability, key by key.
//!
//! After Wing and Gong, with Lowe's just-in-time order: walk through starts and ends in the order of what
//! happened, and keep every configuration that is still possible: what the register holds, and which of the
//! operations under way have taken effect. At the end of an operation, each configuration is carried on until
//! that operation has taken effect; those where it cannot are dropped. None left: no register did this.
//! Memory goes with the operations under way, not with the length of the history.
//!
//! Three rules keep the configurations few. A read takes effect as soon as the register holds its value: it
//! changes nothing, so early is never worse. An operation left open whose value nobody ever saw is as if it
//! had not been. One that has taken effect in every configuration is no longer carried along.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::history::{Call, NOTHING, Operation, Outcome, Value};

/// Configurations kept at once, so that a strange history is an error and not an endless test.
const CONFIGURATIONS_MAX: usize = 1 << 20;
/// How many operations before the impossible one an error shows.
const SHOWN: usize = 12;

/// What cannot be explained.
#[derive(Debug)]
pub struct Violation {
    pub reason: String,
    /// The operation that no configuration allows; those before it and beside it on its key.
    pub operation: Operation,
    pub around: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:\n  {}", self.reason, self.operation)?;
        writeln!(f, "on that key, before it and at the same time:")?;
        for operation in &self.around {
            writeln!(f, "  {operation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Checks every key by itself: a history is linearizable exactly when each key's part is.
pub fn check(operations: &[Operation]) -> Result<(), Box<Violation>> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    keys.into_values().try_for_each(|operations| check_key(&operations))
}

/// What the register holds, and which operations under way have taken effect, in the order of their numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration {
    value: Value,
    done: Vec<u32>,
}

impl Configuration {
    fn has_done(&self, operation: u32) -> bool {
        self.done.binary_search(&operation).is_ok()
    }

    fn set_done(&mut self, operation: u32) {
        if let Err(place) = self.done.binary_search(&operation) {
            self.done.insert(place, operation);
        }
    }

    fn forget(&mut self, operation: u32) {
        if let Ok(place) = self.done.binary_search(&operation) {
            self.done.remove(place);
        }
    }
}

fn check_key(operations: &[&Operation]) -> Result<(), Box<Violation>> {
    let operations = relevant(operations);
    let mut events: Vec<(u64, u32, bool)> = Vec::with_capacity(operations.len() * 2);
    for (number, operation) in (0_u32..).zip(&operations) {
        events.push((operation.started, number, true));
        if operation.outcome != Outcome::Unknown {
            events.push((operation.ended, number, false));
        }
    }
    events.sort_unstable();

    let mut pending: Vec<u32> = Vec::new();
    let mut settled = vec![false; operations.len()];
    let mut possible = HashSet::from([Configuration { value: NOTHING, done: Vec::new() }]);
    for (_, number, starts) in events {
        if starts {
            pending.push(number);
            possible = possible.into_iter().map(|known| with_reads(known, &[number], &operations)).collect();
        } else if !settled[number as usize] {
            possible = carry_on(possible, number, &pending, &operations);
            pending.retain(|other| *other != number);
        }
        if possible.is_empty() || possible.len() > CONFIGURATIONS_MAX {
            let reason =
                if possible.is_empty() { "no register did this" } else { "too much was left open to tell" };
            return Err(violation(reason, number, &operations));
        }
        for number in settle(&mut possible, &mut pending) {
            settled[number as usize] = true;
        }
    }
    Ok(())
}

/// What can have had an effect: without what was refused, and without what was left open and never seen.
fn relevant<'a>(operations: &[&'a Operation]) -> Vec<&'a Operation> {
    let mut kept: Vec<&Operation> = operations
        .iter()
        .copied()
        .filter(|operation| match operation.outcome {
            Outcome::Refused => false,
            Outcome::Unknown => operation.call != Call::Read,
            Outcome::Done | Outcome::Value { .. } => true,
        })
        .collect();
    loop {
        let seen: HashSet<Value> = kept
            .iter()
            .filter_map(|operation| match (operation.call, operation.outcome) {
                (Call::Read, Outcome::Value { value, .. }) => Some(value),
                (Call::Swap { expected, .. }, _) => Some(expected),
                (Call::Read | Call::Write(_), _) => None,
            })
            .collect();
        let before = kept.len();
        kept.retain(|operation| match (operation.outcome, operation.call) {
            (Outcome::Unknown, Call::Write(value) | Call::Swap { new: value, .. }) => seen.contains(&value),
            _ => true,
        });
        if kept.len() == before {
            return kept;
        }
    }
}

/// Every configuration that follows from `possible` when `ending` has taken effect by now.
fn carry_on(
    possible: HashSet<Configuration>,
    ending: u32,
    pending: &[u32],
    operations: &[&Operation],
) -> HashSet<Configuration> {
    let mut next = HashSet::new();
    let mut looked_at = HashSet::new();
    let mut open: Vec<Configuration> = Vec::new();
    for mut known in possible {
        if known.has_done(ending) {
            known.forget(ending);
            next.insert(known);
        } else {
            open.push(known);
        }
    }
    while let Some(known) = open.pop() {
        for number in pending.iter().copied().filter(|number| !known.has_done(*number)) {
            let Some(value) = after(operations[number as usize].call, known.value) else { continue };
            let mut reached = Configuration { value, done: known.done.clone() };
            reached.set_done(number);
            let mut reached = with_reads(reached, pending, operations);
            if reached.has_done(ending) {
                reached.forget(ending);
                next.insert(reached);
            } else if looked_at.insert(reached.clone()) {
                open.push(reached);
            }
        }
        if next.len() + looked_at.len() > CONFIGURATIONS_MAX {
            break;
        }
    }
    next
}

/// What the register holds after a write or swap that succeeds now; none where it cannot, and for reads.
fn after(call: Call, value: Value) -> Option<Value> {
    match call {
        Call::Read => None,
        Call::Write(new) => Some(new),
        Call::Swap { expected, new } => (expected == value).then_some(new),
    }
}

/// Lets those of `pending` take effect that read what the register holds.
fn with_reads(mut known: Configuration, pending: &[u32], operations: &[&Operation]) -> Configuration {
    for number in pending {
        if let Outcome::Value { value, .. } = operations[*number as usize].outcome
            && value == known.value
        {
            known.set_done(*number);
        }
    }
    known
}

/// Takes out what has taken effect in every configuration.
fn settle(possible: &mut HashSet<Configuration>, pending: &mut Vec<u32>) -> Vec<u32> {
    let Some(any) = possible.iter().next() else { return Vec::new() };
    let everywhere: Vec<u32> = any
        .done
        .iter()
        .copied()
        .filter(|number| possible.iter().all(|known| known.has_done(*number)))
        .collect();
    if !everywhere.is_empty() {
        pending.retain(|number| !everywhere.contains(number));
        *possible = std::mem::take(possible)
            .into_iter()
            .map(|mut known| {
                known.done.retain(|number| !everywhere.contains(number));
                known
            })
            .collect();
    }
    everywhere
}

fn violation(reason: &str, number: u32, operations: &[&Operation]) -> Box<Violation> {
    let operation = operations[number as usize].clone();
    let mut around: Vec<Operation> = operations
        .iter()
        .filter(|other| other.started < operation.ended && other.started != operation.started)
        .map(|other| (*other).clone())
        .collect();
    around.sort_by_key(|other| other.ended.min(operation.ended));
    let around = around.split_off(around.len().saturating_sub(SHOWN));
    Box::new(Violation { reason: reason.into(), operation, around })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::random::{Random, SeededRandom};
    use proptest::prelude::*;

    const OPEN: u64 = u64::MAX;

    /// Started, ended, call, outcome.
    type Row = (u64, u64, Call, Outcome);

    fn history(rows: &[Row]) -> Vec<Operation> {
        rows.iter()
            .zip(0..)
            .map(|(&(started, ended, call, outcome), client)| Operation {
                client,
                key: "a".into(),
                call,
                outcome,
                started,
                ended,
            })
            .collect()
    }

    fn gave(value: Value) -> Outcome {
        Outcome::Value { value, version: 0 }
    }

    fn swap(expected: Value, new: Value) -> Call {
        Call::Swap { expected, new }
    }

    #[test]
    fn known_histories() {
        use Call::{Read, Write};
        use Outcome::{Done, Refused, Unknown};
        #[rustfmt::skip]
        let cases: &[(&str, bool, &[Row])] = &[
            ("nothing happened", true, &[]),
            ("a read of nothing", true, &[(1, 2, Read, gave(NOTHING))]),
            ("a read of what nobody wrote", false, &[(1, 2, Read, gave(7))]),
            ("one after the other", true, &[(1, 2, Write(1), Done), (3, 4, Read, gave(1))]),
            ("a stale read", false, &[(1, 2, Write(1), Done), (3, 4, Write(2), Done), (5, 6, Read, gave(1))]),
            ("a read beside a write may see either", true,
                &[(1, 8, Write(1), Done), (2, 3, Read, gave(NOTHING)), (4, 5, Read, gave(1))]),
            ("but not the old value after the new", false,
                &[(1, 8, Write(1), Done), (2, 3, Read, gave(1)), (4, 5, Read, gave(NOTHING))]),
            ("an acknowledged write is lost", false,
                &[(1, 2, swap(0, 1), Done), (3, 4, swap(1, 2), Done), (5, 6, Read, gave(1))]),
            ("two swaps of one value both succeed", false, &[(1, 4, swap(0, 1), Done), (2, 3, swap(0, 2), Done)]),
            ("swaps beside each other in the only order", true,
                &[(1, 9, swap(2, 3), Done), (2, 8, swap(1, 2), Done), (3, 7, swap(0, 1), Done), (10, 11, Read, gave(3))]),
            ("a refused write is seen", false, &[(1, 2, swap(0, 1), Refused), (3, 4, Read, gave(1))]),
            ("an open write takes effect late", true,
                &[(1, OPEN, swap(0, 1), Unknown), (2, 3, Read, gave(0)), (8, 9, Read, gave(1))]),
            ("an open write never takes effect", true, &[(1, OPEN, swap(0, 1), Unknown), (2, 3, swap(0, 2), Done)]),
            ("an open write takes effect twice", false,
                &[(1, OPEN, swap(0, 1), Unknown), (2, 3, Read, gave(1)), (4, 5, swap(1, 2), Done), (6, 7, Read, gave(1))]),
            ("an open write takes effect before it started", false,
                &[(1, 2, Read, gave(5)), (3, OPEN, swap(0, 5), Unknown)]),
            ("a chain of open writes is seen at its end", true,
                &[(1, OPEN, swap(0, 1), Unknown), (2, OPEN, swap(1, 2), Unknown), (3, 4, Read, gave(2))]),
            ("a chain of open writes with a hole", false,
                &[(1, OPEN, swap(0, 1), Unknown), (2, OPEN, swap(7, 2), Unknown), (3, 4, Read, gave(2))]),
            ("plain writes beside each other in any order", true,
                &[(1, 6, Write(1), Done), (2, 5, Write(2), Done), (7, 8, Read, gave(1)), (9, 10, Read, gave(1))]),
            ("but in one order", false,
                &[(1, 6, Write(1), Done), (2, 5, Write(2), Done), (7, 8, Read, gave(1)), (9, 10, Read, gave(2))]),
        ];
        for (name, linearizable, rows) in cases {
            assert_eq!(check(&history(rows)).is_ok(), *linearizable, "{name}");
        }
    }

    #[test]
    fn keys_are_checked_by_themselves_and_the_culprit_is_named() {
        let mut operations =
            history(&[(1, 2, Call::Write(1), Outcome::Done), (3, 4, Call::Read, gave(NOTHING))]);
        operations[1].key = "b".into();
        check(&operations).unwrap();
        operations[1].key = "a".into();
        let text = check(&operations).unwrap_err().to_string();
        assert!(text.contains("read gave 0") && text.contains("write 1 was acknowledged"), "{text}");
    }

    /// Every order there is, for histories of a few operations.
    fn by_trying_all(operations: &[Operation]) -> bool {
        fn from(value: Value, left: &[&Operation]) -> bool {
            let must =
                |operation: &&Operation| matches!(operation.outcome, Outcome::Done | Outcome::Value { .. });
            if !left.iter().any(must) {
                return true;
            }
            (0..left.len()).any(|index| {
                let operation = left[index];
                let first =
                    left.iter().filter(|other| must(other)).all(|other| other.ended > operation.started);
                let next = match (operation.call, operation.outcome) {
                    (_, Outcome::Refused) | (Call::Read, Outcome::Unknown) => None,
                    (Call::Read, outcome) => (outcome == gave(value)).then_some(value),
                    (call, _) => after(call, value),
                };
                let rest: Vec<&Operation> =
                    left.iter().copied().filter(|other| !std::ptr::eq(*other, operation)).collect();
                first && next.is_some_and(|value| from(value, &rest))
            })
        }
        from(NOTHING, &operations.iter().collect::<Vec<_>>())
    }

    fn any_operation() -> impl Strategy<Value = Row> {
        let call = prop_oneof![
            Just(Call::Read),
            (1..4_u64).prop_map(Call::Write),
            (0..4_u64, 1..4_u64).prop_map(|(expected, new)| swap(expected, new)),
        ];
        (0..12_u64, 1..8_u64, call, 0..8_u32, 0..4_u64).prop_map(|(started, length, call, outcome, value)| {
            match (outcome, call) {
                (0, _) => (started, OPEN, call, Outcome::Unknown),
                (1, _) => (started, started + length, call, Outcome::Refused),
                (_, Call::Read) => (started, started + length, call, gave(value)),
                _ => (started, started + length, call, Outcome::Done),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_trying_all_orders(rows in proptest::collection::vec(any_operation(), 0..7)) {
            // Steps are never shared by two ends: spread equal ones apart, starts before ends.
            let spread = |at: u64, row: usize, end: u64| if at == OPEN { OPEN } else { at * 32 + end * 16 + row as u64 };
            let rows: Vec<_> = rows.into_iter().enumerate().map(|(row, (started, ended, call, outcome))| {
                (spread(started, row, 0), spread(ended, row, 1), call, outcome)
            }).collect();
            let operations = history(&rows);
            prop_assert_eq!(check(&operations).is_ok(), by_trying_all(&operations));
        }
    }

    /// What a bug does to one acknowledged swap in the middle of the run.
    #[derive(Clone, Copy, PartialEq)]
    enum Planted {
        Nothing,
        LostWrite,
        StaleRead,
        AppliedTwice,
    }

    /// Clients that read and then swap, against a register that takes effect at a random moment of each operation.
    fn simulated(count: usize, clients: usize, keys: usize, seed: u64, planted: Planted) -> Vec<Operation> {
        struct Key {
            value: Value,
            before: Value,
        }
        let mut random = SeededRandom::new(seed, "register");
        let mut registers: Vec<Key> = (0..keys).map(|_| Key { value: NOTHING, before: NOTHING }).collect();
        let mut under_way: Vec<Option<(usize, bool, usize)>> = vec![None; clients];
        let mut last_read = vec![(0_usize, NOTHING); clients];
        let mut operations: Vec<Operation> = Vec::new();
        let mut planted = (planted != Planted::Nothing).then_some(planted);
        let (mut step, mut next_value) = (0_u64, 1);
        while operations.len() < count || under_way.iter().any(Option::is_some) {
            step += 1;
            let client = random.next_u64() as usize % clients;
            match under_way[client].take() {
                None if operations.len() >= count => {}
                None => {
                    let reads = random.fraction() < 0.5;
                    let (key, expected) =
                        if reads { (random.next_u64() as usize % keys, 0) } else { last_read[client] };
                    let call = if reads { Call::Read } else { swap(expected, next_value) };
                    next_value += u64::from(!reads);
                    operations.push(Operation {
                        client,
                        key: format!("k{key}"),
                        call,
                        outcome: Outcome::Unknown,
                        started: step,
                        ended: OPEN,
                    });
                    under_way[client] = Some((operations.len() - 1, false, key));
                }
                Some((number, false, key)) => {
                    let register = &mut registers[key];
                    let half = number > count / 2;
                    let operation = &mut operations[number];
                    operation.outcome = match operation.call {
                        Call::Read => {
                            let stale = half
                                && planted == Some(Planted::StaleRead)
                                && register.before != register.value;
                            let value = if stale { register.before } else { register.value };
                            planted = planted.filter(|_| !stale);
                            last_read[client] = (key, value);
                            gave(value)
                        }
                        Call::Swap { expected, new } if expected == register.value => {
                            let lost = half && planted == Some(Planted::LostWrite);
                            planted = planted.filter(|_| !lost);
                            if !lost {
                                *register = Key { value: new, before: expected };
                            }
                            if random.fraction() < 0.01 { Outcome::Unknown } else { Outcome::Done }
                        }
                        Call::Swap { .. } | Call::Write(_) => Outcome::Refused,
                    };
                    // The entry of the value before comes again, as from a leader that did not know it had been applied.
                    if half && planted == Some(Planted::AppliedTwice) && register.before != NOTHING {
                        register.value = register.before;
                        planted = None;
                    }
                    under_way[client] = Some((number, true, key));
                }
                Some((number, true, _)) => {
                    if operations[number].outcome != Outcome::Unknown {
                        operations[number].ended = step;
                    }
                }
            }
        }
        operations
    }

    #[test]
    fn planted_bugs_are_found() {
        for seed in 0..10 {
            check(&simulated(3_000, 16, 3, seed, Planted::Nothing))
                .unwrap_or_else(|bad| panic!("seed {seed}: {bad}"));
            for planted in [Planted::LostWrite, Planted::AppliedTwice] {
                assert!(check(&simulated(3_000, 16, 3, seed, planted)).is_err(), "seed {seed}");
            }
        }
        // One stale read may be explained by what was under way; a run of them may not.
        let found = (0..20)
            .filter(|seed| check(&simulated(3_000, 16, 3, *seed, Planted::StaleRead)).is_err())
            .count();
        assert!(found >= 5, "{found} of 20");
    }

    #[test]
    fn a_hundred_thousand_operations_on_one_key_are_checked() {
        check(&simulated(100_000, 16, 1, 1, Planted::Nothing)).unwrap();
    }
}
