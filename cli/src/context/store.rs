//! Contexts on disk: ours, in the layout of Docker's, and Docker's own, which are only read.
//!
//! `contexts/meta/<sha256 of the name>/meta.json` says what it is, `contexts/tls/<the same>/docker/` has ca.pem,
//! cert.pem and key.pem. Ours are in `$SWARM_CONFIG`, else `$XDG_CONFIG_HOME/swarm`, else `~/.config/swarm`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use common::identity::token::{root_digest, to_hex};
use common::limits::CONTEXT_FILE_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::DEFAULT;
use super::endpoint::TlsFiles;
use crate::exit::{Exit, Failure};

/// As Docker writes it; what it has beside this is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Meta {
    pub name: String,
    pub metadata: Description,
    pub endpoints: BTreeMap<String, EndpointMeta>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Description {
    pub description: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointMeta {
    pub host: String,
    #[serde(rename = "SkipTLSVerify")]
    pub skip_tls_verify: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    current_context: String,
}

const ENDPOINT: &str = "docker";

/// A context that is there.
#[derive(Clone, Debug)]
pub struct Found {
    pub meta: Meta,
    /// Of Docker, and not ours to change.
    pub is_dockers: bool,
    folder: PathBuf,
}

impl Found {
    pub fn host(&self) -> &str {
        self.meta.endpoints.get(ENDPOINT).map_or("", |endpoint| &endpoint.host)
    }

    pub fn tls_folder(&self) -> PathBuf {
        self.folder.join("tls").join(key(&self.meta.name)).join(ENDPOINT)
    }

    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::in_folder(&self.tls_folder())
    }

    pub fn meta_folder(&self) -> PathBuf {
        self.folder.join("meta").join(key(&self.meta.name))
    }
}

/// The certificates of a new context, as they are in the files somebody named.
#[derive(Clone, Debug, Default)]
pub struct TlsContent {
    pub ca: Option<String>,
    pub certificate: Option<String>,
    pub key: Option<String>,
}

pub struct Store {
    ours: PathBuf,
    dockers: Option<PathBuf>,
}

/// Where this user's settings of this program are.
pub fn config_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("SWARM_CONFIG")
        .or_else(|| Some(set("XDG_CONFIG_HOME")?.join("swarm")))
        .or_else(|| Some(set("HOME")?.join(".config/swarm")))
        .unwrap_or_else(|| "/etc/swarm".into())
}

impl Store {
    pub fn of_this_user() -> Self {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let dockers = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
        Self { ours: config_dir(), dockers: dockers.map(|folder| folder.join("contexts")) }
    }

    /// What `use` said; none for the default.
    pub fn current(&self) -> anyhow::Result<Option<String>> {
        let path = self.config_file();
        let Some(text) = read(&path)? else { return Ok(None) };
        let config: Config =
            serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(config.current_context).filter(|name| !name.is_empty()))
    }

    pub fn set_current(&self, name: &str) -> anyhow::Result<()> {
        if name != DEFAULT {
            self.find(name)?;
        }
        let current_context = if name == DEFAULT { String::new() } else { name.into() };
        let text = serde_json::to_string_pretty(&Config { current_context })?;
        write(&self.config_file(), &text)
    }

    /// Ours first, then Docker's.
    pub fn find(&self, name: &str) -> anyhow::Result<Found> {
        for (folder, is_dockers) in self.folders() {
            let path = folder.join("meta").join(key(name)).join("meta.json");
            if let Some(text) = read(&path)? {
                let meta = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
                return Ok(Found { meta, is_dockers, folder });
            }
        }
        Err(Failure::new(Exit::NotFound, format!("context \"{name}\" not found: see `swarm context ls`"))
            .into())
    }

    /// All that can be read, by name; what cannot is left out here and told by `find`.
    pub fn all(&self) -> Vec<Found> {
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for (folder, is_dockers) in self.folders() {
            for entry in std::fs::read_dir(folder.join("meta")).into_iter().flatten().flatten() {
                let text = read(&entry.path().join("meta.json")).ok().flatten();
                let Some(meta) = text.and_then(|text| serde_json::from_str::<Meta>(&text).ok()) else {
                    continue;
                };
                let next = Found { meta, is_dockers, folder: folder.clone() };
                found.entry(next.meta.name.clone()).or_insert(next);
            }
        }
        found.into_values().collect()
    }

    pub fn create(&self, name: &str, description: &str, host: &str, tls: &TlsContent) -> anyhow::Result<()> {
        check_name(name)?;
        let folder = self.ours.join("contexts");
        let found = Found {
            meta: Meta {
                name: name.into(),
                metadata: Description { description: description.into() },
                endpoints: [(ENDPOINT.into(), EndpointMeta { host: host.into(), skip_tls_verify: false })]
                    .into(),
            },
            is_dockers: false,
            folder,
        };
        if found.meta_folder().exists() {
            return Err(Failure::new(Exit::Conflict, format!("context \"{name}\" already exists")).into());
        }
        let files = [("ca.pem", &tls.ca), ("cert.pem", &tls.certificate), ("key.pem", &tls.key)];
        for (file, content) in files {
            if let Some(content) = content {
                write(&found.tls_folder().join(file), content)?;
            }
        }
        write(&found.meta_folder().join("meta.json"), &serde_json::to_string(&found.meta)?)
    }

    pub fn remove(&self, name: &str, force: bool) -> anyhow::Result<()> {
        if name == DEFAULT {
            return Err(Failure::usage("context \"default\" cannot be removed").into());
        }
        let found = match self.find(name) {
            Err(_) if force => return Ok(()),
            found => found?,
        };
        if found.is_dockers {
            let text = format!("context \"{name}\" is Docker's: remove it with `docker context rm {name}`");
            return Err(Failure::usage(text).into());
        }
        if self.current()?.as_deref() == Some(name) {
            if !force {
                let text =
                    format!("context \"{name}\" is in use: use another one first, or remove it with --force");
                return Err(Failure::new(Exit::Conflict, text).into());
            }
            self.set_current(DEFAULT)?;
        }
        let tls = found.tls_folder();
        for folder in [tls.parent().unwrap_or(&tls), &found.meta_folder()] {
            match std::fs::remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", folder.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn config_file(&self) -> PathBuf {
        self.ours.join("config.json")
    }

    fn folders(&self) -> Vec<(PathBuf, bool)> {
        let ours = (self.ours.join("contexts"), false);
        std::iter::once(ours).chain(self.dockers.clone().map(|folder| (folder, true))).collect()
    }
}

