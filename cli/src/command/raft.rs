//! `swarm raft`: the managers' agreement, as this manager sees it, and what their data is sealed with.

use std::fmt::Write;

use clap::Subcommand;
use common::engine_api::system::{RaftMemberStatus, RaftStatus};

use crate::client::Client;
use crate::output::inspect::{self, Format};
use crate::output::{natural, print, table};

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Status(Args),
    RotateDataKeys(RotateArgs),
}

/// Have every manager seal its data with a new key
///
/// Each manager has a key of its own and changes it by itself, while it works; `swarm raft status` on it shows the
/// version of the key it has come to. Demoting a manager and turning autolock on do the same.
#[derive(Clone, Debug, clap::Args)]
pub struct RotateArgs {}

/// Show term, leader, log positions, and how far each manager is behind
///
/// MATCHED, LAG and HEARD are known to the leader alone: ask there (`swarm -H …`) to see them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,
}

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    let args = match command {
        Command::Status(args) => args,
        Command::RotateDataKeys(RotateArgs {}) => {
            client.post_nothing("/swarm/x/rotate-data-keys").await?;
            print("Every manager changes its data key now.\n")?;
            return Ok(());
        }
    };
    if let Some(format) = &args.format {
        print(&inspect::show(format, &client.get("/swarm/x/raft").await?)?)?;
        return Ok(());
    }
    let status: RaftStatus = client.get("/swarm/x/raft").await?;
    print(&shown(status))?;
    Ok(())
}

fn shown(mut status: RaftStatus) -> String {
    status.members.sort_by(|left, right| {
        natural::compare(&left.hostname, &right.hostname).then(left.raft_id.cmp(&right.raft_id))
    });
    let leader = status.members.iter().find(|member| member.leader);
    let leader = match (leader, status.leader_id.as_str()) {
        (Some(member), _) => format!("{} ({})", member.hostname, member.node_id),
        (None, "") => "none".into(),
        (None, id) => id.into(),
    };
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = write!(
        out,
        "State:     {}\nTerm:      {}\nLeader:    {leader}\n\
         Log:       last {}, committed {}, applied {}\nSnapshot:  {} (log removed up to {})\n\
         At rest:   data key {}, unlock key {}\n\n",
        status.state,
        status.term,
        status.last_log_index,
        status.committed_index,
        status.applied_index,
        status.snapshot_index,
        status.purged_index,
        status.data_key_version,
        status.unlock_key_version,
    );
    let mut rows = "ID\tHOSTNAME\tADDRESS\tRAFT ID\tROLE\tMATCHED\tLAG\tHEARD".to_owned();
    for member in &status.members {
        rows.push('\n');
        rows.push_str(&row(member));
    }
    out.push_str(&table::align(&rows));
    out.push('\n');
    out
}

fn row(member: &RaftMemberStatus) -> String {
    let role = match (member.leader, member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let heard = match member.heard_ms_ago {
        Some(_) if member.leader => "-".into(),
        Some(milliseconds) => format!("{milliseconds} ms ago"),
        None => "-".to_owned(),
    };
    format!(
        "{}\t{}\t{}\t{}\t{role}\t{}\t{}\t{heard}",
        member.node_id,
        member.hostname,
        member.addr,
        member.raft_id,
        number(member.matched_index),
        number(member.lag),
    )
}
