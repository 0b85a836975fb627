//! `swarm lab status`: the nodes of a lab, as the machine and the cluster see them.

use std::collections::BTreeMap;
use std::time::Duration;

use common::engine_api::node::Node;
use serde::Serialize;

use super::Which;
use super::process::ProcessState;
use super::record::{self, LabNode, Record};
use crate::output::{print, table};

/// How long one node may take to say what it knows of the cluster.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// How to show the nodes; `json` is one array with an object per node
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// One node, as `--format json` shows it. The names are part of the interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: String,
    id: String,
    /// `manager` or `worker`, as the cluster has it now; as it joined where nobody can be asked.
    role: String,
    leader: bool,
    /// `running`, `paused`, `cut` or `killed`.
    state: &'static str,
    /// None where no process runs.
    pid: Option<u32>,
    address: String,
    socket: String,
    state_folder: String,
    log: String,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let record = record::read(&args.which.name)?;
    let cluster = ask(&record).await;
    let rows: Vec<Row> = record.nodes.iter().map(|node| row(node, &cluster)).collect();
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&rows)? + "\n",
        Format::Table => show(&rows),
    };
    Ok(print(&text)?)
}

/// The cluster's nodes by id, from the first node that can say; empty where none can.
async fn ask(record: &Record) -> BTreeMap<String, Node> {
    let able = record.nodes.iter().filter(|node| node.process_state() == ProcessState::Running);
    // Nodes that are not cut know better; a manager's own view is enough where a majority is lost.
    let (cut, connected): (Vec<&LabNode>, Vec<&LabNode>) = able.partition(|node| node.is_cut());
    for path in ["/nodes", "/nodes?consistency=local"] {
        for node in connected.iter().chain(&cut) {
            let client = node.client();
            if let Ok(Ok(nodes)) = tokio::time::timeout(ANSWER_TIME_MAX, client.get::<Vec<Node>>(path)).await
            {
                return nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
            }
        }
    }
    BTreeMap::new()
}

fn row(node: &LabNode, cluster: &BTreeMap<String, Node>) -> Row {
    let state = node.process_state();
    let known = cluster.get(&node.id);
    Row {
        name: node.name.clone(),
        id: node.id.clone(),
        role: known.map_or_else(|| node.role().to_string(), |known| known.spec.role.clone()),
        leader: known.and_then(|known| known.manager_status.as_ref()).is_some_and(|manager| manager.leader),
        state: match state {
            ProcessState::Gone => "killed",
            ProcessState::Paused => "paused",
            ProcessState::Running if node.is_cut() => "cut",
            ProcessState::Running => "running",
        },
        pid: node.process.filter(|_| state != ProcessState::Gone).map(|process| process.pid),
        address: node.addr.to_string(),
        socket: node.socket().display().to_string(),
        state_folder: node.state_dir().display().to_string(),
        log: node.log().display().to_string(),
    }
}

fn show(rows: &[Row]) -> String {
    let mut lines = vec!["NAME\tID\tROLE\tSTATE\tPID\tADDRESS\tSOCKET".to_owned()];
    lines.extend(rows.iter().map(|row| {
        let role = if row.leader { format!("{} (leader)", row.role) } else { row.role.clone() };
        let pid = row.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        [&row.name, &row.id, &role, row.state, &pid, &row.address, &row.socket].join("\t")
    }));
    table::align(&(lines.join("\n") + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::engine_api::node::{ManagerStatus, NodeSpec};

    fn node() -> LabNode {
        LabNode {
            name: "manager1".into(),
            id: "n1".into(),
            manager: true,
            addr: "127.200.1.1:2377".parse().expect("address"),
            folder: "/labs/lab/manager1".into(),
            process: None,
            cut: None,
        }
    }

    #[test]
    fn the_cluster_knows_roles_better_than_the_record() {
        let alone = row(&node(), &BTreeMap::new());
        assert_eq!(
            (alone.role.as_str(), alone.leader, alone.state, alone.pid),
            ("manager", false, "killed", None)
        );

        let spec = NodeSpec { role: "worker".into(), ..NodeSpec::default() };
        let demoted = Node { id: "n1".into(), spec, ..Node::default() };
        assert_eq!(row(&node(), &BTreeMap::from([("n1".into(), demoted)])).role, "worker");

        let manager_status = Some(ManagerStatus { leader: true, ..ManagerStatus::default() });
        let leader = Node { id: "n1".into(), manager_status, ..Node::default() };
        assert!(row(&node(), &BTreeMap::from([("n1".into(), leader)])).leader);
    }

    #[test]
    fn json_has_the_promised_members() {
        let json = serde_json::to_value(row(&node(), &BTreeMap::new())).expect("plain data");
        let members: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        for name in
            ["name", "id", "role", "leader", "state", "pid", "address", "socket", "state_folder", "log"]
        {
            assert!(members.contains(&name), "{name} in {members:?}");
        }
        assert!(show(&[row(&node(), &BTreeMap::new())]).contains("127.200.1.1:2377"));
    }
}
