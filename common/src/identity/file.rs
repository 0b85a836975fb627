//! The one file a node's identity lies in: certificate, root, key and wrapped data key change together or not at all.
//!
//! Each block of PEM stands under a line that says what it is, so a person can look at it with the usual tools.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::data_key::{DataKeyError, WrappedDataKey};
use super::key::NodeKey;
use super::node::{IdentityError, NodeIdentity};
use crate::disk::{self, DiskError};

const KIND: &str = "identity";
const FORMAT: u32 = 1;

const CERTIFICATE: &str = "node certificate";
const ROOT: &str = "root certificate";
const KEY: &str = "private key";
const DATA_KEY: &str = "wrapped data key, base64";

#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    #[error("keep the node's identity")]
    Disk(#[from] DiskError),
    #[error("{} is of format {format}, this version of swarm reads format {FORMAT}", path.display())]
    Format { path: PathBuf, format: u32 },
    #[error("{} is damaged: it has no '{section}'", path.display())]
    Missing { path: PathBuf, section: &'static str },
    #[error("{} does not hold an identity", path.display())]
    Identity {
        path: PathBuf,
        #[source]
        source: IdentityError,
    },
    #[error("{} does not hold a data key", path.display())]
    DataKey {
        path: PathBuf,
        #[source]
        source: DataKeyError,
    },
}

/// What the file holds. Workers have no data key.
#[derive(Clone, Debug)]
pub struct StoredIdentity {
    pub identity: NodeIdentity,
    pub data_key: Option<WrappedDataKey>,
}

/// Replaces the file in one step.
pub fn save(
    path: &Path,
    identity: &NodeIdentity,
    data_key: Option<&WrappedDataKey>,
) -> Result<(), IdentityFileError> {
    let key = identity.key().to_pem();
    // Sized beforehand: a text that grows would leave pieces of the key behind in memory.
    let size = identity.certificate_pem().len() + identity.root_pem().len() + key.reveal().len() + 1024;
    let mut content = Zeroizing::new(String::with_capacity(size));
    for (name, text) in
        [(CERTIFICATE, identity.certificate_pem()), (ROOT, identity.root_pem()), (KEY, key.reveal())]
    {
        writeln!(content, "# {name}\n{}", text.trim_end_matches('\n')).expect("text takes every write");
    }
    if let Some(data_key) = data_key {
        writeln!(content, "# {DATA_KEY}\n{}", BASE64.encode(data_key.as_bytes()))
            .expect("text takes every write");
    }
    Ok(disk::save(path, KIND, FORMAT, content.as_bytes())?)
}

/// Reads and checks the file; none where there is no file.
pub fn load(path: &Path) -> Result<Option<StoredIdentity>, IdentityFileError> {
    let Some((format, content)) = disk::load(path, KIND)? else { return Ok(None) };
    let content = Zeroizing::new(content);
    if format != FORMAT {
        return Err(IdentityFileError::Format { path: path.into(), format });
    }
    let text = std::str::from_utf8(&content).unwrap_or_default();
    let need =
        |name| section(text, name).ok_or(IdentityFileError::Missing { path: path.into(), section: name });
    let identity = |source| IdentityFileError::Identity { path: path.into(), source };
    let data_key = |source| IdentityFileError::DataKey { path: path.into(), source };
    let key = NodeKey::from_pem(need(KEY)?).map_err(|error| identity(error.into()))?;
    Ok(Some(StoredIdentity {
        identity: NodeIdentity::new(need(CERTIFICATE)?, key, need(ROOT)?).map_err(identity)?,
        data_key: section(text, DATA_KEY)
            .map(|text| {
                let bytes = BASE64.decode(text.trim()).map_err(|_| DataKeyError::Format)?;
                WrappedDataKey::from_bytes(&bytes)
            })
            .transpose()
            .map_err(data_key)?,
    }))
}

/// What stands between the line `# name` and the next such line.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let heading = format!("# {name}\n");
    let start = match text.strip_prefix(&heading) {
        Some(rest) => rest,
        None => text.split_once(&format!("\n{heading}"))?.1,
    };
    // The last line break stays: the digest of the root in join tokens counts it.
    Some(start.find("\n# ").map_or(start, |end| &start[..=end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::node::tests::issue;
    use crate::identity::{DataKey, RootAuthority};
    use crate::object::Role;
    use crate::random::SystemRandom;
    use crate::time::{Clock, SystemClock};

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        assert!(load(&path).unwrap().is_none());
        let root = RootAuthority::generate(SystemClock.now()).unwrap();
        let identity = issue(&root, 1, 2, Role::Manager);
        let key = DataKey::generate(&mut SystemRandom);
        let wrapped = key.wrap(identity.key(), None, &mut SystemRandom);
        for data_key in [None, Some(&wrapped)] {
            save(&path, &identity, data_key).unwrap();
            let stored = load(&path).unwrap().unwrap();
            assert_eq!(stored.data_key.as_ref(), data_key);
            assert_eq!(stored.identity.node, identity.node);
            assert_eq!(stored.identity.certificate_pem(), identity.certificate_pem());
            assert_eq!(stored.identity.root_pem(), root.certificate_pem());
            if let Some(stored_key) = stored.data_key {
                let opened = stored_key.unwrap(stored.identity.key(), None).unwrap();
                assert_eq!(opened.reveal(), key.reveal());
            }
        }
    }

    #[test]
    fn every_error_names_the_file_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let root = RootAuthority::generate(SystemClock.now()).unwrap();
        let (identity, other) = (issue(&root, 1, 2, Role::Manager), issue(&root, 1, 3, Role::Manager));
        save(&path, &identity, None).unwrap();
        let (_, whole) = disk::load(&path, KIND).unwrap().unwrap();
        let whole = String::from_utf8(whole).unwrap();
        let other_key = whole.replace(section(&whole, KEY).unwrap(), other.key().to_pem().reveal());
        #[rustfmt::skip]
        let cases = [ // format, content, what the error says
            (2, whole.clone(), "is of format 2"),
            (1, String::new(), "has no 'private key'"),
            (1, whole.replace("# root certificate", "# something"), "has no 'root certificate'"),
            (1, other_key, "is for another key"),
            (1, format!("{whole}# {DATA_KEY}\nnonsense\n"), "does not hold a data key"),
        ];
        for (format, content, part) in cases {
            disk::save(&path, KIND, format, content.as_bytes()).unwrap();
            let error = load(&path).unwrap_err();
            let line = crate::report::Report(&error).to_string();
            assert!(line.contains("identity.pem") && line.contains(part), "{line} should say {part}");
            assert!(!line.contains("BEGIN"), "{line}");
        }
    }
}
