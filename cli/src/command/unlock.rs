//! `swarm unlock`: opens this manager after a restart.

use common::engine_api::swarm::UnlockKey;
use common::engine_api::system::SwarmInfo;
use serde_json::Value;

use super::cluster_flags::look;
use crate::client::Client;
use crate::prompt;

/// Unlock this manager after a restart
///
/// Asks for the key that `swarm unlock-key` shows on any manager that is not locked, or reads it from a pipe. A manager
/// that was off while the key was changed still opens with the key it had.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm unlock
  pass show swarm/unlock-key | swarm unlock")]
pub struct Args {}

pub async fn run(_: Args, client: &Client) -> anyhow::Result<()> {
    let info: Value = client.get("/info").await?;
    let swarm: SwarmInfo = serde_json::from_value(look(&info, &["Swarm"]).clone()).unwrap_or_default();
    match swarm.local_node_state.as_str() {
        "inactive" => anyhow::bail!("error: this node is not part of a swarm"),
        "locked" => {}
        _ => anyhow::bail!("error: swarm is not locked"),
    }
    let key = prompt::secret("Enter unlock key: ")?;
    client.post("/swarm/unlock", &UnlockKey { unlock_key: key.reveal().into() }).await?;
    Ok(())
}
