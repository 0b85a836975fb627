//! `swarm restore`: makes a cluster of a backup, with this node as its only manager.

use std::path::PathBuf;

use serde_json::Value;

use super::backup::{KeyFlags, read_header};
use super::edit::text;
use super::init::{PlaceFlags, join_command};
use crate::client::{Client, escape};
use crate::output::{note, print};

/// Make a cluster of a backup, with this node as its only manager
///
/// The cluster has the identity, root, tokens, secrets and services of the backup; its tasks start here and wherever
/// else nodes join. At the address of a manager of before this node becomes that one, and workers that still run come
/// back by themselves; from elsewhere they leave and join again. See to it that no manager of before still runs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm restore /backup/swarm-2026-11-20
  swarm restore --key-file backup.key --advertise-addr 10.0.0.1 /backup/swarm-nightly
  ssh vault 'cat swarm.backup' | swarm restore --passphrase-file passphrase -")]
pub struct Args {
    /// The backup; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    pub key: KeyFlags,

    #[command(flatten)]
    pub place: PlaceFlags,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let (header, input) = read_header(&args.file)?;
    let key = args.key.open(&header, args.file.as_os_str() != "-")?.to_base64();
    args.place.ensure_daemon(client).await?;
    let info: Value = client.get("/info").await?;
    // Before all of the file is sent for nothing; the daemon refuses it as well.
    let state = text(&info, &["Swarm", "LocalNodeState"]);
    anyhow::ensure!(
        state == "inactive",
        "This node is already part of a swarm. Use \"swarm leave\" to leave this swarm and restore the backup then."
    );
    let path = format!(
        "/swarm/x/restore?listenAddr={}&advertiseAddr={}&dataPathAddr={}&availability={}",
        escape(&args.place.listen_addr),
        escape(&args.place.advertise_addr),
        escape(&args.place.data_path_addr),
        args.place.availability(),
    );
    let id: String = client.upload(&path, &[("Swarm-Backup-Key", key.reveal())], input).await?;
    print(&format!("Swarm restored: current node ({id}) is now its only manager.\n\n"))?;
    note("Nodes of before are down until they come, and can be promoted then; remove those that do not.");
    let swarm = client.get("/swarm").await?;
    print(&join_command(client, swarm, &id, "worker").await?)?;
    Ok(())
}
