//! `swarm update`: changes the cluster's settings.

use super::cluster_flags::{ClusterFlags, look, member};
use super::edit::{self, Rotate};
use super::init::unlock_text;
use crate::client::Client;
use crate::output::{print, print_line};

/// Change the cluster's settings
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm update --cert-expiry 720h
  swarm update --autolock=true          # shows the key that unlocks managers after a restart
  swarm update --liveness wan --task-history-limit 2")]
pub struct Args {
    /// Keep managers locked after a restart until the unlock key is given
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub autolock: Option<bool>,

    #[command(flatten)]
    pub cluster: ClusterFlags,
}

impl Args {
    /// Without any flag there is nothing to do but to say what could be done.
    pub fn is_empty(&self) -> bool {
        self.autolock.is_none() && !self.cluster.any()
    }
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    const AUTOLOCK: [&str; 2] = ["EncryptionConfig", "AutoLockManagers"];
    let before = edit::cluster(client, Rotate::default(), |spec| {
        if let Some(autolock) = args.autolock {
            *member(spec, &AUTOLOCK) = autolock.into();
        }
        args.cluster.apply(spec);
    })
    .await?;
    print_line("Swarm updated.")?;
    // As in Docker, the key is shown when there was none before.
    let was_locked = look(&before, &["Spec"]).pointer("/EncryptionConfig/AutoLockManagers");
    if args.autolock == Some(true) && was_locked.and_then(serde_json::Value::as_bool) != Some(true) {
        print(&unlock_text(client).await?)?;
    }
    Ok(())
}
