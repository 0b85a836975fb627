//! What of a request goes into the audit record: its object, its action, how it went. Pure but for the handing over.

use common::engine_api::access::{AuditObject, AuditRecord};
use common::limits::AUDIT_NAME_CHARS_MAX;
use common::object::PayloadKind;
use common::time::{Clock, Monotonic, SystemClock};
use hyper::StatusCode;

use super::caller::Caller;
use super::target::{Query, Target};
use super::{lookup, nodes};
use crate::audit::{Audit, redact};
use crate::store::Tables;

/// Members of a query that say what was asked for, and hold no secret.
const FLAGS: [&str; 8] = [
    "force",
    "insertDefaults",
    "registryAuthFrom",
    "rollback",
    "rotateManagerToken",
    "rotateManagerUnlockKey",
    "rotateWorkerToken",
    "version",
];

/// What an answer made, for the record: put beside the answer by who made it.
#[derive(Clone, Debug)]
pub(super) struct Made(pub String);

/// A record that is being lived. Dropped before its end it is written all the same: the change may take place when
/// nobody waits for it any more.
pub(super) struct Note {
    audit: Audit,
    record: AuditRecord,
    began: Monotonic,
    written: bool,
}

impl Note {
    pub fn begin(audit: &Audit, caller: &Caller, id: &str, node: String, method: &str, path: &str) -> Self {
        let clock = SystemClock;
        let record = AuditRecord {
            time: clock.now().to_rfc3339(),
            id: id.into(),
            node,
            who: caller.recorded(),
            from: cut(&caller.from),
            action: format!("{method} {}", cut(path)),
            method: cut(method),
            path: cut(path),
            outcome: "abandoned".into(),
            ..AuditRecord::default()
        };
        Self { audit: audit.clone(), record, began: clock.monotonic(), written: false }
    }

    /// What the path and the query say of it, with ids and names where the cluster knows the object.
    pub fn tell(&mut self, target: &Target, tables: Option<&Tables>) {
        let path: Vec<&str> = target.segments.iter().map(String::as_str).collect();
        let (action, object) = about(&self.record.method, &path, tables);
        if let Some(action) = action {
            self.record.action = action;
        }
        self.record.object = object;
        self.record.flags = flags(&target.query);
    }

    /// What came of it; `made` is the id of what the answer says was made.
    pub fn outcome(&mut self, status: StatusCode, error: &str, made: Option<&Made>, tables: Option<&Tables>) {
        self.record.status = status.as_u16();
        self.record.error = redact::error(error);
        self.record.outcome = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => "refused",
            status if status.is_client_error() || status.is_server_error() => "failed",
            _ => "done",
        }
        .into();
        self.record.duration = SystemClock.monotonic().since(self.began).as_secs_f64() * 1_000.0;
        if let Some(Made(id)) = made {
            let (given, kind) = (id.as_str(), self.record.object.kind.clone());
            self.record.object = known(&kind, given, tables);
        }
    }

    /// Hands it to the writer.
    pub async fn write(mut self) {
        self.written = true;
        let record = std::mem::take(&mut self.record);
        self.audit.write(record).await;
    }

    /// Nothing of it is worth keeping.
    pub fn forget(mut self) {
        self.written = true;
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.written {
            self.record.duration = SystemClock.monotonic().since(self.began).as_secs_f64() * 1_000.0;
            self.audit.write_now(std::mem::take(&mut self.record));
        }
    }
}

fn flags(query: &Query) -> Vec<String> {
    let shown = FLAGS.iter().filter(|name| !query.get(name).is_empty());
    shown.map(|name| format!("{name}={}", cut(query.get(name)))).collect()
}

/// Action and object of a path of ours; none for the engine's, whose path says it all.
fn about(method: &str, path: &[&str], tables: Option<&Tables>) -> (Option<String>, AuditObject) {
    let kind = |collection: &str| match collection {
        "services" => Some("service"),
        "nodes" => Some("node"),
        "tasks" => Some("task"),
        "secrets" => Some("secret"),
        "configs" => Some("config"),
        "networks" => Some("network"),
        "client-certs" => Some("client-cert"),
        _ => None,
    };
    let none = AuditObject::default;
    let of = |kind: &str, verb: &str, name: Option<&str>| {
        let object = match name {
            Some(name) => known(kind, name, tables),
            None => AuditObject { kind: kind.into(), ..none() },
        };
        (Some(format!("{kind} {verb}")), object)
    };
    let rest = match path {
        ["swarm", "x", rest @ ..] => rest,
        ["swarm", rest @ ..] => {
            let verb = if rest.is_empty() { "inspect".into() } else { rest.join(" ") };
            return (Some(cut(&format!("swarm {verb}"))), AuditObject { kind: "swarm".into(), ..none() });
        }
        path => path,
    };
    match (method, rest) {
        ("POST", [collection, "create"]) | ("POST", [collection @ "client-certs"])
            if kind(collection).is_some() =>
        {
            of(kind(collection).unwrap_or_default(), "create", None)
        }
        ("DELETE", [collection, name]) if kind(collection).is_some() => {
            of(kind(collection).unwrap_or_default(), "remove", Some(name))
        }
        (_, [collection, name, verb]) if kind(collection).is_some() => {
            of(kind(collection).unwrap_or_default(), &cut(verb), Some(name))
        }
        (_, [collection, name]) if kind(collection).is_some() => {
            of(kind(collection).unwrap_or_default(), "inspect", Some(name))
        }
        (_, [collection]) if kind(collection).is_some() => {
            of(kind(collection).unwrap_or_default(), "ls", None)
        }
        _ => (None, none()),
    }
}

