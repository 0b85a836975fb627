//! The one file a node's identity lies in: certificate, root, key and wrapped data keys change together or not at all.
//!
//! Each block of PEM stands under a line that says what it is, so a person can look at it with the usual tools. Where
//! managers lock, the key is none of them: it lies sealed, and who has a copy of the file has nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::certificate::{NodeCertificate, certificates_from_pem};
use super::data_key::{DataKey, DataKeyError, DataKeys, WrappedDataKey};
use super::key::NodeKey;
use super::locked_key::LockedKey;
use super::node::{IdentityError, NodeIdentity};
use super::unlock_key::{InvalidUnlockKey, UnlockKey};
use crate::disk::{self, DiskError};
use crate::object::cluster::AtRest;
use crate::object::sensitive::Sensitive;
use crate::object::{NodeId, Role};
use crate::random::SystemRandom;

const KIND: &str = "identity";
const FORMAT: u32 = 1;

/// No data key has this version.
const LOCAL_VERSION: u64 = u64::MAX;

const CERTIFICATE: &str = "node certificate";
const ROOT: &str = "root certificate";
const KEY: &str = "private key";
const LOCKED_KEY: &str = "locked private key, base64";
const LOCK_VERSION: &str = "version of the unlock key";
/// The lock is younger than the key: until it came the key lay there for everybody to read, and is to be replaced.
const EXPOSED: &str = "the private key was here unlocked";
const DATA_KEY: &str = "wrapped data key, base64";
const LOCAL_KEY: &str = "wrapped local key, base64";
const PREVIOUS_DATA_KEY: &str = "wrapped data key of before, base64";

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
    #[error("{} is damaged: its version of the unlock key is not a number", path.display())]
    LockVersion { path: PathBuf },
    #[error("{} does not hold a data key", path.display())]
    DataKey {
        path: PathBuf,
        #[source]
        source: DataKeyError,
    },
}

/// What the file holds, opened.
#[derive(Clone, Debug)]
pub struct StoredIdentity {
    pub identity: NodeIdentity,
    /// What the node seals its own notes with; made with the identity, and kept over every certificate.
    pub local_key: DataKey,
    /// Of a manager.
    pub data_keys: Option<DataKeys>,
    pub lock: Lock,
    /// Locked, with a key that has lain on this disk unlocked before.
    pub exposed: bool,
}

/// What the file is locked with, if it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    pub key: Option<UnlockKey>,
    /// Counts with the cluster's changes of the key; kept while there is none, so that an old one does not come back.
    pub version: u64,
}

impl Lock {
    /// What managers are to lock with.
    pub fn wanted(at_rest: &AtRest) -> Result<Self, InvalidUnlockKey> {
        let key = at_rest.unlock_key.as_ref().map(|key| UnlockKey::parse(key.reveal())).transpose()?;
        Ok(Self { key, version: at_rest.unlock_key_version })
    }
}

/// What is found in the file.
#[derive(Clone, Debug)]
pub enum Stored {
    Open(StoredIdentity),
    Locked(LockedIdentity),
}

/// A manager's file, whose unlock key only people have. Public is what its certificate says.
#[derive(Clone, Debug)]
pub struct LockedIdentity {
    pub node: NodeId,
    pub role: Role,
    path: PathBuf,
    certificate_pem: String,
    root_pem: String,
    key: LockedKey,
    local_key: WrappedDataKey,
    data_key: Option<WrappedDataKey>,
    previous: Option<WrappedDataKey>,
    exposed: bool,
}

impl StoredIdentity {
    /// Of a node that has no part in the managers' data.
    pub fn bare(identity: NodeIdentity) -> Self {
        let local_key = DataKey::generate(&mut SystemRandom);
        Self { identity, local_key, data_keys: None, lock: Lock::default(), exposed: false }
    }

    /// Drops what makes a manager. The lock stays with who is one again by now: its key is never to lie there unlocked.
    pub fn forget_manager(&mut self) {
        self.data_keys = None;
        if self.identity.role != Role::Manager {
            (self.lock, self.exposed) = (Lock::default(), false);
        }
    }

    /// Takes up a lock, unless there is one as new.
    pub fn lock_with(&mut self, lock: Lock) {
        if lock.version > self.lock.version {
            self.exposed = lock.key.is_some() && (self.exposed || self.lock.key.is_none());
            self.lock = lock;
        }
    }

    /// Takes up the next certificate, and the lock that came with it. A new key lies on the disk as that wants it from
    /// the first moment.
    pub fn renew(&mut self, identity: NodeIdentity, lock: Option<Lock>) {
        let is_new = identity.key().public_key() != self.identity.key().public_key();
        self.identity = identity;
        if let Some(lock) = lock {
            self.lock_with(lock);
        }
        self.exposed &= !is_new;
    }
}

