//! How a manager keeps its data on disk: with which data key, and whether under an unlock key that only people hold.
//!
//! Both follow the cluster's object. A change of the data key is three writes, and a crash between any two of them
//! leaves data that opens: both keys are on disk before the new one is used, and the old one goes from there when
//! nothing needs it. What was begun is finished by the next start: so is the change of a private key that lay on the
//! disk before its lock came.

use std::sync::Arc;

use anyhow::Context;
use common::identity::{DataKey, DataKeys, Lock};
use common::limits::{RENEW_RETRY_MAX, RENEW_RETRY_MIN};
use common::object::cluster::AtRest;
use common::random::SystemRandom;
use common::report::Report;
use manager::manager::Manager;
use tracing::{info, warn};

use super::running::Running;

/// Runs until the node stops.
pub async fn keep_at_rest(running: Arc<Running>) {
    let mut managers = running.watch_manager();
    let mut retry = RENEW_RETRY_MIN;
    loop {
        let manager = managers.borrow_and_update().clone();
        let mut wanted = manager.as_ref().map(Manager::at_rest);
        let settled = match (&manager, &mut wanted) {
            (Some(manager), Some(wanted)) => {
                let wanted = wanted.borrow_and_update().clone();
                settle(&running, manager, &wanted).await
            }
            _ => Ok(()),
        };
        let failed = settled.is_err();
        match settled {
            Ok(()) => retry = RENEW_RETRY_MIN,
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "this manager's data is not kept as the cluster wants it"
                );
                retry = (retry * 2).min(RENEW_RETRY_MAX);
            }
        }
        let changed = async {
            match &mut wanted {
                Some(wanted) => wanted.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A manager that has ended is followed by word of it.
            true = changed => {}
            changed = managers.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(retry), if failed => {}
        }
    }
}

async fn settle(running: &Running, manager: &Manager, wanted: &AtRest) -> anyhow::Result<()> {
    // Held to the end, so that who stops being a manager meanwhile drops its keys afterwards.
    let _turn = running.at_rest_turn.lock().await;
    if running.manager().is_none() {
        return Ok(());
    }
    settle_lock(running, manager, wanted)?;
    while settle_data_key(running, manager, wanted).await? {}
    Ok(())
}

fn settle_lock(running: &Running, manager: &Manager, wanted: &AtRest) -> anyhow::Result<()> {
    let version = wanted.unlock_key_version;
    if running.stored().lock.version < version {
        let lock = Lock::wanted(wanted)?;
        let locks = lock.key.is_some();
        running.store(|stored| stored.lock_with(lock)).context("lock this manager's key")?;
        info!(locks, version, "this manager's unlock key changed");
        if running.stored().exposed {
            running.renew_soon.notify_one();
        }
    }
    manager.note_lock(running.stored().lock.version);
    Ok(())
}

/// One change of the data key, or the rest of one that was interrupted; false where nothing was to do.
async fn settle_data_key(running: &Running, manager: &Manager, wanted: &AtRest) -> anyhow::Result<bool> {
    let Some(present) = running.stored().data_keys else { return Ok(false) };
    let keys = match present.previous {
        Some(_) => present,
        None if present.version >= wanted.data_key_version => return Ok(false),
        None => {
            let keys = DataKeys {
                current: DataKey::generate(&mut SystemRandom),
                version: wanted.data_key_version,
                previous: Some(present.current),
            };
            running.store(|stored| stored.data_keys = Some(keys.clone())).context("keep a new data key")?;
            keys
        }
    };
    manager.reseal(&keys).await.map_err(|error| anyhow::anyhow!(Report(&error).to_string()))?;
    let keys = DataKeys { previous: None, ..keys };
    running.store(|stored| stored.data_keys = Some(keys.clone())).context("forget the data key before")?;
    manager.forget_key_before(&keys);
    info!(version = keys.version, "this manager's data key changed");
    Ok(true)
}
