//! Carries one connection: bytes both ways until both sides have said all, or one breaks off.
//!
//! Each side's end is passed on as an end and its break as a break, by whoever holds the sockets. A side that takes
//! nothing holds up the other. While the task is about to stop, a connection that has nothing under way is ended.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::limits::{
    MESH_BUFFER_BYTES, MESH_HALF_CLOSED_IDLE_MAX, MESH_IDLE_TIME_MAX, MESH_QUIET_FRESH_MIN, MESH_STALL_MAX,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::gate::{Pass, quiet_time};

/// Both directions of one side.
pub struct Side<R, W> {
    pub recv: R,
    pub send: W,
}

/// What has happened on a connection, for those that watch it.
pub struct Flow {
    began: Instant,
    /// When anything last moved, in milliseconds from the beginning.
    moved_ms: AtomicU64,
    /// The last word was the task's, or nobody has said anything yet.
    is_answered: AtomicBool,
    /// Nobody has said anything yet.
    is_fresh: AtomicBool,
    /// One side has said all.
    is_half_closed: AtomicBool,
}

impl Flow {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            is_answered: AtomicBool::new(true),
            is_fresh: AtomicBool::new(true),
            is_half_closed: AtomicBool::new(false),
        }
    }

    /// Something came: from the task, or for it.
    pub fn note(&self, from_task: bool) {
        self.moved_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.is_answered.store(from_task, Ordering::Relaxed);
        self.is_fresh.store(false, Ordering::Relaxed);
    }

    fn moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    /// Returns when nothing has moved for too long.
    pub async fn idle(&self, limit: Duration) {
        loop {
            let half_closed = self.is_half_closed.load(Ordering::Relaxed);
            let limit = if half_closed { limit.min(MESH_HALF_CLOSED_IDLE_MAX) } else { limit };
            let ends = self.moved() + limit;
            if Instant::now() >= ends {
                return;
            }
            // Half-closed meanwhile, it is noticed a bit later.
            tokio::time::sleep_until(ends.min(Instant::now() + MESH_HALF_CLOSED_IDLE_MAX)).await;
        }
    }

    /// Returns when the task is about to stop and this connection has nothing under way.
    pub async fn drained(&self, pass: Option<&Pass>) {
        let Some(pass) = pass else { return std::future::pending().await };
        let ends = pass.closed().await;
        loop {
            let now = Instant::now();
            let quiet = quiet_time(ends.saturating_duration_since(now));
            // Whoever has just come is about to ask.
            let is_fresh = self.is_fresh.load(Ordering::Relaxed);
            let quiet = if is_fresh { quiet.max(MESH_QUIET_FRESH_MIN) } else { quiet };
            let enough = self.moved() + quiet;
            if self.is_answered.load(Ordering::Relaxed) && now >= enough {
                return;
            }
            // Who waits for an answer gets it, or the task's end.
            tokio::time::sleep_until(enough.max(now + quiet / 4)).await;
        }
    }
}

/// Carries a connection to its end. An error means that it broke: both sides are to see that.
pub async fn carry<R1, W1, R2, W2>(
    client: &mut Side<R1, W1>,
    task: &mut Side<R2, W2>,
    pass: Option<&Pass>,
) -> io::Result<()>
where
    R1: AsyncRead + Unpin,
    W1: AsyncWrite + Unpin,
    R2: AsyncRead + Unpin,
    W2: AsyncWrite + Unpin,
{
    let flow = Flow::new();
    let both = async {
        let up = pump(&mut client.recv, &mut task.send, &flow, false);
        let down = pump(&mut task.recv, &mut client.send, &flow, true);
        tokio::try_join!(up, down).map(drop)
    };
    tokio::select! {
        result = both => return result,
        () = flow.idle(MESH_IDLE_TIME_MAX) => return Err(io::ErrorKind::TimedOut.into()),
        () = flow.drained(pass) => {}
    }
    client.send.shutdown().await?;
    task.send.shutdown().await
}

/// One direction, to its end, which is passed on.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    flow: &Flow,
    from_task: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; MESH_BUFFER_BYTES].into_boxed_slice();
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            flow.is_half_closed.store(true, Ordering::Relaxed);
            return to.shutdown().await;
        }
        flow.note(from_task);
        let stalled = |_| io::Error::from(io::ErrorKind::TimedOut);
        tokio::time::timeout(MESH_STALL_MAX, to.write_all(&buffer[..count])).await.map_err(stalled)??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::gate::Gates;
    use common::object::TaskId;
    use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

    type Half = Side<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

    /// What the carrier holds of one side, and that side itself.
    fn side() -> (Half, DuplexStream) {
        let (near, far) = duplex(1 << 16);
        let (recv, send) = split(near);
        (Side { recv, send }, far)
    }

    async fn say(stream: &mut DuplexStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hear(stream: &mut DuplexStream, length: usize) -> String {
        let mut text = vec![0; length];
        stream.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_side_ends_when_it_has_said_all() {
        let ((mut near, mut client), (mut far, mut task)) = (side(), side());
        let script = async {
            say(&mut client, "all of it").await;
            client.shutdown().await.unwrap();
            assert_eq!(hear(&mut task, 9).await, "all of it");
            assert_eq!(task.read(&mut [0; 1]).await.unwrap(), 0, "the client's end is passed on");
            tokio::time::sleep(Duration::from_secs(30)).await;
            say(&mut task, "answer").await;
            assert_eq!(hear(&mut client, 6).await, "answer");
            task.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        };
        let (carried, ()) = tokio::join!(carry(&mut near, &mut far, None), script);
        carried.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_holds_up_the_writer_and_is_cut_in_the_end() {
        let ((mut near, client), (mut far, mut task)) = (side(), side());
        let script = async {
            let mut written = 0usize;
            while let Ok(count) = task.write(&[7; 4096]).await {
                written += count;
                assert!(written < 1 << 20, "nobody holds so much");
            }
        };
        let carrying = async {
            let carried = carry(&mut near, &mut far, None).await;
            drop((near, far));
            carried
        };
        let (carried, ()) = tokio::join!(carrying, script);
        assert_eq!(carried.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_and_sooner_when_half_is_closed() {
        for (half, expected) in [(false, MESH_IDLE_TIME_MAX), (true, MESH_HALF_CLOSED_IDLE_MAX)] {
            let ((mut near, mut client), (mut far, task)) = (side(), side());
            if half {
                client.shutdown().await.unwrap();
            }
            let started = Instant::now();
            let error = carry(&mut near, &mut far, None).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(
                started.elapsed() >= expected && started.elapsed() <= expected + MESH_HALF_CLOSED_IDLE_MAX
            );
            drop(task);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_leaves_finishes_what_was_asked_and_idle_connections_end() {
        let gates = Gates::default();
        let pass = gates.enter(TaskId(1)).unwrap();
        let ((mut near, mut client), (mut far, mut task)) = (side(), side());
        let script = async {
            say(&mut client, "ask").await;
            hear(&mut task, 3).await;
            gates.close(TaskId(1), Duration::from_secs(10));
            let closed = Instant::now();
            // It takes its time to answer, and gets it.
            tokio::time::sleep(Duration::from_secs(6)).await;
            say(&mut task, "answer").await;
            assert_eq!(hear(&mut client, 6).await, "answer");
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
            assert_eq!(task.read(&mut [0; 1]).await.unwrap(), 0);
            let took = closed.elapsed();
            assert!(took > Duration::from_secs(6) && took < Duration::from_secs(8), "{took:?}");
        };
        let (carried, ()) = tokio::join!(carry(&mut near, &mut far, Some(&pass)), script);
        carried.unwrap();
    }
}