/// Replaces the file in one step. A worker's is never locked and holds no data key, whatever it had before.
pub fn save(path: &Path, stored: &StoredIdentity) -> Result<(), IdentityFileError> {
    let StoredIdentity { identity, local_key, data_keys, lock, exposed } = stored;
    let is_manager = identity.role == Role::Manager;
    let unlock_key = lock.key.as_ref().filter(|_| is_manager);
    let key = match unlock_key {
        None => (KEY, identity.key().to_pem()),
        Some(unlock_key) => {
            let locked = LockedKey::lock(identity.key(), unlock_key, lock.version, &mut SystemRandom);
            (LOCKED_KEY, Sensitive::new(BASE64.encode(locked.as_bytes())))
        }
    };
    // Sized beforehand: a text that grows would leave pieces of the key behind in memory.
    let size = identity.certificate_pem().len() + identity.root_pem().len() + key.1.reveal().len() + 1024;
    let mut content = Zeroizing::new(String::with_capacity(size));
    let mut add = |name: &str, text: &str| {
        writeln!(content, "# {name}\n{}", text.trim_end_matches('\n')).expect("text takes every write");
    };
    add(CERTIFICATE, identity.certificate_pem());
    add(ROOT, identity.root_pem());
    add(key.0, key.1.reveal());
    let local = local_key.wrap(LOCAL_VERSION, identity.key(), unlock_key, &mut SystemRandom);
    add(LOCAL_KEY, &BASE64.encode(local.as_bytes()));
    if is_manager {
        add(LOCK_VERSION, &lock.version.to_string());
    }
    if unlock_key.is_some() && *exposed {
        add(EXPOSED, "yes");
    }
    if let Some(keys) = data_keys.as_ref().filter(|_| is_manager) {
        let wrapped = |key: &super::DataKey| {
            let wrapped = key.wrap(keys.version, identity.key(), unlock_key, &mut SystemRandom);
            BASE64.encode(wrapped.as_bytes())
        };
        add(DATA_KEY, &wrapped(&keys.current));
        if let Some(previous) = &keys.previous {
            add(PREVIOUS_DATA_KEY, &wrapped(previous));
        }
    }
    Ok(disk::save(path, KIND, FORMAT, content.as_bytes())?)
}

/// Reads and checks the file; none where there is no file.
pub fn load(path: &Path) -> Result<Option<Stored>, IdentityFileError> {
    let Some((format, content)) = disk::load(path, KIND)? else { return Ok(None) };
    let content = Zeroizing::new(content);
    if format != FORMAT {
        return Err(IdentityFileError::Format { path: path.into(), format });
    }
    let text = std::str::from_utf8(&content).unwrap_or_default();
    let need =
        |name| section(text, name).ok_or(IdentityFileError::Missing { path: path.into(), section: name });
    let identity = |source| IdentityFileError::Identity { path: path.into(), source };
    let decoded = |text: &str| BASE64.decode(text.trim()).map_err(|_| DataKeyError::Format);
    let data_key = |source| IdentityFileError::DataKey { path: path.into(), source };
    let wrapped = |name| {
        let read = |text| WrappedDataKey::from_bytes(&decoded(text)?);
        section(text, name).map(read).transpose().map_err(data_key)
    };
    let (current, previous) = (wrapped(DATA_KEY)?, wrapped(PREVIOUS_DATA_KEY)?);
    let need_wrapped =
        |name| wrapped(name)?.ok_or_else(|| IdentityFileError::Missing { path: path.into(), section: name });
    if let Some(locked) = section(text, LOCKED_KEY) {
        let certificate_pem = need(CERTIFICATE)?;
        let facts = certificates_from_pem(certificate_pem)
            .and_then(|chain| NodeCertificate::from_der(&chain[0]))
            .map_err(|error| identity(IdentityError::Certificate(error)))?;
        let key = decoded(locked).and_then(|bytes| LockedKey::from_bytes(&bytes)).map_err(data_key)?;
        return Ok(Some(Stored::Locked(LockedIdentity {
            node: facts.node,
            role: facts.role,
            path: path.into(),
            certificate_pem: certificate_pem.into(),
            root_pem: need(ROOT)?.into(),
            key,
            local_key: need_wrapped(LOCAL_KEY)?,
            data_key: current,
            previous,
            exposed: section(text, EXPOSED).is_some(),
        })));
    }
    let key = NodeKey::from_pem(need(KEY)?).map_err(|error| identity(error.into()))?;
    let version = match section(text, LOCK_VERSION) {
        None => 0,
        Some(version) => {
            version.trim().parse().map_err(|_| IdentityFileError::LockVersion { path: path.into() })?
        }
    };
    // First what fits together, so that a foreign key is called that.
    let whole = NodeIdentity::new(need(CERTIFICATE)?, key.clone(), need(ROOT)?).map_err(identity)?;
    Ok(Some(Stored::Open(StoredIdentity {
        identity: whole,
        local_key: open_local_key(&need_wrapped(LOCAL_KEY)?, &key, None).map_err(data_key)?,
        data_keys: open_data_keys(current, previous, &key, None).map_err(data_key)?,
        lock: Lock { key: None, version },
        exposed: false,
    })))
}

