//! Where the daemon's socket and state are; daemon and client agree because both ask here.
//!
//! root: `/run/swarm/swarm.sock` and `/var/lib/swarm`. Others: the XDG runtime and state folders.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of a daemon's API, as `--host` and `SWARM_HOST` say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    socket: PathBuf,
}

impl Host {
    pub fn from_socket(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket of this user's daemon.
    pub fn default_for_this_user() -> Self {
        Self::from_socket(User::of_this_process().socket())
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.socket.display())
    }
}

/// Why a `--host` was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the daemon's address has the form unix:///path/to/socket")]
    NotUnix,
    #[error("the path of the socket must be absolute")]
    NotAbsolute,
    #[error("the path of a socket is at most {SOCKET_PATH_BYTES_MAX} bytes long")]
    TooLong,
}

/// What the kernel takes, without the closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let path = match text.split_once("://") {
            Some(("unix", path)) => path,
            Some(_) => return Err(HostError::NotUnix),
            None if text.starts_with('/') => text,
            None => return Err(HostError::NotUnix),
        };
        match path {
            path if !path.starts_with('/') => Err(HostError::NotAbsolute),
            path if path.len() > SOCKET_PATH_BYTES_MAX => Err(HostError::TooLong),
            path => Ok(Self { socket: path.into() }),
        }
    }
}

/// The folder for this user's daemon to keep its state in, unless told otherwise.
pub fn default_state_dir() -> PathBuf {
    User::of_this_process().state_dir()
}

/// Where the daemon with that state folder has its tasks' secrets and configs, unless told otherwise: in the runtime
/// folder, which most systems keep in memory.
pub fn secrets_dir(state_dir: &Path) -> PathBuf {
    let user = User::of_this_process();
    user.secrets_dir(state_dir)
}

/// Makes `dir` for this user alone, or checks that what is there belongs to this user and no one else may write.
///
/// Above all for the fallback in `/tmp`, where anybody could have put a folder of that name first.
pub fn ensure_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    check_private_dir(dir)
}

/// Refuses a folder that another user owns or may write into.
pub fn check_private_dir(dir: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(dir)?;
    let refused = |why: &str| Err(io::Error::other(format!("folder {} {why}", dir.display())));
    if !metadata.is_dir() {
        return refused("is not a folder");
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return refused("belongs to another user");
    }
    if metadata.mode() & 0o002 != 0 {
        return refused("can be written by everybody");
    }
    Ok(())
}

/// Refuses the fallback socket below `/tmp` when its folder is not ours: a client sends tokens there.
pub fn check_fallback(socket: &Path) -> io::Result<()> {
    let fallback = User { id: nix::unistd::geteuid().as_raw(), ..User::default() }.socket();
    match socket.parent() {
        Some(folder) if socket == fallback && folder.starts_with("/tmp") && folder.exists() => {
            check_private_dir(folder)
        }
        _ => Ok(()),
    }
}

/// Of the name of a folder; a name of as many bytes is what file systems take.
const SECRETS_NAME_CHARS_MAX: usize = 60;

