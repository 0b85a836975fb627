//! Whether a running task may get connections now: one check, by command, by HTTP or by TCP.
//!
//! Apart from health: a task that is not ready is left alone. When to check is the runner's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::limits::{READY_ANSWER_BYTES_MAX, READY_PERIOD_DEFAULT, READY_PERIOD_MIN};
use common::object::TaskId;
use common::object::container::{ReadyCheck, ReadyProbe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::runtime::Runtime;

/// Time from one check to the next.
pub fn period(check: &ReadyCheck) -> Duration {
    or_default(check.interval)
}

/// Checks once; the error says, for people, why it is not ready.
pub async fn check(runtime: &dyn Runtime, task: TaskId, check: &ReadyCheck) -> Result<(), String> {
    let limit = or_default(check.timeout);
    match tokio::time::timeout(limit, probe(runtime, task, &check.probe, limit)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer in {} ms", limit.as_millis())),
    }
}

fn or_default(time: Duration) -> Duration {
    if time.is_zero() { READY_PERIOD_DEFAULT } else { time.max(READY_PERIOD_MIN) }
}

async fn probe(
    runtime: &dyn Runtime,
    task: TaskId,
    probe: &ReadyProbe,
    limit: Duration,
) -> Result<(), String> {
    match probe {
        ReadyProbe::Command(command) => match runtime.run_inside(task, command, limit).await {
            Ok(result) if result.code == 0 => Ok(()),
            Ok(result) => Err(format!("its check exited with {}", result.code)),
            Err(error) => Err(error.to_string()),
        },
        ReadyProbe::Tcp { port } => connect(&addresses(runtime, task).await?, *port).await.map(drop),
        ReadyProbe::Http { port, path } => http(&addresses(runtime, task).await?, *port, path).await,
    }
}

async fn addresses(runtime: &dyn Runtime, task: TaskId) -> Result<Vec<IpAddr>, String> {
    match runtime.addresses(task).await {
        Ok(addresses) if addresses.is_empty() => Err("it has no address on this node".into()),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(error.to_string()),
    }
}

/// To the first address that answers.
async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("connect to port {port}: {error}");
    let addresses: Vec<SocketAddr> =
        addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    TcpStream::connect(addresses.as_slice()).await.map_err(failed)
}

async fn http(addresses: &[IpAddr], port: u16, path: &str) -> Result<(), String> {
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err("its check has a path with spaces or control characters".into());
    }
    let path = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
    let mut stream = connect(addresses, port).await?;
    let failed = |error: std::io::Error| format!("GET {path} on port {port}: {error}");
    let host = stream.peer_addr().map_err(failed)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: swarm-ready\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = [0; READY_ANSWER_BYTES_MAX];
    let mut filled = 0;
    while filled < answer.len() && !answer[..filled].contains(&b'\n') {
        match stream.read(&mut answer[filled..]).await.map_err(failed)? {
            0 => break,
            read => filled += read,
        }
    }
    match status_of(&answer[..filled]) {
        Some(status) if (100..400).contains(&status) => Ok(()),
        Some(status) => Err(format!("GET {path} on port {port} answered {status}")),
        None => Err(format!("GET {path} on port {port} was not answered in HTTP")),
    }
}

/// Of `HTTP/1.1 204 No Content`, 204.
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next().filter(|status| status.len() == 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fake::FakeRuntime;
    use common::time::SystemClock;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use tokio::net::TcpListener;

    #[test]
    fn a_status_is_read_from_any_first_line() {
        #[rustfmt::skip]
        let cases = [ // answer, status
            (&b"HTTP/1.1 200 OK\r\nServer: x\r\n"[..], Some(200)),
            (b"HTTP/1.0 503\n",                        Some(503)),
            (b"HTTP/1.1 2000 OK\r\n",                  None),
            (b"SSH-2.0-OpenSSH\r\n",                   None),
            (b"HTTP/1.1",                              None),
            (b"\xff\xfe",                              None),
            (b"",                                      None),
        ];
        for (answer, status) in cases {
            assert_eq!(status_of(answer), status, "{answer:?}");
        }
    }

    /// Answers each connection with these bytes.
    async fn server(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        common::shutdown::Tasks::new().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 256];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn a_task_is_ready_when_it_answers() {
        let nobody: &[IpAddr] = &[Ipv4Addr::LOCALHOST.into()];
        let good = server(b"HTTP/1.1 302 Found\r\n\r\n").await;
        let bad = server(b"HTTP/1.1 503 Busy\r\n\r\n").await;
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        assert_eq!(http(nobody, good, "/healthz").await, Ok(()));
        let answered = http(nobody, bad, "healthz").await;
        assert_eq!(answered, Err(format!("GET /healthz on port {bad} answered 503")));
        assert!(http(nobody, closed, "/").await.unwrap_err().starts_with("connect to port"));
        assert!(http(nobody, good, "/ HTTP/1.1\r\nX: y").await.is_err());
        assert!(connect(nobody, good).await.is_ok());
        // A task that is not there has no address.
        let runtime = FakeRuntime::new(Arc::new(SystemClock));
        let tcp = ReadyCheck {
            probe: ReadyProbe::Tcp { port: good },
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
        };
        assert_eq!(check(&runtime, TaskId(1), &tcp).await, Err("it has no address on this node".into()));
        assert_eq!(period(&tcp), READY_PERIOD_DEFAULT);
    }
}
