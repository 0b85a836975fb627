//! `swarm backup`: the cluster in one sealed file; `swarm backup inspect`: what is in one.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, IsTerminal, Read, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::backup::{BackupKey, BackupMeta, Header, KeySource, SealedBackup};
use common::limits::BACKUP_ROUNDS;
use common::object::sensitive::Sensitive;
use common::random::{Random, SystemRandom};
use serde_json::json;

use crate::client::Client;
use crate::client::transfer::source;
use crate::output::inspect::{self, Format};
use crate::output::{note, print};
use crate::prompt;

/// Write the cluster's state to a file, sealed under a key that only you hold
///
/// The cluster goes on meanwhile; what is in the file is its state at one moment, after everything that was acknowledged
/// before. It holds the cluster's root key, tokens and secrets. Without other flags a key is made for it and shown
/// once. `swarm restore` makes a cluster of it again.
#[derive(Clone, Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  swarm backup /backup/swarm-2026-11-20
  swarm backup --key-file backup.key /backup/swarm-nightly
  swarm backup --passphrase-file passphrase - | ssh vault 'cat > swarm.backup'
  swarm backup inspect /backup/swarm-2026-11-20"
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where to write it; what is there is replaced when the backup is whole. `-` is standard output
    #[arg(value_name = "FILE", required = true)]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    pub key: KeyFlags,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    Inspect(InspectArgs),
}

/// Show what is in a backup, and check that all of it is there
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    pub key: KeyFlags,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,
}

/// Where the key of a backup is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KeyFlags {
    /// File with a key that `swarm backup` has shown
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub key_file: Option<PathBuf>,

    /// File whose first line is a passphrase
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl KeyFlags {
    /// The key of a backup that is there; asks for it where no flag says.
    pub fn open(&self, header: &Header, stdin_is_free: bool) -> anyhow::Result<BackupKey> {
        let is_passphrase = matches!(header.source, KeySource::Passphrase { .. });
        let text = match (&self.key_file, &self.passphrase_file) {
            (Some(_), _) if is_passphrase => {
                anyhow::bail!("this backup was sealed with a passphrase: give --passphrase-file")
            }
            (_, Some(_)) if !is_passphrase => {
                anyhow::bail!("this backup was sealed with a key: give --key-file")
            }
            (Some(file), _) | (None, Some(file)) => first_line(file)?,
            (None, None) if !stdin_is_free => {
                anyhow::bail!("standard input is the backup: give --key-file or --passphrase-file")
            }
            (None, None) if is_passphrase => prompt::secret("Enter passphrase: ")?,
            (None, None) => prompt::secret("Enter backup key: ")?,
        };
        Ok(BackupKey::from_text(&text, header)?)
    }
}

fn first_line(file: &Path) -> anyhow::Result<Sensitive> {
    prompt::first_line(file).with_context(|| format!("read {}", file.display()))
}

/// What a new backup is sealed with.
struct Sealing {
    key: BackupKey,
    source: KeySource,
    /// Nobody has the key yet.
    is_new: bool,
}

impl Sealing {
    fn of(flags: &KeyFlags) -> anyhow::Result<Self> {
        if let Some(file) = &flags.key_file {
            let key = BackupKey::parse(first_line(file)?.reveal())
                .with_context(|| format!("read {}", file.display()))?;
            return Ok(Self { key, source: KeySource::Made, is_new: false });
        }
        if let Some(file) = &flags.passphrase_file {
            let passphrase = first_line(file)?;
            anyhow::ensure!(!passphrase.reveal().is_empty(), "{} holds no passphrase", file.display());
            let mut salt = [0; 16];
            SystemRandom.fill(&mut salt);
            let rounds = NonZeroU32::new(BACKUP_ROUNDS).context("some rounds")?;
            let key = BackupKey::from_passphrase(&passphrase, &salt, rounds);
            return Ok(Self { key, source: KeySource::Passphrase { salt, rounds }, is_new: false });
        }
        Ok(Self { key: BackupKey::generate(&mut SystemRandom), source: KeySource::Made, is_new: true })
    }

    /// What people have to keep, and why.
    fn text(&self) -> String {
        format!(
            "The backup opens with this key alone:\n\n    {}\n\nRemember to store it in a password manager: it is kept \
             nowhere, and without it\nthe backup is of no use.\n",
            self.key.to_text().reveal()
        )
    }
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    if let Some(Command::Inspect(args)) = args.command {
        return inspect_file(&args);
    }
    let file = args.file.context("where to write the backup to")?;
    let to_stdout = file.as_os_str() == "-";
    anyhow::ensure!(
        !to_stdout || !std::io::stdout().is_terminal(),
        "a backup is not for a terminal: give a file, or redirect standard output"
    );
    let sealing = Sealing::of(&args.key)?;
    if to_stdout {
        take(client, &sealing, &mut std::io::stdout().lock()).await?;
        if sealing.is_new {
            note(sealing.text().trim_end());
        }
        return Ok(());
    }
    let unfinished = Unfinished::create(&file)?;
    take(client, &sealing, &mut &unfinished.file).await?;
    let (meta, bytes) = unfinished.check(&sealing.key)?;
    unfinished.finish(&file)?;
    print(&format!(
        "Cluster {} as of version {} is in {} ({bytes} bytes).\n",
        meta.cluster,
        meta.version,
        file.display()
    ))?;
    if sealing.is_new {
        print(&format!("\n{}", sealing.text()))?;
    }
    Ok(())
}