impl LockedIdentity {
    /// Opens all of it. `DataKeyError::WrongKey` says that it is another unlock key's.
    pub fn unlock(&self, unlock_key: &UnlockKey) -> Result<StoredIdentity, IdentityFileError> {
        let data_key = |source| IdentityFileError::DataKey { path: self.path.clone(), source };
        let identity = |source| IdentityFileError::Identity { path: self.path.clone(), source };
        let key = self.key.unlock(unlock_key).map_err(data_key)?;
        // From here on the unlock key is the right one, and what does not open is damaged.
        let damaged = |error| match error {
            DataKeyError::WrongKey => data_key(DataKeyError::Format),
            other => data_key(other),
        };
        let whole = NodeIdentity::new(&self.certificate_pem, key.clone(), &self.root_pem);
        let keys = open_data_keys(self.data_key.clone(), self.previous.clone(), &key, Some(unlock_key));
        Ok(StoredIdentity {
            identity: whole.map_err(identity)?,
            local_key: open_local_key(&self.local_key, &key, Some(unlock_key)).map_err(damaged)?,
            data_keys: keys.map_err(damaged)?,
            lock: Lock { key: Some(unlock_key.clone()), version: self.key.version() },
            exposed: self.exposed,
        })
    }
}

impl IdentityFileError {
    /// Whether the unlock key that was given is not the one that the file was locked with.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self, Self::DataKey { source: DataKeyError::WrongKey, .. })
    }
}

/// A data key does not pass for the local key, nor the other way round.
fn open_local_key(
    wrapped: &WrappedDataKey,
    key: &NodeKey,
    unlock_key: Option<&UnlockKey>,
) -> Result<DataKey, DataKeyError> {
    match wrapped.version() {
        LOCAL_VERSION => wrapped.unwrap(key, unlock_key),
        _ => Err(DataKeyError::Format),
    }
}

