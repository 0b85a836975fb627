//! Answers other managers' raft messages.
//!
//! The transport has checked that the far end is a manager of this cluster. Here it is checked that it is the
//! member it claims to be, and that it means the member that we are.

use std::sync::Arc;

use common::limits::{
    FRAME_BYTES_MAX, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_TIME_MAX, SNAPSHOTS_RECEIVED_MAX,
};
use common::object::NodeId;
use common::report::Report;
use common::transport::{Incoming, Stream, StreamKind};
use common::wire::frame::{FrameError, expect_message, read_frame, read_message, write_message};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::AppendEntriesRequest;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tracing::debug;

use super::message::AppendReply;
use super::message::{
    Body, Hello, Refusal, Reply, Request, SnapshotOffer, SnapshotReply, StreamAppendReply,
    TransferLeaderReply, VoteReply,
};
use super::snapshot::{SnapshotFile, Snapshots};
use super::snapshot_file::{ChunkWriter, SnapshotError};
use super::types::{Raft, Snapshot, TypeConfig};

/// Our end of raft's streams. Clones are handles to the same.
#[derive(Clone)]
pub struct Server {
    raft: Raft,
    raft_id: u64,
    snapshots: Arc<Snapshots>,
    receiving: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("exchange with a manager")]
    Exchange(#[from] FrameError),
    #[error("the far end sent nothing for too long")]
    Silent,
    #[error("keep the snapshot that a manager sends")]
    Snapshot(#[from] SnapshotError),
}

impl Server {
    pub fn new(raft: Raft, raft_id: u64, snapshots: Arc<Snapshots>) -> Self {
        Self { raft, raft_id, snapshots, receiving: Arc::new(Semaphore::new(SNAPSHOTS_RECEIVED_MAX)) }
    }

    /// Serves one stream to its end. Streams that are not raft's are closed.
    pub async fn serve(&self, incoming: Incoming) {
        let Incoming { from: Some(from), kind, stream, .. } = incoming else { return };
        let served = match kind {
            StreamKind::Raft => self.answer(from.node, stream).await,
            StreamKind::RaftAppend => self.append(from.node, stream).await,
            StreamKind::RaftSnapshot => self.receive(from.node, stream).await,
            _ => return,
        };
        if let Err(error) = served {
            debug!(node.id = %from.node, ?kind, error = %Report(&error), "raft stream broke");
        }
    }

    async fn answer(&self, from: NodeId, mut stream: Stream) -> Result<(), ServeError> {
        let Request { hello, body } = expect_message(&mut stream.recv, FRAME_BYTES_MAX).await?;
        let allowed = self.check(from, hello);
        let send = &mut stream.send;
        match body {
            Body::Append(request) => {
                let reply: AppendReply = match allowed {
                    Ok(()) => self.raft.append_entries(request).await.map_err(failed),
                    Err(refusal) => Err(refusal),
                };
                write_message(send, &reply).await?;
            }
            Body::Vote(request) => {
                let reply: VoteReply = match allowed.and_then(|()| self.check_votes()) {
                    Ok(()) => self.raft.vote(request).await.map_err(failed),
                    Err(refusal) => Err(refusal),
                };
                write_message(send, &reply).await?;
            }
            Body::PreVote(request) => {
                let reply: VoteReply = match allowed.and_then(|()| self.check_votes()) {
                    Ok(()) => self.raft.pre_vote(request).await.map_err(failed),
                    Err(refusal) => Err(refusal),
                };
                write_message(send, &reply).await?;
            }
            Body::TransferLeader(request) => {
                let reply: TransferLeaderReply = match allowed.and_then(|()| self.check_votes()) {
                    Ok(()) => self.raft.handle_transfer_leader(request).await.map_err(failed),
                    Err(refusal) => Err(refusal),
                };
                write_message(send, &reply).await?;
            }
        }
        Ok(stream.send.shutdown().await.map_err(FrameError::Io)?)
    }

    async fn append(&self, from: NodeId, stream: Stream) -> Result<(), ServeError> {
        let Stream { mut send, mut recv } = stream;
        let hello: Hello = expect_message(&mut recv, FRAME_BYTES_MAX).await?;
        if let Err(refusal) = self.check(from, hello) {
            let reply: StreamAppendReply = Err(refusal);
            return Ok(write_message(&mut send, &reply).await?);
        }
        let requests = unfold(recv, |mut recv| async move {
            match read_message::<AppendEntriesRequest<TypeConfig>>(&mut recv, FRAME_BYTES_MAX).await {
                Ok(Some(request)) => Some((request, recv)),
                Ok(None) => None,
                Err(error) => {
                    debug!(error = %Report(&error), "log entries did not arrive whole");
                    None
                }
            }
        });
        let mut answers = std::pin::pin!(self.raft.stream_append(requests));
        while let Some(answer) = answers.next().await {
            let reply: StreamAppendReply = answer.map_err(failed);
            write_message(&mut send, &reply).await?;
        }
        Ok(send.shutdown().await.map_err(FrameError::Io)?)
    }

    async fn receive(&self, from: NodeId, mut stream: Stream) -> Result<(), ServeError> {
        let offer: SnapshotOffer = expect_message(&mut stream.recv, FRAME_BYTES_MAX).await?;
        let reply: SnapshotReply = match self.check(from, offer.hello) {
            Ok(()) => match self.receiving.try_acquire() {
                Ok(_place) => match self.receive_file(&offer, &mut stream).await {
                    Ok(snapshot) => self
                        .raft
                        .install_full_snapshot(offer.vote, Snapshot { meta: offer.meta, snapshot })
                        .await
                        .map_err(failed),
                    Err(ServeError::Snapshot(error)) => Err(Refusal::Failed(Report(&error).to_string())),
                    Err(error) => return Err(error),
                },
                Err(_) => Err(Refusal::Busy),
            },
            Err(refusal) => Err(refusal),
        };
        write_message(&mut stream.send, &reply).await?;
        Ok(stream.send.shutdown().await.map_err(FrameError::Io)?)
    }

    async fn receive_file(
        &self,
        offer: &SnapshotOffer,
        stream: &mut Stream,
    ) -> Result<SnapshotFile, ServeError> {
        let (snapshots, meta) = (self.snapshots.clone(), offer.meta.clone());
        let (unfinished, mut writer) = on_disk(move || snapshots.receive(&meta)).await?;
        loop {
            let frame = read_frame(&mut stream.recv, SNAPSHOT_CHUNK_BYTES);
            let frame = tokio::time::timeout(SNAPSHOT_CHUNK_TIME_MAX, frame).await;
            let chunk = frame.map_err(|_| ServeError::Silent)??.ok_or(FrameError::Ended)?;
            if chunk.is_empty() {
                break;
            }
            writer = on_disk(move || write_chunk(writer, &chunk)).await?;
        }
        let snapshots = self.snapshots.clone();
        on_disk(move || {
            writer.finish()?;
            snapshots.received(unfinished)
        })
        .await
    }

    /// Whether the far end is who it says, as far as the membership tells, and means us.
    fn check(&self, from: NodeId, hello: Hello) -> Reply<()> {
        if hello.to != self.raft_id {
            return Err(Refusal::OtherMember { asked: hello.to, ours: self.raft_id });
        }
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        match metrics.membership_config.get_node(&hello.from) {
            Some(member) if member.node != from => Err(Refusal::NotYours { claimed: hello.from }),
            // Not known is not wrong: our own view may be behind.
            Some(_) | None => Ok(()),
        }
    }

    /// A member without any log is either new, and then nobody asks it, or has lost what it had, and then it
    /// no longer knows for whom it voted.
    fn check_votes(&self) -> Reply<()> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match metrics.last_log_index {
            None if metrics.membership_config.log_id().is_none() => Err(Refusal::Empty),
            _ => Ok(()),
        }
    }
}

fn write_chunk(mut writer: ChunkWriter, chunk: &[u8]) -> Result<ChunkWriter, SnapshotError> {
    use std::io::Write;

    let path = writer.path().to_path_buf();
    writer.write_all(chunk).map_err(SnapshotError::io("write", &path))?;
    Ok(writer)
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, ServeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(ServeError::Snapshot(SnapshotError::Closed)),
    }
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Failed(error.to_string())
}
