//! Who a node is: its key, the certificate that says so, and what lets a new one in.
//!
//! A node makes its own key and sends only a signing request; `authority` signs it; `NodeIdentity` is the checked
//! result, kept in one file (`file`). `token` is the invitation, `data_key` what the raft log is encrypted with.
//!
//! `given` judges roots that people bring; `external` asks an authority outside of the cluster.
//!
//! Not here: TLS itself (`transport::quic::tls`), and who decides to sign (the manager's `ca`).

pub mod authority;
pub mod certificate;
pub mod data_key;
pub mod external;
pub mod file;
pub mod given;
pub mod key;
pub mod token;

pub use authority::{AuthorityError, RootAuthority};
pub use certificate::{CertificateError, NodeCertificate};
pub use data_key::{DataKey, DataKeyError, WrappedDataKey};
pub use file::{IdentityFileError, StoredIdentity};
pub use given::GivenRootError;
pub use key::{KeyError, NodeKey};
pub(crate) use node::root_store;
pub use node::{IdentityError, NodeIdentity};
pub use token::{InvalidToken, JoinToken};

mod node;
