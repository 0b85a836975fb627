//! Kept specs of a service: which there are, and in what each differs from the one before it.

use std::collections::BTreeMap;

use common::engine_api::convert::service_spec_to_api;
use common::engine_api::service::SpecVersion as Row;
use common::limits::HISTORY_CHANGES_MAX;
use common::object::service::SpecVersion;
use common::object::{Service, ServiceSpec};
use serde_json::Value;

use super::super::target::shortened;
use crate::store::Tables;

/// Newest number first.
pub fn rows(tables: &Tables, service: &Service) -> Vec<Row> {
    let mut versions: Vec<&SpecVersion> = service.earlier.values().collect();
    versions.push(&service.current);
    versions.sort_by_key(|version| version.number);
    let mut tasks: BTreeMap<u64, u64> = BTreeMap::new();
    for task in tables.tasks_of_service(service.id).filter(|task| task.is_wanted()) {
        *tasks.entry(task.spec).or_default() += 1;
    }
    let row = |(index, version): (usize, &&SpecVersion)| Row {
        number: version.number,
        at: version.at.to_rfc3339(),
        current: version.number == service.current.number,
        previous: Some(version.number) == service.previous,
        worked: version.worked,
        image: version.spec.task.container.image.clone(),
        changes: match index.checked_sub(1).map(|before| versions[before]) {
            Some(before) => changes(&before.spec, &version.spec),
            None => Vec::new(),
        },
        tasks: tasks.get(&version.number).copied().unwrap_or_default(),
    };
    versions.iter().enumerate().map(row).rev().collect()
}

/// `Image nginx:1 -> nginx:2`, one for each member that differs.
fn changes(before: &ServiceSpec, after: &ServiceSpec) -> Vec<String> {
    let before = members(before);
    let after = members(after);
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let mut changes: Vec<String> = names
        .into_iter()
        .filter_map(|name| {
            let name_shown = short_name(name);
            match (before.get(name), after.get(name)) {
                (Some(old), Some(new)) if old != new => Some(format!("{name_shown} {old} -> {new}")),
                (Some(old), None) => Some(format!("{name_shown} {old} removed")),
                (None, Some(new)) => Some(format!("{name_shown} {new} added")),
                (Some(_), Some(_)) | (None, None) => None,
            }
        })
        .collect();
    if let Some(more) = changes.len().checked_sub(HISTORY_CHANGES_MAX).filter(|more| *more > 0) {
        changes.truncate(HISTORY_CHANGES_MAX);
        changes.push(format!("and {more} more"));
    }
    changes
}

fn short_name(name: &str) -> &str {
    let inner = name.strip_prefix("TaskTemplate.").unwrap_or(name);
    inner.strip_prefix("ContainerSpec.").unwrap_or(inner)
}

/// Every member that is not an object itself, by its path.
fn members(spec: &ServiceSpec) -> BTreeMap<String, String> {
    fn collect(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    collect(&path, value, into);
                }
            }
            Value::String(text) => {
                into.insert(path.into(), shortened(text));
            }
            other => {
                into.insert(path.into(), shortened(&other.to_string()));
            }
        }
    }
    let mut into = BTreeMap::new();
    let document = serde_json::to_value(service_spec_to_api(spec)).unwrap_or_default();
    collect("", &document, &mut into);
    into
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::ServiceId;
    use common::object::ServiceMode;
    use common::time::Timestamp;
    use std::sync::Arc;

    #[test]
    fn history_says_what_changed_and_where_a_rollback_goes() {
        let mut spec = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
        spec.task.container.image = "nginx:1".into();
        let mut service = Service::new(ServiceId(1), spec.clone(), Timestamp(1));
        spec.task.container.image = "nginx:2".into();
        spec.mode = ServiceMode::Replicated { replicas: 5 };
        service.replace_spec(Arc::new(spec.clone()), Timestamp(2));
        spec.labels.insert("a".into(), "b".into());
        service.replace_spec(Arc::new(spec), Timestamp(3));
        assert!(service.return_to(1, Timestamp(4)));
        let rows = rows(&Tables::default(), &service);
        let shown: Vec<(u64, bool, bool, &str, String)> = rows
            .iter()
            .map(|row| (row.number, row.current, row.previous, row.image.as_str(), row.changes.join("; ")))
            .collect();
        #[rustfmt::skip]
        assert_eq!(shown, [
            (3, false, true,  "nginx:2", "Labels.a b added".into()),
            (2, false, false, "nginx:2", "Mode.Replicated.Replicas 1 -> 5; Image nginx:1 -> nginx:2".into()),
            (1, true,  false, "nginx:1", String::new()),
        ]);
    }
}
