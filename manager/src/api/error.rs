//! What went wrong, as the API says it: a status and a sentence.
//!
//! The sentences that Docker's clients and people's scripts know are here, word for word.

use common::engine_api::convert::ConvertError;
use common::report::Report;
use hyper::StatusCode;

use super::host::ControlError;
use crate::store::Rejection;

pub const NOT_IN_A_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
pub const NOT_A_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
pub const MANAGER_NOT_READY: &str =
    "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster.";
/// Ours: what follows is why.
pub const MANAGER_STOPPED: &str = "This node is not a swarm manager. It cannot go on:";
pub const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
pub const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";
pub const ALREADY_MEMBER: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";
pub const NOT_A_MEMBER: &str = "This node is not part of a swarm";
pub const JOIN_TIMEOUT: &str = "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the \"docker info\" command to see the current swarm status of your node.";
pub const LEAVE_TIMEOUT: &str = "Timeout was reached before node left. Leaving the swarm will continue in the background. Use the \"docker info\" command to see the current swarm status of your node.";
/// Ours, in the words of the two above.
pub const UNLOCK_TIMEOUT: &str = "Timeout was reached before node was unlocked. Unlocking will continue in the background. Use the \"docker info\" command to see the current swarm status of your node.";
pub const CERTIFICATES_EXPIRED: &str =
    "Swarm certificates have expired. To replace them, leave the swarm and join again.";
pub const NOT_LOCKED: &str = "swarm is not locked";
pub const WRONG_UNLOCK_KEY: &str = "swarm could not be unlocked: invalid key provided";
pub const OUT_OF_SEQUENCE: &str = "update out of sequence";
pub const PAGE_NOT_FOUND: &str = "page not found";

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400: the request cannot be carried out as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 501: known, and not in this version or not on this node.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// 503: right, but not here or not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let message = Report(&error).to_string();
        match &error {
            ControlError::NotReady => Self::unavailable(message),
            ControlError::Rejected(Rejection::Exists { .. } | Rejection::NameTaken { .. }) => {
                Self::conflict(message)
            }
            ControlError::Rejected(Rejection::Missing { .. }) => Self::not_found(message),
            ControlError::NoLeader
            | ControlError::Rejected(Rejection::Conflict { .. } | Rejection::Invalid { .. })
            | ControlError::Unknown { .. }
            | ControlError::Failed { .. } => Self::internal(message),
        }
    }
}

impl From<ConvertError> for ApiError {
    fn from(error: ConvertError) -> Self {
        let message = error.to_string();
        match error {
            ConvertError::Word { .. }
            | ConvertError::Range { .. }
            | ConvertError::ExpiryTooShort
            | ConvertError::NegativeHeartbeat
            | ConvertError::ExternalProtocol { .. }
            | ConvertError::ExternalUrl { .. }
            | ConvertError::ClusterName
            | ConvertError::Unrecognized { .. }
            | ConvertError::Negative { .. }
            | ConvertError::FailureRatio
            | ConvertError::SeveralModes
            | ConvertError::MissingRuntime
            | ConvertError::HealthDuration { .. }
            | ConvertError::HealthRetries
            | ConvertError::Reference { .. }
            | ConvertError::ReferenceTarget { .. }
            | ConvertError::CredentialSpec(_)
            | ConvertError::NamedResource
            | ConvertError::NotSpread
            | ConvertError::Ipam(_)
            | ConvertError::Data { .. }
            | ConvertError::ReadyProbe => Self::invalid(message),
            ConvertError::Unsupported { .. } => Self::not_implemented(message),
            ConvertError::RootCertificate { .. } => Self::internal(message),
        }
    }
}
