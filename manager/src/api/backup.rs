//! `/swarm/x/backup` and `/swarm/x/restore`: the cluster's state as one sealed file, out and in again.
//!
//! The state leaves this process sealed, under the key that the client brings and nobody keeps: what a proxy, a log or
//! a careless redirect gets hold of is worth nothing. It is the state at one place of the raft log, after everything
//! that was acknowledged before it was asked for. It goes piece by piece: a client that reads slowly slows the writer.

use std::io::{self, Read, Write};
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use common::backup::{
    BackupError, BackupKey, BackupMeta, BackupWriter, Counts, Header, KeySource, SealedBackup,
};
use common::engine_api::swarm::InitRequest;
use common::limits::{BACKUP_PIECE_TIME_MAX, BACKUP_ROUNDS_MAX, BACKUP_ROUNDS_MIN};
use common::object::{NodeId, PayloadKind};
use common::random::SystemRandom;
use common::report::Report;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{info, warn};

use super::error::{ALREADY_MEMBER, ApiError};
use super::exchange::{self, Answer, Body, BoxError, Call, Piece, empty_body};
use super::host::{LocalState, Restore};
use super::requests;
use super::route::Edge;
use super::view::control;
use crate::store::format::{FormatError, read_tables, write_tables};
use crate::store::{Tables, format};

/// The key, base64 of 32 bytes without padding.
const KEY: &str = "swarm-backup-key";
/// Where the key comes from a passphrase: what restoring needs to get it again. Salt, base64, and rounds.
const SALT: &str = "swarm-backup-salt";
const ROUNDS: &str = "swarm-backup-rounds";

/// Bytes handed to HTTP at a time.
const OUT_BYTES: usize = 64 << 10;

pub(super) async fn take(edge: &Edge, call: &Call) -> Answer {
    let (key, source) = (key(call)?, source(call)?);
    let turn = turn(edge)?;
    let control = control(&*edge.host)?;
    let tables = control.read().await?;
    let meta = describe(&tables, control.raft_status().term, edge.host.status().node, control.now());
    info!(version = %meta.version, "backup is taken");
    let (sender, response) = exchange::endless("application/octet-stream");
    edge.tasks.spawn(async move {
        let pieces = sender.clone();
        let header = Header::new(source, &mut SystemRandom);
        let written = tokio::task::spawn_blocking(move || {
            let out = Pieces { sender: pieces, pending: Vec::with_capacity(OUT_BYTES) };
            let mut writer = BackupWriter::new(out, header, &key, &meta)?;
            write_tables(&tables, &mut writer)?;
            writer.finish().map(drop)
        });
        let outcome = written.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = outcome {
            warn!(error = %Report(&error), "backup broke off");
            let _ = sender.send(Err(error.into())).await; // so that nobody takes what there is for all of it
        }
        drop(turn);
    });
    Ok(response)
}

pub(super) async fn restore(edge: &Edge, call: &mut Call) -> Answer {
    let key = key(call)?;
    let query = |name: &str| call.query.get(name).to_owned();
    let place = requests::init(InitRequest {
        listen_addr: query("listenAddr"),
        advertise_addr: query("advertiseAddr"),
        data_path_addr: query("dataPathAddr"),
        availability: query("availability"),
        ..InitRequest::default()
    })?;
    let turn = turn(edge)?;
    match edge.host.status().state {
        LocalState::Inactive | LocalState::Pending => {}
        LocalState::Active | LocalState::Error(_) | LocalState::Locked => {
            return Err(ApiError::unavailable(ALREADY_MEMBER));
        }
    }
    let body = std::mem::replace(&mut call.body, empty_body());
    let (meta, tables) = receive(body, key).await?;
    let restore = Restore {
        listen_addr: place.listen_addr,
        advertise_addr: place.advertise_addr,
        availability: (!query("availability").is_empty()).then_some(place.availability),
        meta,
        tables,
    };
    let host = edge.host.clone();
    let restored = edge.tasks.spawn(async move {
        let _turn = turn; // until it is done, whether or not somebody waits
        host.restore(restore).await
    });
    let node = restored.await.map_err(|_| ApiError::internal("the node stopped meanwhile"))??;
    exchange::json(&node.to_string())
}

fn turn(edge: &Edge) -> Result<OwnedSemaphorePermit, ApiError> {
    edge.backups.clone().try_acquire_owned().map_err(|_| {
        ApiError::unavailable("this node is busy with other backups: wait until one of them is done")
    })
}

fn key(call: &Call) -> Result<BackupKey, ApiError> {
    let text = call.headers.get(KEY).and_then(|value| value.to_str().ok());
    text.and_then(|text| BackupKey::from_base64(text).ok()).ok_or_else(|| {
        ApiError::invalid(format!("a backup needs a key: give 32 bytes as base64 in the header {KEY}"))
    })
}

fn source(call: &Call) -> Result<KeySource, ApiError> {
    let invalid =
        || ApiError::invalid(format!("{SALT} is no salt of 16 bytes, or {ROUNDS} no number in bounds"));
    let text =
        |name: &str| call.headers.get(name).map(|value| value.to_str().map_err(|_| invalid())).transpose();
    match (text(SALT)?, text(ROUNDS)?) {
        (None, None) => Ok(KeySource::Made),
        (Some(salt), Some(rounds)) => {
            let salt = BASE64.decode(salt).ok().and_then(|bytes| bytes.try_into().ok());
            let rounds: Option<NonZeroU32> = rounds.parse().ok();
            let bounded =
                rounds.filter(|rounds| (BACKUP_ROUNDS_MIN..=BACKUP_ROUNDS_MAX).contains(&rounds.get()));
            match (salt, bounded) {
                (Some(salt), Some(rounds)) => Ok(KeySource::Passphrase { salt, rounds }),
                _ => Err(invalid()),
            }
        }
        _ => Err(invalid()),
    }
}