/// What the paths depend on.
#[derive(Clone, Debug, Default)]
struct User {
    id: u32,
    runtime_dir: Option<PathBuf>,
    state_home: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl User {
    fn of_this_process() -> Self {
        Self {
            id: nix::unistd::geteuid().as_raw(),
            runtime_dir: absolute(std::env::var_os("XDG_RUNTIME_DIR")),
            state_home: absolute(std::env::var_os("XDG_STATE_HOME")),
            home: absolute(std::env::var_os("HOME")),
        }
    }

    fn socket(&self) -> PathBuf {
        match &self.runtime_dir {
            _ if self.id == 0 => "/run/swarm/swarm.sock".into(),
            Some(dir) => dir.join("swarm/swarm.sock"),
            None => format!("/tmp/swarm-{}/swarm.sock", self.id).into(),
        }
    }

    /// Daemons beside the usual one have folders named for their state.
    fn secrets_dir(&self, state_dir: &Path) -> PathBuf {
        let name = if state_dir == self.state_dir() {
            "tasks".into()
        } else {
            let path = state_dir.to_string_lossy().replace('%', "%25").replace('/', "%2F");
            let end = path.char_indices().rev().nth(SECRETS_NAME_CHARS_MAX).map_or(0, |(at, _)| at);
            format!("tasks-{}", &path[end..])
        };
        self.socket().with_file_name(name)
    }

    fn state_dir(&self) -> PathBuf {
        match (&self.state_home, &self.home) {
            _ if self.id == 0 => "/var/lib/swarm".into(),
            (Some(dir), _) => dir.join("swarm"),
            (None, Some(home)) => home.join(".local/state/swarm"),
            (None, None) => format!("/tmp/swarm-{}/state", self.id).into(),
        }
    }
}

/// The XDG rules: a relative path counts as not set.
fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_user() {
        let user = |id, runtime_dir: &str, state_home: &str, home: &str| User {
            id,
            runtime_dir: absolute(Some(runtime_dir.into())),
            state_home: absolute(Some(state_home.into())),
            home: absolute(Some(home.into())),
        };
        #[rustfmt::skip]
        let cases = [ // user, socket, state
            (user(0, "/run/user/0", "/x", "/root"), "/run/swarm/swarm.sock", "/var/lib/swarm"),
            (user(7, "/run/user/7", "/x", "/home/a"), "/run/user/7/swarm/swarm.sock", "/x/swarm"),
            (user(7, "", "", "/home/a"), "/tmp/swarm-7/swarm.sock", "/home/a/.local/state/swarm"),
            (user(7, "relative", "relative", ""), "/tmp/swarm-7/swarm.sock", "/tmp/swarm-7/state"),
        ];
        for (user, socket, state) in cases {
            assert_eq!(user.socket(), Path::new(socket), "{user:?}");
            assert_eq!(user.state_dir(), Path::new(state), "{user:?}");
        }
        let root = user(0, "", "", "/root");
        assert_eq!(root.secrets_dir(&root.state_dir()), Path::new("/run/swarm/tasks"));
        assert_eq!(root.secrets_dir(Path::new("/x/y")), Path::new("/run/swarm/tasks-%2Fx%2Fy"));
        let long = root.secrets_dir(&Path::new("/").join("ä".repeat(300)));
        assert!(long.file_name().is_some_and(|name| name.len() < 256));
    }

    #[test]
    fn hosts_are_absolute_unix_sockets() {
        let long = format!("unix:///{}", "x".repeat(200));
        #[rustfmt::skip]
        let cases = [
            ("unix:///run/a.sock",   Ok("/run/a.sock")),
            ("/run/a.sock",          Ok("/run/a.sock")),
            ("unix://run/a.sock",    Err(HostError::NotAbsolute)),
            ("unix://",              Err(HostError::NotAbsolute)),
            ("tcp://127.0.0.1:2375", Err(HostError::NotUnix)),
            ("run/a.sock",           Err(HostError::NotUnix)),
            ("",                     Err(HostError::NotUnix)),
            (long.as_str(),          Err(HostError::TooLong)),
        ];
        for (text, expected) in cases {
            let host = text.parse::<Host>();
            assert_eq!(host.map(|host| host.socket), expected.map(PathBuf::from), "{text}");
        }
    }

    #[test]
    fn a_private_folder_is_ours_and_not_open_to_all() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("temporary folder");
        let dir = folder.path().join("a/b");
        ensure_private_dir(&dir).expect("a new folder is private");
        assert_eq!(dir.metadata().expect("made").mode() & 0o777, 0o700);

        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).expect("ours");
        assert!(check_private_dir(&dir).unwrap_err().to_string().contains("written by everybody"));

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).expect("link");
        assert!(check_private_dir(&link).unwrap_err().to_string().contains("is not a folder"));
    }
}
