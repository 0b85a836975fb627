//! Which object a person means: its whole id, else its name, else the start of its id. Pure.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use common::object::id::{ID_LENGTH, from_base36};
use common::object::{
    Network, NetworkId, NodeId, Payload, PayloadId, PayloadKind, Service, ServiceId, Task, TaskId,
};

use super::error::ApiError;
use super::target::shortened;
use crate::store::{Object, Table, Tables};

/// One object, or why it is not one. `named` are those of that name, asked for when it is no id.
pub(super) fn find<T: Object>(
    table: &Table<T>,
    text: &str,
    named: impl FnOnce() -> Vec<Arc<T>>,
) -> Result<Arc<T>, ApiError>
where
    T::Id: FromNumber,
{
    find_where(table, &T::KIND, text, |_| true, named)
}

/// A service that is not removed.
pub(super) fn service(tables: &Tables, text: &str) -> Result<Arc<Service>, ApiError> {
    let named = || tables.service_by_name(text).cloned().into_iter().collect();
    find_where(&tables.services, &"service", text, |service| !service.removed, named)
}

/// A secret, or a config.
pub(super) fn payload(tables: &Tables, kind: PayloadKind, text: &str) -> Result<Arc<Payload>, ApiError> {
    let named = || tables.payload_by_name(kind, text).cloned().into_iter().collect();
    find_where(&tables.payloads, &kind, text, |payload| payload.kind == kind, named)
}

/// A network of the cluster.
pub(super) fn network(tables: &Tables, text: &str) -> Result<Arc<Network>, ApiError> {
    find(&tables.networks, text, || tables.network_by_name(text).cloned().into_iter().collect())
}

/// A task; its name is `<service>.<slot>.<id>`.
pub(super) fn task(tables: &Tables, text: &str) -> Result<Arc<Task>, ApiError> {
    let named = || {
        let task = text.rsplit('.').next().and_then(|id| id.parse::<TaskId>().ok());
        let task = task.and_then(|id| tables.tasks.get(id));
        task.filter(|task| name_of(tables, task).is_some_and(|name| name == text))
            .cloned()
            .into_iter()
            .collect()
    };
    find(&tables.tasks, text, named)
}

/// A task's name; none where its service is gone.
pub(super) fn name_of(tables: &Tables, task: &Task) -> Option<String> {
    let service = tables.services.get(task.service)?;
    Some(common::engine_api::convert::task_name(service.name(), task))
}

fn find_where<T: Object>(
    table: &Table<T>,
    kind: &dyn Display,
    text: &str,
    counts: impl Fn(&T) -> bool,
    named: impl FnOnce() -> Vec<Arc<T>>,
) -> Result<Arc<T>, ApiError>
where
    T::Id: FromNumber,
{
    if let Ok(number) = from_base36(text)
        && let Some(object) = table.get(T::Id::from_number(number))
        && counts(object)
    {
        return Ok(object.clone());
    }
    let mut found = if text.is_empty() { Vec::new() } else { named() };
    if found.is_empty() {
        found = starting_with(table, text).filter(|object| counts(object)).cloned().collect();
    }
    match found.as_slice() {
        [object] => Ok(object.clone()),
        [] => Err(ApiError::not_found(format!("{kind} {} not found", shortened(text)))),
        several => Err(ApiError::invalid(format!(
            "{kind} {} is ambiguous ({} matches found)",
            shortened(text),
            several.len()
        ))),
    }
}

/// The objects whose id starts with `start`; none for an empty one.
pub(super) fn starting_with<'a, T: Object>(
    table: &'a Table<T>,
    start: &str,
) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T>
where
    T::Id: FromNumber,
{
    let range = id_range(start).map(|ids| {
        let (first, last) = ids.into_inner();
        table.range(T::Id::from_number(first)..=T::Id::from_number(last))
    });
    range.into_iter().flatten()
}

/// The order of ids as text is that of their numbers.
fn id_range(start: &str) -> Option<RangeInclusive<u128>> {
    if start.is_empty() || start.len() > ID_LENGTH {
        return None;
    }
    let first = from_base36(&format!("{start:0<ID_LENGTH$}")).ok()?;
    // Beyond the largest number there is nothing.
    let last = from_base36(&format!("{start:z<ID_LENGTH$}")).unwrap_or(u128::MAX);
    Some(first..=last)
}

pub(super) trait FromNumber {
    fn from_number(number: u128) -> Self;
}

macro_rules! from_number {
    ($($id:ident),+) => {
        $(impl FromNumber for $id {
            fn from_number(number: u128) -> Self {
                Self(number)
            }
        })+
    };
}

from_number!(NetworkId, NodeId, PayloadId, ServiceId, TaskId);

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::id::to_base36;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_range_of_a_start_holds_what_starts_so_and_nothing_else(id: u128, other: u128, length in 1..=ID_LENGTH) {
            let text = to_base36(id);
            let start = &text[..length];
            let range = id_range(start).expect("an id's start");
            prop_assert!(range.contains(&id));
            prop_assert_eq!(range.contains(&other), to_base36(other).starts_with(start));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = id_range(&text);
        }
    }
}
