//! A backup: the cluster's state in one file, sealed under a key that only people hold.
//!
//! - `key`: that key, made for it or derived from a passphrase. `header`: what stands in clear in front.
//! - `file`: the sealed pieces, written and read as a stream; `meta`: what a backup says of itself.
//!
//! Not here: what the state is (the manager's `store::format`), and how it is taken and put back.

mod file;
mod header;
mod key;
mod meta;

pub use file::{BackupError, BackupReader, BackupWriter, SealedBackup};
pub use header::{Header, KeySource};
pub use key::{BackupKey, InvalidBackupKey};
pub use meta::{BackupMeta, Counts};
