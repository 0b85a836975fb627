//! Command lines and what they print, as tables that read like a session in a shell.
//!
//! A row is a line, the exit code it gives, and a pattern of what it prints: standard output, then standard error.
//! In a pattern `*` stands for anything, line ends too, and any run of spaces for one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;

use crate::cluster::{Cluster, options};
use crate::docker::{Docker, Output};
use crate::node::Node;
use crate::services::{IMAGE, LABEL, Runtime};
use crate::wait::wait_until;
use crate::{binary, run};

/// No line of a table waits for more than a handful of tasks.
const LINE_DEADLINE: Duration = Duration::from_secs(90);

pub struct Row {
    line: &'static str,
    code: i32,
    says: &'static str,
    deadline: Option<Duration>,
}

/// A line that says this the first time.
pub fn row(line: &'static str, code: i32, says: &'static str) -> Row {
    Row { line, code, says, deadline: None }
}

/// A line that says this before long: what it shows is still on its way.
pub fn soon(line: &'static str, code: i32, says: &'static str) -> Row {
    Row { line, code, says, deadline: Some(LINE_DEADLINE) }
}

/// Runs lines that begin with `docker`, `swarm` (both against one node) or `sh`.
#[derive(Clone)]
pub struct Shell {
    docker: Docker,
    host: String,
    words: Vec<(String, String)>,
}

impl Shell {
    pub fn new(docker: Docker, socket: &Path) -> Self {
        Self { docker, host: format!("unix://{}", socket.display()), words: Vec::new() }
    }

    /// From here on `$name` in lines and patterns is this text.
    pub fn set(&mut self, name: &str, text: &str) {
        self.words.push((format!("${name}"), text.into()));
    }

    /// Panics at the first row that is not as written, with what was seen instead.
    pub async fn table(&self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            if let Err(error) = self.check(&row).await {
                panic!("$ {}\n{error:#}", self.filled(row.line));
            }
        }
    }

    async fn check(&self, row: &Row) -> anyhow::Result<()> {
        let look = async || {
            let output = self.run(row.line).await.map_err(|error| format!("{error:#}"))?;
            let said = tidied(&format!("{}\n{}", output.stdout, output.stderr));
            let pattern = tidied(&self.filled(row.says));
            if output.code == Some(row.code) && matches(&pattern, &said) {
                return Ok(());
            }
            Err(format!("wanted: exit {}\n{pattern}\nseen: exit {:?}\n{said}", row.code, output.code))
        };
        match row.deadline {
            None => look().await.map_err(anyhow::Error::msg),
            Some(deadline) => wait_until(row.line, deadline, look).await,
        }
    }

    /// Runs a line, however it ends.
    pub async fn run(&self, line: &str) -> anyhow::Result<Output> {
        let line = self.filled(line);
        let (program, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let arguments = match program {
            "sh" => vec!["-c".into(), rest.into()],
            _ => words(rest),
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let command = match program {
            "docker" => self.docker.command(&arguments),
            "swarm" => {
                let mut command = std::process::Command::new(binary::swarm());
                command.args(["--host", &self.host]).args(arguments);
                command
            }
            "sh" => {
                let mut command = std::process::Command::new("sh");
                command.args(arguments);
                command
            }
            other => anyhow::bail!("no such program in tables: {other}"),
        };
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LINE_DEADLINE, command.output())
            .await
            .with_context(|| format!("{line:?} did not end"))??;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into(),
            stderr: String::from_utf8_lossy(&output.stderr).into(),
        })
    }

    fn filled(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// A manager and two workers that share this machine's engine, and a shell on the manager. None, and a loud line,
/// without an engine.
pub async fn session(test: &str) -> Option<(Cluster, Shell)> {
    if !Runtime::Docker.is_here(test) {
        return None;
    }
    let named = options(1, 2).into_iter().map(|node| {
        let argument = format!("--node-name={}", node.name);
        node.with_argument(&argument)
    });
    let cluster = Cluster::with_options(1, named.collect()).await.unwrap();
    let socket = cluster.nodes[0].socket();
    let mut shell = Shell::new(Docker::at(&socket, test)?, &socket);
    // The first marks containers of this run, for whoever clears up; the second those of this cluster.
    let marks = [format!("{LABEL}={}", run::label()), format!("swarm-test-cluster={}", cluster.id(0))];
    let marks = marks.map(|mark| format!("--container-label {mark}")).join(" ");
    let common = format!("service create --no-resolve-image {marks} --stop-signal KILL");
    shell.set("create", &format!("{common} --update-monitor 300ms --rollback-monitor 300ms"));
    shell.set("plain", &common);
    shell.set("image", IMAGE);
    shell.set("host", &format!("unix://{}", socket.display()));
    shell.set("containers", &format!("docker ps -q --filter label=swarm-test-cluster={}", cluster.id(0)));
    Some((cluster, shell))
}

/// Runs `swarm` against a node, with this piped into it, however it ends.
pub async fn swarm(node: &Node, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::new(binary::swarm());
    command
        .args(["--host", &format!("unix://{}", node.socket().display())])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes()).await; // one that asks for nothing may have ended already
    }
    let output = tokio::time::timeout(LINE_DEADLINE, child.wait_with_output())
        .await
        .with_context(|| format!("swarm {arguments:?} did not end"))??;
    Ok(Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into(),
        stderr: String::from_utf8_lossy(&output.stderr).into(),
    })
}

/// A line's words, as a shell splits them at spaces outside of quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            (' ' | '\n', None) => words.extend(word.take()),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, Some(open)) if letter == open => quote = None,
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Lines without the spaces that align them, and without empty ones.
fn tidied(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Whether `text` is `pattern` with something in place of each `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    // The shortest way first; what follows the last star must be the end.
    let Some((next, _)) = tail.split_once('*') else { return rest.ends_with(tail) };
    loop {
        if matches(tail, rest) {
            return true;
        }
        let skip = rest.chars().next().map_or(0, char::len_utf8);
        let from = rest.get(skip..).and_then(|later| later.find(next));
        let Some(at) = from.filter(|_| skip > 0) else { return false };
        rest = &rest[skip + at..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_with_stars_for_anything() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("a*", "abc\nd", true),
            ("*c", "abc", true),
            ("*c", "abcd", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("a*bb*c", "a b bb c", true),
            ("*ü*", "für", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn lines_are_split_as_in_a_shell() {
        assert_eq!(words("ls  -f 'a b' --x=\"c d\" ''"), ["ls", "-f", "a b", "--x=c d", ""]);
    }

    #[test]
    fn alignment_does_not_count() {
        assert_eq!(tidied("ID   NAME \n\n a\tb\n"), "ID NAME\na b");
    }
}
