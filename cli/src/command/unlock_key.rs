//! `swarm unlock-key`: shows or renews the key that unlocks managers.

use common::engine_api::swarm::UnlockKey;
use serde_json::Value;

use super::cluster_flags::look;
use super::edit::{self, Rotate};
use super::init::unlock_text;
use crate::client::Client;
use crate::output::{print, print_line};

/// Show or renew the key that unlocks managers after a restart
///
/// After a rotation keep the old key for a while: a manager that was off meanwhile still asks for it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm unlock-key
  swarm unlock-key -q
  swarm unlock-key --rotate")]
pub struct Args {
    /// Make a new key first
    #[arg(long)]
    pub rotate: bool,

    /// Print the key alone
    #[arg(short, long)]
    pub quiet: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    if args.rotate {
        let swarm: Value = client.get("/swarm").await?;
        let locks = look(&swarm, &["Spec", "EncryptionConfig", "AutoLockManagers"]).as_bool();
        anyhow::ensure!(locks == Some(true), "cannot rotate because autolock is not turned on");
        edit::cluster(client, Rotate { unlock_key: true, ..Rotate::default() }, |_| {}).await?;
        if !args.quiet {
            print("Successfully rotated manager unlock key.\n\n")?;
        }
    }
    let key: UnlockKey = client.get("/swarm/unlockkey").await?;
    anyhow::ensure!(!key.unlock_key.is_empty(), "no unlock key is set");
    if args.quiet {
        print_line(&key.unlock_key)?;
        return Ok(());
    }
    print(&unlock_text(client).await?)?;
    Ok(())
}
