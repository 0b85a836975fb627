//! A change that a request asks for: read, judged, written; and again when something moved in between.

use common::limits::API_CONFLICT_ATTEMPTS_MAX;

use super::error::ApiError;
use super::host::{Control, ControlError};
use crate::store::{Change, Rejection, Tables};

/// Whatever the client has a version of is compared by `judge` with what was just read, so only moves of other
/// objects are tried again. Without changes nothing is written. Answers what `judge` said beside the changes that were written.
pub(super) async fn change<T>(
    control: &dyn Control,
    mut judge: impl FnMut(&Tables) -> Result<(Vec<Change>, T), ApiError>,
) -> Result<T, ApiError> {
    let mut attempts = 1;
    loop {
        let (changes, said) = judge(&control.read().await?)?;
        if changes.is_empty() {
            return Ok(said);
        }
        match control.propose(changes).await {
            Ok(_) => return Ok(said),
            Err(ControlError::Rejected(Rejection::Conflict { .. }))
                if attempts < API_CONFLICT_ATTEMPTS_MAX =>
            {
                attempts += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
