//! A daemon's API of canned answers on a Unix socket, and `swarm` run against it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// What it answers: for each `METHOD /path` the answers in turn, the last one again and again.
#[derive(Default)]
pub struct Routes(Vec<(&'static str, VecDeque<(u16, String)>)>);

impl Routes {
    /// Another answer to `request`, `"GET /nodes"` for one.
    pub fn on(mut self, request: &'static str, status: u16, body: impl ToString) -> Self {
        let answer = (status, body.to_string());
        match self.0.iter_mut().find(|(known, _)| *known == request) {
            Some((_, answers)) => answers.push_back(answer),
            None => self.0.push((request, VecDeque::from([answer]))),
        }
        self
    }

    /// Forgets the answers to `request`: a test brings its own.
    pub fn without(mut self, request: &str) -> Self {
        self.0.retain(|(known, _)| *known != request);
        self
    }

    pub fn error(self, request: &'static str, status: u16, message: &str) -> Self {
        self.on(request, status, serde_json::json!({ "message": message }))
    }

    pub fn serve(self) -> FakeApi {
        let folder = tempfile::tempdir().expect("temporary folder");
        let socket = folder.path().join("swarm.sock");
        let listener = UnixListener::bind(&socket).expect("listen");
        let seen = Arc::<Seen>::default();
        let noted = seen.clone();
        // Ends with the test program: nobody calls any more.
        std::thread::spawn(move || {
            let mut routes = self;
            for stream in listener.incoming().map_while(Result::ok) {
                // A caller that goes away early is what some tests are about.
                let _ = routes.answer(stream, &noted);
            }
        });
        FakeApi { _folder: folder, socket, seen }
    }

    fn answer(&mut self, mut stream: UnixStream, seen: &Seen) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut body_length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body_length = value.trim().parse().expect("a length");
            }
            seen.headers.lock().expect("no holder panics").push(line.trim_end().to_owned());
        }
        let mut body = vec![0; body_length];
        reader.read_exact(&mut body)?;
        let request = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let body = String::from_utf8_lossy(&body);
        let shown = if body.is_empty() { request.clone() } else { format!("{request} {body}") };
        seen.requests.lock().expect("no holder panics").push(shown);

        let path = request.split('?').next().unwrap_or_default();
        let found = self.0.iter_mut().find(|(known, _)| *known == request || *known == path);
        let (status, answer) = match found {
            Some((_, answers)) if answers.len() > 1 => answers.pop_front().expect("more than one"),
            Some((_, answers)) => answers[0].clone(),
            None => (404, r#"{"message":"page not found"}"#.into()),
        };
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(answer.as_bytes())
    }
}

pub struct FakeApi {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    headers: Mutex<Vec<String>>,
}

impl FakeApi {
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs what has to go well and print this.
    pub fn shows(&self, arguments: &[&str], expected: &str) {
        let ran = self.run(arguments);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""), "{arguments:?}");
        assert_eq!(ran.code, 0, "{arguments:?}");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = swarm(arguments);
        command.env("SWARM_HOST", format!("unix://{}", self.socket.display()));
        command
    }

    /// What it was asked so far: `METHOD /path?query BODY`.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("no holder panics").clone()
    }

    /// The values of one header so far, in the order of the requests that had it.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let headers = self.seen.headers.lock().expect("no holder panics");
        let pairs = headers.iter().filter_map(|line| line.split_once(':'));
        pairs
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }
}

/// `swarm` with nothing of the caller's surroundings that changes what it does.
pub fn swarm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarm"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// How a run ended.
#[derive(Debug, PartialEq)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        command.output().map(Self::from).expect("swarm runs")
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}
