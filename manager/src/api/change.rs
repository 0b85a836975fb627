//! A change that a request asks for: read, judged, written; and again when something moved in between.
//!
//! On the leader the first judgement is on the tables as they are here, without asking a majority whether they are the
//! newest: the write that follows proves it, and where it does not come to a write nothing is said before it was asked.

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
    if let Some((tables, lead)) = control.leading()
        && let Ok((changes, said)) = judge(&tables)
    {
        match control.propose_in(lead, changes).await {
            Ok(Some(_)) => return Ok(said),
            // Something moved, or somebody else leads.
            Ok(None) | Err(ControlError::Rejected(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
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
