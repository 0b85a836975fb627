//! Who a node is: its key, the certificate that says so, and what lets a new one in.
//!
//! A node makes its own key and sends only a signing request; `authority` signs it; `NodeIdentity` is the checked
//! result, kept in one file (`file`). `client` is for people and programs that use the API from afar. `token` is the
//! invitation, `data_key` what the raft log is encrypted with; `unlock_key` is what people hold where managers lock,
//! `locked_key` the private key sealed with it. `local_key` seals what a node remembers for itself,
//! `sealed` what is on its way to it.
//!
//! `given` judges roots that people bring; `external` asks an authority outside of the cluster.
//!
//! Not here: TLS itself (`transport::quic::tls`), and who decides to sign (the manager's `ca`).

pub mod authority;
pub mod certificate;
pub mod client;
pub mod data_key;
pub mod external;
pub mod file;
pub mod given;
pub mod key;
pub mod local_key;
pub mod locked_key;
pub mod sealed;
pub mod token;
pub mod unlock_key;

pub use authority::{AuthorityError, RootAuthority};
pub use certificate::{CertificateError, NodeCertificate};
pub use client::{ApiServerNames, ClientCertificate};
pub use data_key::{DataKey, DataKeyError, DataKeys, WrappedDataKey};
pub use file::{IdentityFileError, Lock, LockedIdentity, Stored, StoredIdentity};
pub use given::GivenRootError;
pub use key::{KeyError, NodeKey};
pub use local_key::LocalSealer;
pub(crate) use node::root_store;
pub use node::{IdentityError, NodeIdentity};
pub use sealed::{OpeningKey, SealError, SealKey};
pub use token::{InvalidToken, JoinToken};
pub use unlock_key::{InvalidUnlockKey, UnlockKey};

mod node;
