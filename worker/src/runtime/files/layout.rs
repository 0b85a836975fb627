//! Where a task's secrets and configs lie on the node, and where the task sees them.
//!
//! Pure. A secret's target is taken from `/run/secrets`, a config's from `/`; absolute ones are honoured. On the node
//! they lie in the task's folder, where nothing a target says leads out of:
//!
//! ```text
//! <task>/secrets/<target>    seen at /run/secrets/<target>
//!        configs/<target>    seen at /<target>
//!        at/<folder>/<name>  seen at /<folder>/<name>
//! ```
//!
//! A file that refreshes in place is replaced by another one, so that nobody ever reads half of either. A mount of the
//! file alone would keep showing the old one, so its whole folder is mounted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::limits::{FILE_NAME_BYTES_MAX, FILE_TARGET_BYTES_MAX};
use common::object::PayloadKind;

use super::super::TaskFile;

/// Where containers find secrets.
const SECRETS: &str = "/run/secrets";

/// Folders that a task needs as they are: another one in their place would break it.
const NOT_REPLACED: [&str; 16] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin",
    "/sys", "/tmp", "/usr", "/var",
];

/// From where a target is taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    Secrets,
    Configs,
    /// An absolute folder, without its first `/`.
    At(String),
}

/// The place of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot<'a> {
    pub file: &'a TaskFile,
    pub home: Home,
    /// Below its home.
    pub path: String,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMount {
    /// Below the task's folder.
    pub source: PathBuf,
    pub target: String,
}

impl Home {
    /// Its folder in the task's.
    pub fn folder(&self) -> PathBuf {
        match self {
            Home::Secrets => "secrets".into(),
            Home::Configs => "configs".into(),
            Home::At(folder) => Path::new("at").join(folder),
        }
    }

    /// The folder as a container sees it.
    fn seen(&self) -> String {
        match self {
            Home::Secrets => SECRETS.into(),
            Home::Configs => "/".into(),
            Home::At(folder) => format!("/{folder}"),
        }
    }
}

impl Spot<'_> {
    /// Below the task's folder.
    pub fn source(&self) -> PathBuf {
        self.home.folder().join(&self.path)
    }
}

/// The places of all files of a task; the error names the file that can have none.
pub fn spots(files: &[TaskFile]) -> Result<Vec<Spot<'_>>, String> {
    let spots = files.iter().map(spot).collect::<Result<Vec<_>, _>>()?;
    let mut taken: BTreeMap<PathBuf, &Spot> = BTreeMap::new();
    for spot in &spots {
        if let Some(other) = taken.insert(spot.source(), spot) {
            return Err(conflict(spot, other));
        }
    }
    for spot in &spots {
        let source = spot.source();
        if let Some(other) = source.ancestors().skip(1).find_map(|above| taken.get(above)) {
            return Err(conflict(spot, other));
        }
    }
    Ok(spots)
}

/// What a container has to have mounted so that it sees them all.
pub fn mounts(files: &[TaskFile]) -> Result<Vec<FileMount>, String> {
    let mut homes: BTreeMap<Home, Vec<Spot>> = BTreeMap::new();
    for spot in spots(files)? {
        homes.entry(spot.home.clone()).or_default().push(spot);
    }
    let mut mounts = Vec::new();
    for (home, spots) in homes {
        let seen = home.seen();
        if let Some(refreshed) = spots.iter().find(|spot| spot.file.refresh.is_some()) {
            if seen == "/" || NOT_REPLACED.contains(&seen.as_str()) {
                let what = what(refreshed.file);
                return Err(format!(
                    "{what} refreshes in place, and so needs a folder of its own instead of {seen}: give it a target \
                     such as /etc/{name}/{name}",
                    name = refreshed.file.name
                ));
            }
            mounts.push(FileMount { source: home.folder(), target: seen });
        } else {
            let above = seen.trim_end_matches('/');
            let mount =
                |spot: &Spot| FileMount { source: spot.source(), target: format!("{above}/{}", spot.path) };
            mounts.extend(spots.iter().map(mount));
        }
    }
    Ok(mounts)
}

/// `secret key`, for messages.
pub fn what(file: &TaskFile) -> String {
    format!("{} {}", file.kind, file.name)
}

fn conflict(one: &Spot, other: &Spot) -> String {
    format!("{} and {} have a conflicting target: '{}'", what(one.file), what(other.file), one.file.target)
}