fn open_data_keys(
    current: Option<WrappedDataKey>,
    previous: Option<WrappedDataKey>,
    key: &NodeKey,
    unlock_key: Option<&UnlockKey>,
) -> Result<Option<DataKeys>, DataKeyError> {
    let Some(wrapped) = current else { return Ok(None) };
    let previous = previous.map(|previous| previous.unwrap(key, unlock_key)).transpose()?;
    let current = wrapped.unwrap(key, unlock_key)?;
    Ok(Some(DataKeys { current, version: wrapped.version(), previous }))
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
    use crate::identity::RootAuthority;
    use crate::identity::node::tests::issue;
    use crate::time::{Clock, SystemClock};

    fn opened(path: &Path) -> StoredIdentity {
        match load(path).unwrap().unwrap() {
            Stored::Open(stored) => stored,
            Stored::Locked(_) => panic!("it is locked"),
        }
    }

    fn keys(previous: bool) -> DataKeys {
        let key = || DataKey::generate(&mut SystemRandom);
        DataKeys { current: key(), version: 4, previous: previous.then(key) }
    }

    fn assert_same(found: &StoredIdentity, stored: &StoredIdentity) {
        assert_eq!(found.identity.node, stored.identity.node);
        assert_eq!(found.identity.certificate_pem(), stored.identity.certificate_pem());
        assert_eq!(found.identity.root_pem(), stored.identity.root_pem());
        assert_eq!((&found.lock, found.exposed), (&stored.lock, stored.exposed));
        assert_eq!(found.local_key.reveal(), stored.local_key.reveal());
        let bytes = |stored: &StoredIdentity| {
            let keys = stored.data_keys.as_ref()?;
            let previous = keys.previous.as_ref().map(|key| *key.reveal());
            Some((*keys.current.reveal(), keys.version, previous))
        };
        assert_eq!(bytes(found), bytes(stored));
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        assert!(load(&path).unwrap().is_none());
        let root = RootAuthority::generate(SystemClock.now()).unwrap();
        let identity = issue(&root, 1, 2, Role::Manager);
        for data_keys in [None, Some(keys(false)), Some(keys(true))] {
            let lock = Lock { key: None, version: 3 };
            let stored = StoredIdentity { data_keys, lock, ..StoredIdentity::bare(identity.clone()) };
            save(&path, &stored).unwrap();
            assert_same(&opened(&path), &stored);
        }
    }

    #[test]
    fn a_locked_file_opens_with_its_unlock_key_and_shows_nothing_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let root = RootAuthority::generate(SystemClock.now()).unwrap();
        let [people, others] = [(); 2].map(|()| UnlockKey::generate(&mut SystemRandom));
        let stored = StoredIdentity {
            data_keys: Some(keys(true)),
            lock: Lock { key: Some(people.clone()), version: 9 },
            ..StoredIdentity::bare(issue(&root, 1, 2, Role::Manager))
        };
        save(&path, &stored).unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains("PRIVATE KEY"), "{text}");
        let Some(Stored::Locked(locked)) = load(&path).unwrap() else { panic!("it is not locked") };
        assert_eq!((locked.node, locked.role), (stored.identity.node, Role::Manager));
        assert!(locked.unlock(&others).unwrap_err().is_wrong_key());
        assert_same(&locked.unlock(&people).unwrap(), &stored);
    }

    #[test]
    fn a_key_that_was_there_before_its_lock_is_remembered_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let root = RootAuthority::generate(SystemClock.now()).unwrap();
        let key = UnlockKey::generate(&mut SystemRandom);
        let lock = |version| Lock { key: Some(key.clone()), version };
        let next = |role| issue(&root, 1, 2, role);
        let mut stored = StoredIdentity::bare(next(Role::Manager));
        stored.lock_with(lock(1));
        assert!(stored.exposed);
        stored.lock_with(lock(2));
        assert!(stored.exposed, "another lock does not make it a secret again");
        save(&path, &stored).unwrap();
        let Some(Stored::Locked(locked)) = load(&path).unwrap() else { panic!("it is not locked") };
        assert_same(&locked.unlock(&key).unwrap(), &stored);
        stored.renew(stored.identity.clone(), None);
        assert!(stored.exposed, "it is the same key");
        stored.renew(next(Role::Manager), Some(lock(1)));
        assert!(!stored.exposed && stored.lock.version == 2, "a new key, and no older lock");
        stored.lock_with(Lock { key: None, version: 3 });
        assert!(!stored.exposed && stored.lock.key.is_none());
        stored.lock_with(lock(4));
        assert!(stored.exposed, "unlocked in between");

        // A worker that becomes a manager has its lock with its first key as one, and as long as it is one.
        let mut stored = StoredIdentity::bare(next(Role::Worker));
        stored.renew(next(Role::Manager), Some(lock(4)));
        assert!(!stored.exposed && stored.lock == lock(4));
        stored.forget_manager();
        assert!(stored.lock == lock(4), "it is a manager again, under another raft id");
        stored.renew(next(Role::Worker), None);
        stored.forget_manager();
        assert!(stored.lock == Lock::default());
    }

    #[test]
    fn a_worker_s_file_is_never_locked_and_has_no_data_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let root = RootAuthority::generate(SystemClock.now()).unwrap();
        let lock = Lock { key: Some(UnlockKey::generate(&mut SystemRandom)), version: 9 };
        let identity = issue(&root, 1, 2, Role::Worker);
        let stored = StoredIdentity { data_keys: Some(keys(true)), lock, ..StoredIdentity::bare(identity) };
        save(&path, &stored).unwrap();
        let found = opened(&path);
        assert!(found.data_keys.is_none() && found.lock == Lock::default());
    }

    #[test]
    fn every_error_names_the_file_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.pem");
        let root = RootAuthority::generate(SystemClock.now()).unwrap();
        let (identity, other) = (issue(&root, 1, 2, Role::Manager), issue(&root, 1, 3, Role::Manager));
        let mut stored = StoredIdentity::bare(identity);
        save(&path, &stored).unwrap();
        let (_, whole) = disk::load(&path, KIND).unwrap().unwrap();
        let whole = String::from_utf8(whole).unwrap();
        let other_key = whole.replace(section(&whole, KEY).unwrap(), other.key().to_pem().reveal());
        stored.lock.key = Some(UnlockKey::generate(&mut SystemRandom));
        save(&path, &stored).unwrap();
        let (_, locked) = disk::load(&path, KIND).unwrap().unwrap();
        let locked = String::from_utf8(locked).unwrap();
        #[rustfmt::skip]
        let cases = [ // format, content, what the error says
            (2, whole.clone(), "is of format 2"),
            (1, String::new(), "has no 'private key'"),
            (1, whole.replace("# root certificate", "# something"), "has no 'root certificate'"),
            (1, other_key, "is for another key"),
            (1, whole.replace("unlock key\n0", "unlock key\nnone"), "is not a number"),
            (1, format!("{whole}# {DATA_KEY}\nnonsense\n"), "does not hold a data key"),
            (1, locked.replace(section(&locked, LOCKED_KEY).unwrap(), "nonsense\n"), "does not hold a data key"),
            (1, locked.replace("# root certificate", "# something"), "has no 'root certificate'"),
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
