//! The way to other managers: one stream per request, one long stream for log entries, one per snapshot.
//!
//! Whatever goes wrong is `Unreachable` to openraft, which then waits a little before the next try.
//!
//! Not here: the far end (`serve`).

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::limits::{FRAME_BYTES_MAX, SNAPSHOT_CHUNK_TIME_MAX, SNAPSHOT_INSTALL_TIME_MAX};
use common::object::NodeId;
use common::report::Report;
use common::time::{Clock, Monotonic};
use common::transport::{Peer, Stream, StreamKind, Transport, TransportError};
use common::wire::frame::{FrameError, expect_message, read_message, write_frame, write_message};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::message::{Body, Hello, Refusal, Reply, Request, SnapshotOffer, SnapshotReply, StreamAppendReply};
use super::snapshot::{SnapshotFile, Snapshots};
use super::snapshot_file::SnapshotError;
use super::timing::Timing;
use super::types::{RaftMember, Snapshot, TypeConfig, Vote};

/// Where a node is now, as far as gossip knows.
pub type Resolve = Arc<dyn Fn(NodeId) -> Option<SocketAddr> + Send + Sync>;

/// Makes clients; one for each purpose and member.
#[derive(Clone)]
pub struct Network {
    pub raft_id: u64,
    pub transport: Arc<dyn Transport>,
    pub resolve: Resolve,
    pub clock: Arc<dyn Clock>,
    pub timing: Timing,
    pub snapshots: Arc<Snapshots>,
}

pub struct Client {
    network: Network,
    target: u64,
    member: RaftMember,
    /// Carries heartbeats alone, which are worth nothing when late.
    heartbeats: bool,
}

/// Why a message did not get an answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("its address '{0}' is not one")]
    Address(String),
    #[error(transparent)]
    Open(#[from] TransportError),
    #[error("exchange with it")]
    Exchange(#[from] FrameError),
    #[error("it refused: {0}")]
    Refused(#[from] Refusal),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("read the snapshot for it")]
    Snapshot(#[from] SnapshotError),
}

/// A call that failed, with the member it was for: what openraft logs.
#[derive(Debug)]
struct Failed {
    target: u64,
    member: RaftMember,
    reason: String,
}

impl Error for Failed {}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed { target, member, reason } = self;
        write!(f, "manager {} (raft id {target}): {reason}", member.node)
    }
}

/// Where a member is reached: where gossip sees it now, else where it was when it joined.
pub fn peer_of(member: &RaftMember, resolve: &Resolve) -> Option<Peer> {
    let addr = resolve(member.node).or_else(|| member.addr.parse().ok())?;
    Some(Peer { node: member.node, addr })
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, member: &RaftMember) -> Client {
        Client { network: self.clone(), target, member: member.clone(), heartbeats: false }
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &RaftMember) -> Client {
        Client { network: self.clone(), target, member: member.clone(), heartbeats: true }
    }
}

impl Client {
    fn hello(&self) -> Hello {
        Hello { from: self.network.raft_id, to: self.target }
    }

    async fn open(&self, kind: StreamKind) -> Result<Stream, CallError> {
        let peer = peer_of(&self.member, &self.network.resolve)
            .ok_or_else(|| CallError::Address(self.member.addr.clone()))?;
        Ok(self.network.transport.open(peer, kind).await?)
    }

    /// One request and its answer within `time`.
    async fn call<T: DeserializeOwned>(&self, body: Body, time: Duration) -> Result<T, RPCError<TypeConfig>> {
        let exchange = async {
            let mut stream = self.open(StreamKind::Raft).await?;
            write_message(&mut stream.send, &Request { hello: self.hello(), body }).await?;
            Ok(expect_message::<Reply<T>>(&mut stream.recv, FRAME_BYTES_MAX).await??)
        };
        within(time, exchange).await.map_err(|error| RPCError::Unreachable(self.unreachable(&error)))
    }

