//! Which role a request needs. Pure: one table for all paths. What is not in it needs `admin`: the Docker Engine
//! behind us, which is root on the machine, and whatever is added and not thought about here.
//!
//! A role on the way in is not all: an update of a node may need more (`nodes`), and what a reader sees of the
//! cluster's settings depends on who reads (`swarm`).

use common::object::AccessRole;
use common::object::AccessRole::{Admin, Operator, Viewer};

/// Method, path, role. `*` is one segment. `HEAD` is as `GET`.
#[rustfmt::skip]
const TABLE: &[(&str, &str, AccessRole)] = &[
    ("GET",    "_ping",                             Viewer),
    ("GET",    "version",                           Viewer),
    ("GET",    "info",                              Viewer),
    ("GET",    "events",                            Viewer),

    ("GET",    "swarm",                             Viewer), // without the join tokens
    ("POST",   "swarm/init",                        Admin),
    ("POST",   "swarm/join",                        Admin),
    ("POST",   "swarm/leave",                       Admin),
    ("POST",   "swarm/update",                      Admin),
    ("GET",    "swarm/unlockkey",                   Admin),
    ("POST",   "swarm/unlock",                      Admin),

    ("GET",    "nodes",                             Viewer),
    ("GET",    "nodes/*",                           Viewer),
    ("POST",   "nodes/*/update",                    Operator), // availability and labels; its role: admin
    ("DELETE", "nodes/*",                           Admin),

    ("GET",    "services",                          Viewer),
    ("GET",    "services/*",                        Viewer),
    ("GET",    "services/*/logs",                   Viewer),
    ("POST",   "services/create",                   Operator),
    ("POST",   "services/*/update",                 Operator),
    ("DELETE", "services/*",                        Operator),
    ("GET",    "tasks",                             Viewer),
    ("GET",    "tasks/*",                           Viewer),
    ("GET",    "tasks/*/logs",                      Viewer),

    ("GET",    "secrets",                           Viewer), // names and labels; the values are told nobody
    ("GET",    "secrets/*",                         Viewer),
    ("POST",   "secrets/create",                    Operator),
    ("POST",   "secrets/*/update",                  Operator),
    ("DELETE", "secrets/*",                         Operator),
    ("GET",    "configs",                           Viewer),
    ("GET",    "configs/*",                         Viewer),
    ("POST",   "configs/create",                    Operator),
    ("POST",   "configs/*/update",                  Operator),
    ("DELETE", "configs/*",                         Operator),

    ("GET",    "networks",                          Viewer), // the cluster's; for what the engine's need: `networks`
    ("GET",    "networks/*",                        Viewer),
    ("POST",   "networks/create",                   Operator),
    ("DELETE", "networks/*",                        Operator),
    // The engine's answer, which the making of a service needs.
    ("GET",    "distribution/**/json",              Operator),

    ("GET",    "swarm/x/raft",                      Viewer),
    ("GET",    "swarm/x/gossip",                    Viewer),
    ("POST",   "swarm/x/lab/cut",                   Admin),
    ("POST",   "swarm/x/lab/heal",                  Admin),
    ("GET",    "swarm/x/services/*/history",        Viewer),
    ("GET",    "swarm/x/services/*/explain",        Viewer),
    ("POST",   "swarm/x/services/*/rebalance",      Operator),
    ("POST",   "swarm/x/secrets/*/rotate",          Operator),
    ("GET",    "swarm/x/secrets/*/history",         Viewer),
    ("POST",   "swarm/x/configs/*/rotate",          Operator),
    ("GET",    "swarm/x/configs/*/history",         Viewer),
    ("GET",    "swarm/x/backup",                    Admin),
    ("POST",   "swarm/x/restore",                   Admin),
    ("POST",   "swarm/x/rotate-data-keys",          Admin),
    ("GET",    "swarm/x/client-certs",              Admin),
    ("POST",   "swarm/x/client-certs",              Admin),
    ("DELETE", "swarm/x/client-certs/*",            Admin),
    ("GET",    "swarm/x/audit",                     Admin),
];

/// The least role that may send this request.
pub fn least_role(method: &str, path: &[&str]) -> AccessRole {
    row(method, path).unwrap_or(Admin)
}

/// Whether a request is worth a record: whatever may change something, and reading what lets somebody in.
pub fn is_recorded(method: &str, path: &[&str]) -> bool {
    let reads = matches!(method, "GET" | "HEAD");
    !reads || matches!(path, ["swarm", "unlockkey"] | ["swarm", "x", "backup", ..])
}

fn row(method: &str, path: &[&str]) -> Option<AccessRole> {
    let method = if method == "HEAD" { "GET" } else { method };
    // A fixed segment comes before `*`: `services/create` is not the service of that name.
    let fits = TABLE.iter().filter(|(of, pattern, _)| *of == method && matches(pattern, path));
    fits.map(|(_, _, role)| *role).max()
}

