//! What of a node lies sealed and has to be opened first: a locked identity, a backup.

use common::identity::{IdentityFileError, Stored, StoredIdentity, UnlockKey, file as identity_file};
use common::object::NodeId;
use common::report::Report;
use manager::api::error::{LOCKED, WRONG_UNLOCK_KEY};
use manager::api::{ApiError, Restore};
use tracing::info;

use super::{LockedState, NodeHost, Phase, choose, not_free, port};
use crate::daemon::restore::restore;

impl NodeHost {
    pub(super) async fn unlock_with(&self, locked: &LockedState, key: &UnlockKey) -> Result<(), ApiError> {
        let stored = locked.identity.unlock(key).map_err(|error| match error.is_wrong_key() {
            true => ApiError::unauthorized(WRONG_UNLOCK_KEY),
            false => ApiError::internal(Report(&error).to_string()),
        })?;
        *self.shared.unlocked_by.lock().expect("no holder panics") = Some(key.clone());
        let phase = self.take_place(locked.file.clone(), stored).await;
        self.set_phase(phase.clone());
        match phase {
            Phase::Broken(reason) => Err(ApiError::internal(reason)),
            _ => {
                info!("this manager was unlocked");
                Ok(())
            }
        }
    }

    /// What the identity file holds, where it is open or has been opened since the daemon started.
    pub(super) fn stored_on_disk(&self) -> Result<StoredIdentity, ApiError> {
        let internal = |error: IdentityFileError| ApiError::internal(Report(&error).to_string());
        let path = self.shared.setup.folder.identity_file();
        match identity_file::load(&path).map_err(internal)? {
            None => Err(ApiError::internal(format!("{} is missing", path.display()))),
            Some(Stored::Open(stored)) => Ok(stored),
            Some(Stored::Locked(locked)) => {
                let key = self.shared.unlocked_by.lock().expect("no holder panics").clone();
                let key = key.ok_or_else(|| ApiError::unavailable(LOCKED))?;
                locked.unlock(&key).map_err(internal)
            }
        }
    }

    pub(super) async fn restore_backup(&self, backup: Restore) -> Result<NodeId, ApiError> {
        let addresses = choose(&backup.listen_addr, &backup.advertise_addr)?;
        port::check_free(addresses.listen).await.map_err(not_free)?;
        self.set_phase(Phase::Pending(None));
        match restore(&self.shared.setup, backup, addresses).await {
            Ok(running) => {
                self.look_after(&running);
                let node = running.node;
                self.set_phase(Phase::Running(running));
                Ok(node)
            }
            Err(error) => {
                self.give_up();
                Err(ApiError::internal(format!("{error:#}")))
            }
        }
    }
}
