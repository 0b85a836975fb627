//! How a command ends: exit codes, and which error gives which.
//!
//! Scripts branch on these numbers, so they are part of the interface: they are in `--help` and in the README.

use std::fmt;
use std::process::ExitCode;

use common::report::Report;

use crate::client::ClientError;

/// Shown below `swarm --help`.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    the service was rolled back
  3    timed out waiting
  4    not found
  5    this node is no manager, or the managers have no quorum
  6    conflict: it exists already, or has changed meanwhile
  125  wrong usage: unknown flag, bad value, bad template

Files:
  /run/swarm/swarm.sock, /var/lib/swarm                        socket and state of root's daemon
  $XDG_RUNTIME_DIR/swarm/swarm.sock, $XDG_STATE_HOME/swarm     of any other user's";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    RolledBack,
    TimedOut,
    NotFound,
    NoManager,
    Conflict,
    Usage,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::RolledBack => 2,
            Self::TimedOut => 3,
            Self::NotFound => 4,
            Self::NoManager => 5,
            Self::Conflict => 6,
            Self::Usage => 125,
        }
    }

    /// The exit code of a command that failed with `error`.
    pub fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if let Some(error) = cause.downcast_ref::<ClientError>() {
                return error.exit();
            }
            if let Some(error) = cause.downcast_ref::<Failure>() {
                return error.exit;
            }
        }
        Self::Failed
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error with the exit code it asks for.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub text: String,
}

impl Failure {
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Joins what went wrong with each of several arguments. The exit code is theirs when all agree, else 1.
pub fn join_errors(errors: Vec<anyhow::Error>) -> anyhow::Result<()> {
    let Some(first) = errors.first() else { return Ok(()) };
    let exit = Exit::of(first);
    let exit = if errors.iter().all(|error| Exit::of(error) == exit) { exit } else { Exit::Failed };
    let texts: Vec<String> = errors.iter().map(|error| Report(error.as_ref()).to_string()).collect();
    Err(Failure::new(exit, texts.join("\n")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(exit: Exit) -> anyhow::Error {
        Failure::new(exit, "text").into()
    }

    #[test]
    fn several_errors_share_an_exit_code_only_when_they_agree() {
        use Exit::{Conflict, Failed, NotFound};
        #[rustfmt::skip]
        let cases: [(&[Exit], Exit); 3] = [
            (&[NotFound],           NotFound),
            (&[NotFound, NotFound], NotFound),
            (&[NotFound, Conflict], Failed),
        ];
        for (exits, expected) in cases {
            let error = join_errors(exits.iter().map(|exit| failure(*exit)).collect()).unwrap_err();
            assert_eq!(Exit::of(&error), expected, "{exits:?}");
        }
        assert!(join_errors(Vec::new()).is_ok());
    }

    #[test]
    fn a_cause_decides_the_exit_code() {
        let error = failure(Exit::NotFound).context("read node n1");
        assert_eq!(Exit::of(&error), Exit::NotFound);
        assert_eq!(Exit::of(&anyhow::anyhow!("anything")), Exit::Failed);
    }
}