    /// What every failed call ends in, so that one place knows which members do not answer.
    fn unreachable(&self, error: &CallError) -> Unreachable<TypeConfig> {
        if matches!(error, CallError::Silent(_)) {
            self.network.transport.suspect(self.member.node);
        }
        let reason = Report(error).to_string();
        Unreachable::new(&Failed { target: self.target, member: self.member.clone(), reason })
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<SnapshotReply, CallError> {
        let mut stream = within(SNAPSHOT_CHUNK_TIME_MAX, self.open(StreamKind::RaftSnapshot)).await?;
        let offer = SnapshotOffer { hello: self.hello(), vote, meta: snapshot.meta };
        let send = async {
            write_message(&mut stream.send, &offer).await?;
            send_chunks(&mut stream.send, &self.network.snapshots, snapshot.snapshot).await
        };
        let mut reply = std::pin::pin!(expect_message::<SnapshotReply>(&mut stream.recv, FRAME_BYTES_MAX));
        let sent = tokio::select! {
            // It may refuse before it has everything.
            early = &mut reply => return Ok(early?),
            sent = send => sent,
        };
        match sent {
            Ok(()) => Ok(within(SNAPSHOT_INSTALL_TIME_MAX, async { Ok(reply.await?) }).await?),
            Err(error) => Err(error),
        }
    }
}

async fn send_chunks(
    send: &mut (impl AsyncWrite + Unpin),
    snapshots: &Arc<Snapshots>,
    file: SnapshotFile,
) -> Result<(), CallError> {
    let snapshots = snapshots.clone();
    let mut reader = on_disk(move || snapshots.read(&file)).await?;
    loop {
        let (next, chunk) = on_disk(move || {
            let chunk = reader.next_chunk()?;
            Ok((reader, chunk))
        })
        .await?;
        reader = next;
        let chunk = chunk.as_ref().map_or(&[][..], |chunk| chunk);
        // An empty frame is the end. The last chunk of a file may be empty itself, and says the same.
        within(SNAPSHOT_CHUNK_TIME_MAX, async { Ok(write_frame(send, chunk).await?) }).await?;
        if chunk.is_empty() {
            return within(SNAPSHOT_CHUNK_TIME_MAX, async {
                Ok(send.flush().await.map_err(FrameError::Io)?)
            })
            .await;
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, CallError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(CallError::Snapshot(SnapshotError::Closed)),
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(CallError::Silent(time)))
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Body::Append(request), option.soft_ttl()).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Answer>, RPCError<TypeConfig>>>
    where
        S: futures_util::Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            // The time openraft gives is a heartbeat's. Entries may wait for a slow disk at the far end, and
            // their stream for a handshake.
            let time = match self.heartbeats {
                true => option.soft_ttl(),
                false => option.soft_ttl().max(self.network.timing.election_max),
            };
            let stream = within(time, self.open(StreamKind::RaftAppend))
                .await
                .map_err(|error| RPCError::Unreachable(self.unreachable(&error)))?;
            let waiting = Arc::new(Mutex::new(VecDeque::new()));
            let clock = self.network.clock.clone();
            let sending = send_all(input, stream.send, self.hello(), waiting.clone(), clock.clone());
            let exchange = Exchange {
                client: self,
                sending: Some(Box::pin(sending)),
                recv: stream.recv,
                waiting,
                clock,
                time,
                ended: false,
            };
            let answers = unfold(exchange, |mut exchange| async move {
                let answer = exchange.next().await?;
                Some((answer, exchange))
            });
            Ok(Box::pin(answers) as BoxStream<'s, Answer>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Body::Vote(request), option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Body::PreVote(request), option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption, // each chunk has its own time: a large snapshot takes long and is well
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let failed = |error: CallError| StreamingError::Unreachable(self.unreachable(&error));
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => match sent {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(refusal)) => Err(failed(refusal.into())),
                Err(error) => Err(failed(error)),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Body::TransferLeader(request), option.soft_ttl()).await
    }

    fn backoff(&self) -> Option<Backoff> {
        let first = self.network.timing.heartbeat;
        let longest = self.network.timing.election_max;
        Some(Backoff::new(
            std::iter::successors(Some(first), |wait| Some(wait.saturating_mul(2)))
                .map(move |wait| wait.min(longest)),
        ))
    }
}

type Sending<'s> = Pin<Box<dyn Future<Output = Result<(), FrameError>> + Send + 's>>;
type Answer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;
/// When the requests that wait for an answer were sent, oldest first.
type Waiting = Arc<Mutex<VecDeque<Monotonic>>>;

/// A stream of append requests going out while their answers come in.
struct Exchange<'s> {
    client: &'s Client,
    /// None once everything was sent.
    sending: Option<Sending<'s>>,
    recv: Box<dyn AsyncRead + Send + Sync + Unpin>,
    waiting: Waiting,
    clock: Arc<dyn Clock>,
    /// How long an answer may take.
    time: Duration,
    ended: bool,
}

impl Exchange<'_> {
    async fn next(&mut self) -> Option<Answer> {
        if self.ended {
            return None;
        }
        match self.answer().await {
            Ok(Some(Ok(answer))) => {
                self.ended = answer.is_err();
                Some(Ok(answer))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Ok(Some(Err(refusal))) => Some(self.fail(refusal.into())),
            Err(error) => Some(self.fail(error)),
        }
    }

    fn fail(&mut self, error: CallError) -> Answer {
        self.ended = true;
        Err(RPCError::Unreachable(self.client.unreachable(&error)))
    }

    async fn answer(&mut self) -> Result<Option<StreamAppendReply>, CallError> {
        // Reading is not to be dropped halfway through a frame: it ends, or this whole exchange does.
        let mut reading = std::pin::pin!(read_message(&mut self.recv, FRAME_BYTES_MAX));
        loop {
            let oldest = self.waiting.lock().expect("no holder panics").front().copied();
            if self.sending.is_none() && oldest.is_none() {
                return Ok(None);
            }
            let waited = oldest.map_or(Duration::ZERO, |sent| self.clock.monotonic().since(sent));
            if waited >= self.time {
                return Err(CallError::Silent(self.time));
            }
            tokio::select! {
                read = &mut reading => {
                    let answer = read?;
                    if self.waiting.lock().expect("no holder panics").pop_front().is_none() || answer.is_none() {
                        return Err(FrameError::Ended.into());
                    }
                    return Ok(answer);
                }
                sent = async { self.sending.as_mut().expect("checked").await }, if self.sending.is_some() => {
                    self.sending = None;
                    sent?;
                }
                () = tokio::time::sleep(self.time - waited) => {}
            }
        }
    }
}

async fn send_all(
    mut input: impl futures_util::Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
    mut send: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    hello: Hello,
    waiting: Waiting,
    clock: Arc<dyn Clock>,
) -> Result<(), FrameError> {
    write_message(&mut send, &hello).await?;
    while let Some(request) = input.next().await {
        waiting.lock().expect("no holder panics").push_back(clock.monotonic());
        write_message(&mut send, &request).await?;
    }
    send.shutdown().await?;
    Ok(())
}