/// The folder of a context, as Docker names it.
fn key(name: &str) -> String {
    to_hex(&root_digest(name))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    let good = name.bytes().next().is_some_and(letter)
        && name.len() > 1
        && name.bytes().all(|byte| letter(byte) || b"_.+-".contains(&byte));
    if name == DEFAULT {
        return Err(Failure::usage("\"default\" is the name of the context that is always there").into());
    }
    if !good {
        let text = format!(
            "context name \"{name}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        );
        return Err(Failure::usage(text).into());
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > CONTEXT_FILE_BYTES_MAX => {
            anyhow::bail!("{} is larger than {CONTEXT_FILE_BYTES_MAX} bytes", path.display())
        }
        Ok(_) => std::fs::read_to_string(path).map(Some).with_context(|| format!("read {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Writes a file for this user alone, whole or not at all.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let next = path.with_extension("new");
    let write = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path) -> Store {
        Store { ours: folder.join("swarm"), dockers: Some(folder.join("docker/contexts")) }
    }

    fn content() -> TlsContent {
        TlsContent { ca: Some("CA".into()), certificate: Some("CERT".into()), key: Some("KEY".into()) }
    }

    #[test]
    fn a_context_is_made_used_and_removed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        store.create("prod", "the real one", "tcp://m1:2376", &content()).expect("made");
        let found = store.find("prod").expect("there");
        assert_eq!((found.host(), found.is_dockers), ("tcp://m1:2376", false));
        let key = found.tls_folder().join("key.pem");
        assert_eq!(std::fs::read_to_string(&key).expect("there"), "KEY");
        assert_eq!(key.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(store.current().expect("read"), None);
        store.set_current("prod").expect("used");
        assert_eq!(store.current().expect("read").as_deref(), Some("prod"));
        assert!(store.create("prod", "", "tcp://m2", &content()).is_err(), "there is one");
        assert!(store.remove("prod", false).is_err(), "it is in use");
        store.remove("prod", true).expect("removed");
        assert!(store.find("prod").is_err() && !key.exists() && store.current().expect("read").is_none());
        assert!(store.set_current("prod").is_err());
        for wrong in ["", "x", "-x", "a b", "a/b", "default"] {
            assert!(store.create(wrong, "", "tcp://m1", &content()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn docker_s_are_read_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        // As docker writes it; the name of the folder is the digest of `lab-1`.
        let key = "meta/".to_owned() + &key("lab-1");
        assert_eq!(super::key("default"), "37a8eec1ce19687d132fe29051dca629d164e2c4958ba141d5f4133a33f0688f");
        let meta = r#"{"Name":"lab-1","Metadata":{"Description":"d","otel":1},"Endpoints":{"docker":{"Host":"tcp://m9:2376","SkipTLSVerify":false}}}"#;
        write(&folder.path().join("docker/contexts").join(key).join("meta.json"), meta).expect("written");
        let found = store.find("lab-1").expect("there");
        assert_eq!((found.host(), found.is_dockers), ("tcp://m9:2376", true));
        assert!(found.tls_folder().starts_with(folder.path().join("docker/contexts/tls")));
        assert!(store.remove("lab-1", true).is_err());
        store.create("lab-1", "", "tcp://m1:2376", &content()).expect("ours may have the name too");
        assert_eq!(store.find("lab-1").expect("there").host(), "tcp://m1:2376");
        assert_eq!(store.all().len(), 1);
    }
}