async fn take(client: &Client, sealing: &Sealing, out: &mut impl Write) -> anyhow::Result<()> {
    let key = sealing.key.to_base64();
    let (salt, rounds);
    let mut headers = vec![("Swarm-Backup-Key", key.reveal())];
    if let KeySource::Passphrase { salt: bytes, rounds: number } = sealing.source {
        (salt, rounds) = (BASE64.encode(bytes), number.to_string());
        headers.push(("Swarm-Backup-Salt", &salt));
        headers.push(("Swarm-Backup-Rounds", &rounds));
    }
    let mut stream = client.download("/swarm/x/backup", &headers).await?;
    while let Some(piece) = stream.chunk().await? {
        out.write_all(&piece).context("write the backup")?;
    }
    out.flush().context("write the backup")
}

/// A file under a name of its own until it is whole. Dropped before that, it is removed.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn create(file: &Path) -> anyhow::Result<Self> {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        let path = PathBuf::from(name);
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = created.with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Reads all of it again: what cannot be restored is no backup.
    fn check(&self, key: &BackupKey) -> anyhow::Result<(BackupMeta, u64)> {
        let read = || -> anyhow::Result<(BackupMeta, u64)> {
            let input = BufReader::new(File::open(&self.path)?);
            let reader = SealedBackup::read(input)?.open(key)?;
            let meta = reader.meta().clone();
            reader.check()?;
            Ok((meta, self.file.metadata()?.len()))
        };
        read().context("check the backup that was just written")
    }

    fn finish(&self, file: &Path) -> anyhow::Result<()> {
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, file))
            .and_then(|()| File::open(folder)?.sync_all())
            .with_context(|| format!("put the backup in place as {}", file.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // gone already if it got its name
    }
}

/// The header of a backup, and all of it again from the start.
pub fn read_header(file: &Path) -> anyhow::Result<(Header, Box<dyn Read + Send + Sync>)> {
    let named = || format!("read {}", file.display());
    let mut input = source(file).with_context(named)?;
    let mut start = Vec::new();
    input.by_ref().take(Header::BYTES as u64).read_to_end(&mut start).with_context(named)?;
    let header = *SealedBackup::read(&start[..]).with_context(named)?.header();
    Ok((header, Box::new(std::io::Cursor::new(start).chain(input))))
}

fn inspect_file(args: &InspectArgs) -> anyhow::Result<()> {
    let (header, input) = read_header(&args.file)?;
    let key = args.key.open(&header, args.file.as_os_str() != "-")?;
    let named = || format!("read {}", args.file.display());
    let reader =
        SealedBackup::read(BufReader::new(input)).with_context(named)?.open(&key).with_context(named)?;
    let meta = reader.meta().clone();
    let bytes = reader.check().with_context(named)?;
    let sealed_with = match header.source {
        KeySource::Made => "key",
        KeySource::Passphrase { .. } => "passphrase",
    };
    if let Some(format) = &args.format {
        let value = json!({
            "ClusterID": meta.cluster.to_string(), "Version": meta.version.0, "TakenAt": meta.taken_at.to_string(),
            "NodeID": meta.node.to_string(), "SwarmVersion": meta.program, "SealedWith": sealed_with,
            "StateBytes": bytes, "Nodes": meta.counts.nodes, "Services": meta.counts.services,
            "Tasks": meta.counts.tasks, "Secrets": meta.counts.secrets, "Configs": meta.counts.configs,
        });
        print(&inspect::show(format, &value)?)?;
        return Ok(());
    }
    let counts = meta.counts;
    print(&format!(
        "Cluster:   {}\nVersion:   {}\nTaken:     {}\nBy:        {} (swarm {})\nSealed:    with a {sealed_with}\n\
         State:     {bytes} bytes, whole\nNodes:     {}\nServices:  {}\nTasks:     {}\nSecrets:   {}\nConfigs:   {}\n",
        meta.cluster,
        meta.version,
        meta.taken_at,
        meta.node,
        meta.program,
        counts.nodes,
        counts.services,
        counts.tasks,
        counts.secrets,
        counts.configs,
    ))?;
    Ok(())
}