fn describe(
    tables: &Tables,
    term: u64,
    node: Option<NodeId>,
    taken_at: common::time::Timestamp,
) -> BackupMeta {
    let payloads =
        |kind: PayloadKind| tables.payloads.iter().filter(|payload| payload.kind == kind).count() as u64;
    BackupMeta {
        cluster: tables.cluster().map(|cluster| cluster.id).unwrap_or_default(),
        version: tables.version,
        term,
        taken_at,
        node: node.unwrap_or_default(),
        program: env!("CARGO_PKG_VERSION").into(),
        counts: Counts {
            nodes: tables.nodes.len() as u64,
            services: tables.services.iter().filter(|service| !service.removed).count() as u64,
            tasks: tables.tasks.len() as u64,
            secrets: payloads(PayloadKind::Secret),
            configs: payloads(PayloadKind::Config),
        },
    }
}

/// The writing side of a body, for code that blocks.
struct Pieces {
    sender: mpsc::Sender<Piece>,
    pending: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::replace(&mut self.pending, Vec::with_capacity(OUT_BYTES));
        self.sender.blocking_send(Ok(bytes.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(OUT_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() == OUT_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Reads a backup to its end. Nothing of this node changes.
async fn receive(mut body: Body, key: BackupKey) -> Result<(BackupMeta, Tables), ApiError> {
    let (sender, pieces) = mpsc::channel::<Result<Bytes, BoxError>>(4);
    let reading = tokio::task::spawn_blocking(move || open(Arrived { pieces, current: Bytes::new() }, &key));
    let arriving = async {
        loop {
            let piece = match tokio::time::timeout(BACKUP_PIECE_TIME_MAX, body.frame()).await {
                Ok(None) => return,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => Err(error),
                Err(_) => Err("no more of it arrived in time".into()),
            };
            let broken = piece.is_err();
            // A reader that has seen enough is gone; the rest is passed over, so that its sender hears why.
            if sender.send(piece).await.is_err() && broken {
                return;
            }
            if broken {
                return;
            }
        }
    };
    arriving.await;
    drop(sender);
    let opened = reading.await.map_err(|_| ApiError::internal("the backup could not be read"))?;
    opened.map_err(|error| ApiError::invalid(Report(&error).to_string()))
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the backup holds no state that this version of swarm can read")]
    Tables(#[source] format::FormatError),
    #[error("the backup holds no cluster")]
    NoCluster,
}

/// Reads a backup whole. Fuzzed: whatever the bytes are, it ends with tables or an error.
pub(super) fn open(input: impl Read, key: &BackupKey) -> Result<(BackupMeta, Tables), RestoreError> {
    let mut reader = SealedBackup::read(input)?.open(key)?;
    let tables = read_tables(&mut reader).map_err(|error| match error {
        FormatError::Io(error) => match error.downcast::<BackupError>() {
            Ok(error) => RestoreError::Backup(error),
            Err(error) => RestoreError::Tables(FormatError::Io(error)),
        },
        other => RestoreError::Tables(other),
    })?;
    match tables.cluster() {
        Some(_) => Ok((reader.meta().clone(), tables)),
        None => Err(RestoreError::NoCluster),
    }
}

/// A body as it arrives, for code that blocks.
struct Arrived {
    pieces: mpsc::Receiver<Result<Bytes, BoxError>>,
    current: Bytes,
}

impl Read for Arrived {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece.map_err(io::Error::other)?,
            }
        }
        let length = out.len().min(self.current.len());
        out[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

#[cfg(fuzzing)]
pub(super) mod fuzzing {
    use common::random::SeededRandom;

    use super::*;

    fn key() -> BackupKey {
        BackupKey::generate(&mut SeededRandom::new(1, "backup"))
    }

    fn header() -> Header {
        Header::new(KeySource::Made, &mut SeededRandom::new(1, "backup header"))
    }

    /// The first byte says what the rest is: a file, what follows a good header, or what was sealed.
    pub fn run(data: &[u8]) {
        let Some((kind, data)) = data.split_first() else { return };
        let file = match kind % 3 {
            0 => data.to_vec(),
            1 => [&header().to_bytes()[..], data].concat(),
            _ => {
                let mut writer = BackupWriter::new(Vec::new(), header(), &key(), &BackupMeta::default())
                    .expect("a vector takes every write");
                writer.write_all(data).expect("a vector takes every write");
                writer.finish().expect("a vector takes every write")
            }
        };
        let _ = open(&file[..], &key());
    }

    pub fn seeds(tables: &Tables) -> Vec<Vec<u8>> {
        let mut state = Vec::new();
        write_tables(tables, &mut state).expect("a vector takes every write");
        let mut writer = BackupWriter::new(Vec::new(), header(), &key(), &BackupMeta::default())
            .expect("a vector takes every write");
        writer.write_all(&state).expect("a vector takes every write");
        let file = writer.finish().expect("a vector takes every write");
        let start = header().to_bytes().len();
        vec![[&[0], &file[..]].concat(), [&[1], &file[start..]].concat(), [&[2], &state[..]].concat()]
    }
}