fn matches(pattern: &str, path: &[&str]) -> bool {
    if let Some((first, last)) = pattern.split_once("/**/") {
        return matches!(path, [start, .., end] if *start == first && *end == last && path.len() > 2);
    }
    let mut segments = path.iter();
    let all =
        pattern.split('/').all(|part| segments.next().is_some_and(|segment| part == "*" || part == *segment));
    all && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least(method: &str, path: &str) -> AccessRole {
        least_role(method, &path.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn examples() {
        #[rustfmt::skip]
        let cases = [
            ("HEAD",   "_ping",                          Viewer),
            ("GET",    "services",                       Viewer),
            ("GET",    "services/web",                   Viewer),
            ("GET",    "services/create",                Viewer), // a service may have that name
            ("POST",   "services/create",                Operator),
            ("POST",   "services/web/update",            Operator),
            ("DELETE", "services/web",                   Operator),
            ("PUT",    "services/web",                   Admin),
            ("POST",   "services/web",                   Admin),
            ("GET",    "services/web/logs/more",         Admin),
            ("POST",   "nodes/n1/update",                Operator),
            ("DELETE", "nodes/n1",                       Admin),
            ("GET",    "swarm",                          Viewer),
            ("POST",   "swarm",                          Admin),
            ("GET",    "swarm/unlockkey",                Admin),
            ("POST",   "swarm/update",                   Admin),
            ("GET",    "swarm/x/audit",                  Admin),
            ("GET",    "swarm/x/anything",               Admin),
            ("GET",    "containers/json",                Admin),
            ("POST",   "containers/create",              Admin),
            ("POST",   "build",                          Admin),
            ("GET",    "networks",                       Viewer),
            ("GET",    "networks/front",                 Viewer),
            ("POST",   "networks/create",                Operator),
            ("POST",   "networks/front/connect",         Admin),
            ("POST",   "networks/prune",                 Admin),
            ("DELETE", "networks/front",                 Operator),
            ("GET",    "distribution/library/nginx/json", Operator),
            ("GET",    "distribution/json",              Admin),
            ("GET",    "distribution/x/tags",            Admin),
            ("GET",    "nodes/n1/update",                Admin),
            ("get",    "nodes",                          Admin),
            ("OPTIONS", "nodes",                         Admin),
        ];
        for (method, path, role) in cases {
            assert_eq!(least(method, path), role, "{method} {path}");
        }
        assert_eq!(least_role("GET", &[]), Admin);
    }

    #[test]
    fn a_viewer_changes_nothing() {
        for (method, path, role) in TABLE {
            assert!(*role > Viewer || *method == "GET", "{method} {path}");
        }
    }

    /// The routes are read from the router itself, so that none is added without a line in the table.
    #[test]
    fn every_route_is_in_the_table() {
        let routes = routes(include_str!("route.rs"));
        assert!(routes.len() > 25, "{routes:?}");
        for (method, path) in &routes {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            assert!(row(method, &path).is_some(), "{method} {path:?} has no line in the table");
        }
    }

    /// `("GET", ["services", name, "logs"])` is GET and `services`, `x`, `logs`.
    fn routes(source: &str) -> Vec<(String, Vec<String>)> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        const BOTH: &str = "kinds @ (\"secrets\" | \"configs\")";
        let mut found = Vec::new();
        let lines = code.lines().flat_map(|line| match line.contains(BOTH) {
            true => vec![line.replace(BOTH, "\"secrets\""), line.replace(BOTH, "\"configs\"")],
            false => vec![line.to_owned()],
        });
        for line in lines {
            let Some((head, _)) = line.trim().split_once("=>") else { continue };
            for arm in head.split("(\"").skip(1) {
                let Some((methods, rest)) = arm.split_once("[") else { continue };
                let Some((path, _)) = rest.split_once(']') else { continue };
                let path: Vec<String> = path
                    .split(',')
                    .map(|part| part.trim())
                    .filter(|part| !part.is_empty())
                    .map(|part| {
                        part.strip_prefix('"')
                            .and_then(|part| part.strip_suffix('"'))
                            .unwrap_or("x")
                            .to_owned()
                    })
                    .collect();
                let methods = methods.split(['"', '|', ' ', ',']).filter(|word| !word.is_empty());
                for method in methods {
                    // What stands for every kind of its own (`lists`) is not a path.
                    let is_word = method.bytes().all(|byte| byte.is_ascii_uppercase());
                    if is_word && path.first().is_some_and(|first| first != "x") {
                        found.push((method.to_owned(), path.clone()));
                    }
                }
            }
        }
        found
    }
}