/// Id and name of what somebody means; as it was given where nobody knows it.
fn known(kind: &str, given: &str, tables: Option<&Tables>) -> AuditObject {
    let found = tables.and_then(|tables| match kind {
        "service" => {
            let service = lookup::service(tables, given).ok()?;
            Some((service.id.to_string(), service.name().to_owned()))
        }
        "node" => {
            let node = nodes::find(tables, given).ok()?;
            let name = node.description.as_ref().map(|description| description.hostname.clone());
            Some((node.id.to_string(), name.unwrap_or_default()))
        }
        "task" => {
            let task = lookup::task(tables, given).ok()?;
            Some((task.id.to_string(), lookup::name_of(tables, &task).unwrap_or_default()))
        }
        "secret" | "config" => {
            let of_kind = if kind == "secret" { PayloadKind::Secret } else { PayloadKind::Config };
            let by_id = || tables.payloads.get(given.parse().ok()?);
            let payload = tables.payload_by_name(of_kind, given).or_else(by_id)?;
            Some((payload.id.to_string(), payload.spec.name.clone()))
        }
        "network" => {
            let by_id = || tables.networks.get(given.parse().ok()?);
            let network = tables.network_by_name(given).or_else(by_id)?;
            Some((network.id.to_string(), network.spec.name.clone()))
        }
        "client-cert" => {
            let clients = &tables.cluster()?.clients;
            let serial = given.parse().ok()?;
            Some((given.to_owned(), clients.get(&serial)?.name.clone()))
        }
        _ => None,
    });
    let (id, name) = found.unwrap_or_else(|| (String::new(), given.to_owned()));
    AuditObject { kind: kind.into(), id: cut(&id), name: cut(&name) }
}

/// Somebody's text, short enough for a line, and nothing in it that a terminal would act on.
fn cut(text: &str) -> String {
    let shown =
        text.chars().filter(|letter| !letter.is_control()).take(AUDIT_NAME_CHARS_MAX).collect::<String>();
    redact::error(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_and_objects_are_named() {
        #[rustfmt::skip]
        let cases = [
            ("POST",   "services/create",            Some("service create"),    "service", ""),
            ("POST",   "services/web/update",        Some("service update"),    "service", "web"),
            ("DELETE", "services/web",               Some("service remove"),    "service", "web"),
            ("POST",   "swarm/x/services/web/rebalance", Some("service rebalance"), "service", "web"),
            ("POST",   "secrets/create",             Some("secret create"),     "secret",  ""),
            ("DELETE", "nodes/n1",                   Some("node remove"),       "node",    "n1"),
            ("POST",   "networks/create",            Some("network create"),    "network", ""),
            ("DELETE", "networks/front",             Some("network remove"),    "network", "front"),
            ("POST",   "swarm/update",               Some("swarm update"),      "swarm",   ""),
            ("GET",    "swarm/unlockkey",            Some("swarm unlockkey"),   "swarm",   ""),
            ("POST",   "swarm/x/client-certs",       Some("client-cert create"), "client-cert", ""),
            ("DELETE", "swarm/x/client-certs/alice", Some("client-cert remove"), "client-cert", "alice"),
            ("POST",   "containers/create",          None,                      "",        ""),
            ("GET",    "nodes",                      Some("node ls"),           "node",    ""),
        ];
        for (method, path, action, kind, name) in cases {
            let path: Vec<&str> = path.split('/').collect();
            let (found, object) = about(method, &path, None);
            assert_eq!(
                (found.as_deref(), object.kind.as_str(), object.name.as_str()),
                (action, kind, name),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_query_is_kept_as_far_as_it_holds_no_secret() {
        let query = Query::parse("version=7&rotateWorkerToken=true&buildargs=hunter2&force=SWMTKN-1-a-b")
            .expect("a query");
        assert_eq!(flags(&query), ["force=SWMTKN-…", "rotateWorkerToken=true", "version=7"]);
    }
}