fn spot(file: &TaskFile) -> Result<Spot<'_>, String> {
    let target = &file.target;
    let invalid =
        |why: &str| format!("{} has the target '{}', which {why}", what(file), target.escape_debug());
    if target.len() > FILE_TARGET_BYTES_MAX {
        return Err(invalid("is too long"));
    }
    let names: Vec<&str> = target.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let Some((name, folders)) = names.split_last() else { return Err(invalid("names no file")) };
    if target.ends_with('/') {
        return Err(invalid("names a folder"));
    }
    if names.contains(&"..") {
        return Err(invalid("leads out of its folder"));
    }
    if names.iter().any(|name| name.len() > FILE_NAME_BYTES_MAX || name.contains('\0')) {
        return Err(invalid("is no name of a file"));
    }
    let relative = |home, path: &[&str]| Spot { file, home, path: path.join("/") };
    let secrets: Vec<&str> = SECRETS.split('/').skip(1).collect();
    Ok(match (file.kind, target.starts_with('/')) {
        (PayloadKind::Secret, false) => relative(Home::Secrets, &names),
        (PayloadKind::Config, false) => relative(Home::Configs, &names),
        // However it is said, it is one place.
        (_, true) if names.len() > secrets.len() && names.starts_with(&secrets) => {
            relative(Home::Secrets, &names[secrets.len()..])
        }
        (_, true) if folders.is_empty() => relative(Home::Configs, &names),
        (_, true) => relative(Home::At(folders.join("/")), &[name]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::sensitive::SensitiveBytes;
    use proptest::prelude::*;

    fn file(kind: PayloadKind, target: &str, refresh: bool) -> TaskFile {
        TaskFile {
            kind,
            name: "key".into(),
            target: target.into(),
            uid: 0,
            gid: 0,
            mode: 0o444,
            refresh: refresh.then(String::new),
            data: SensitiveBytes::new(Vec::new()),
        }
    }

    #[test]
    fn targets_have_places() {
        use PayloadKind::{Config, Secret};
        #[rustfmt::skip]
        let cases = [ // kind, target, where it lies, where it is seen
            (Secret, "key",              "secrets/key",    "/run/secrets/key"),
            (Secret, "a/./b",            "secrets/a/b",    "/run/secrets/a/b"),
            (Secret, "/run/secrets/key", "secrets/key",    "/run/secrets/key"),
            (Secret, "/etc/app/key",     "at/etc/app/key", "/etc/app/key"),
            (Secret, "/key",             "configs/key",    "/key"),
            (Config, "app.conf",         "configs/app.conf", "/app.conf"),
            (Config, "/app.conf",        "configs/app.conf", "/app.conf"),
            (Config, "etc/app.conf",     "configs/etc/app.conf", "/etc/app.conf"),
            (Config, "/etc//app/a.conf", "at/etc/app/a.conf", "/etc/app/a.conf"),
        ];
        for (kind, target, source, seen) in cases {
            let files = [file(kind, target, false)];
            let mount = FileMount { source: source.into(), target: seen.into() };
            assert_eq!(mounts(&files), Ok(vec![mount]), "{target}");
        }
    }

    #[test]
    fn a_folder_is_mounted_where_a_file_in_it_is_replaced() {
        use PayloadKind::{Config, Secret};
        let files = [file(Secret, "a", false), file(Secret, "b", true), file(Config, "/etc/app/c", true)];
        let mount = |source: &str, target: &str| FileMount { source: source.into(), target: target.into() };
        let expected = vec![mount("secrets", "/run/secrets"), mount("at/etc/app", "/etc/app")];
        assert_eq!(mounts(&files), Ok(expected));
        for target in ["c", "/c", "/etc/c"] {
            let error = mounts(&[file(Config, target, true)]).unwrap_err();
            assert!(error.contains("give it a target such as /etc/key/key"), "{error}");
        }
    }

    #[test]
    fn what_leads_elsewhere_or_meets_another_is_refused() {
        let secret = |target: &str| file(PayloadKind::Secret, target, false);
        let (long, name) = ("a/".repeat(600), "a".repeat(300));
        for target in ["", "/", ".", "a/", "../a", "a/../../b", "/run/secrets/../../a", "a\0b", &long, &name]
        {
            assert!(spots(&[secret(target)]).is_err(), "{target:?}");
        }
        for (one, other) in [("a", "/run/secrets/a"), ("a", "a/b"), ("/c/d", "/c/d/e")] {
            let error = spots(&[secret(one), secret(other)]).unwrap_err();
            assert!(error.contains("conflicting target"), "{error}");
        }
        assert!(spots(&[secret("a"), secret("ab/c")]).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_lies_outside(target in "[a./]{0,12}", config: bool) {
            let kind = if config { PayloadKind::Config } else { PayloadKind::Secret };
            if let Ok(spots) = spots(&[file(kind, &target, false)]) {
                let source = spots[0].source();
                let plain = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(source.components().count() > 1 && source.components().all(plain), "{:?}", source);
            }
        }
    }
}
