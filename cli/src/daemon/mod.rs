//! The daemon: this machine as a node of a cluster, or waiting to become one.
//!
//! - `host`: the way in and out of a cluster. `running`: the node while it is in one. `supervise`: what the cluster
//!   wants of it. `found`: how a cluster begins.
//! - `state`, `lock`: what is on disk. `address`: where to listen. `runtimes`: what runs tasks here.
//!   `certificate`, `describe`, `view`: small things.

mod address;
pub mod args;
mod certificate;
mod describe;
mod found;
mod host;
mod lock;
mod port;
mod running;
mod runtimes;
mod state;
mod supervise;
mod view;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use common::limits::STOP_WAIT;
use common::shutdown::Tasks;
use common::time::SystemClock;
use manager::api::{EngineSettings, serve};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use worker::runtime::process;

pub use args::Args;

use self::args::{Engine, LogFormat};
use self::describe::Describer;
use self::host::{Lab, NodeHost};
use self::running::Setup;
use self::state::Folder;
use crate::parse::duration::Nanoseconds;

/// Where Docker Engine is unless somebody says otherwise.
const ENGINE_SOCKET: &str = "/var/run/docker.sock";

/// Runs one of the small processes that live beside the daemon, if that is what this program was called for.
pub fn beside() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let entry = arguments.next()?;
    (entry == process::ENTRY).then(|| process::supervisor_main(arguments))
}

/// Runs this machine's node until it is told to stop.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    start_log(&args)?;
    // Two threads serve a small machine and a large one: the work is waiting, not computing.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(daemon(args))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

async fn daemon(args: Args) -> anyhow::Result<()> {
    let folder = Folder::new(args.state_dir());
    let _lock = lock::lock(folder.path(), &folder.lock_file())?;
    let socket = args.host().socket().to_path_buf();
    let listener = listen(&socket)?;
    let mine = inode(&socket);
    let tasks = Tasks::new();
    let engine = engine_socket(&args.engine);
    let runtimes = runtimes::offered(&args.runtimes, engine.is_some());
    let describer = Describer {
        name: args.node_name.clone(),
        engine: engine.clone().map(Arc::new),
        runtimes: runtimes.clone(),
        labels: args.labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect(),
        generic: args::generic_stock(&args.generic_resources)?,
    };
    let setup = Setup { folder, describer, runtimes, clock: Arc::new(SystemClock), tasks: tasks.child() };
    let lab = args.lab.then(|| Lab {
        certificate_expiry: args
            .lab_cert_expiry
            .map(|Nanoseconds(expiry)| Duration::from_nanos(expiry.max(0).unsigned_abs())),
    });
    let host = NodeHost::new(setup, lab);
    let resume = host.resume();
    let api = tasks.child();
    api.spawn(serve(listener, Arc::new(host.clone()), EngineSettings { socket: engine }, api.child()));
    // The socket answers while the node takes up its place: it says `pending`.
    resume.await;
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%error, "the service manager was not told that the daemon is ready");
    }
    info!(socket = %socket.display(), version = env!("CARGO_PKG_VERSION"), "daemon is ready");
    wait_for_signal().await?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]); // nobody needs to know
    info!("stopping");
    let stop = async {
        host.stop().await;
        api.stop().await;
        tasks.stop().await;
    };
    if tokio::time::timeout(STOP_WAIT, stop).await.is_err() {
        warn!("not everything stopped in time");
    }
    if inode(&socket) == mine {
        let _ = std::fs::remove_file(&socket); // the next start replaces it anyway
    }
    info!("stopped");
    Ok(())
}

fn start_log(args: &Args) -> anyhow::Result<()> {
    // Libraries speak up only when asked: their steps are not ours to show at `info`.
    let quiet = "openraft=warn,quinn=warn,quinn_proto=warn,foca=warn,rustls=warn,hyper=warn";
    let rules = EnvFilter::try_new(format!("{quiet},{}", args.log_level))
        .with_context(|| format!("log rules '{}'", args.log_level))?;
    let log = tracing_subscriber::fmt().with_env_filter(rules).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Takes the API's socket. The state folder's lock says that no other daemon of ours is behind an old one there;
/// one that answers all the same belongs to somebody else, and is left alone.
fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(folder) = socket.parent() {
        // Who may speak to us is decided by the socket's own mode.
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    crate::paths::check_fallback(socket)?;
    if socket.exists() {
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            anyhow::bail!("{} is in use by another program", socket.display());
        }
        std::fs::remove_file(socket)
            .with_context(|| format!("remove the old socket {}", socket.display()))?;
    }
    let listener = UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
    let mode = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(socket, mode)
        .with_context(|| format!("set the mode of {}", socket.display()))?;
    if let Ok(Some(group)) = nix::unistd::Group::from_name("swarm") {
        // Only root may give files away; for others the socket is their own.
        let _ = nix::unistd::chown(socket, None, Some(group.gid));
    }
    Ok(listener)
}

/// Tells our socket from one that a later daemon has put in its place.
fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn engine_socket(engine: &Engine) -> Option<std::path::PathBuf> {
    match engine {
        Engine::None => None,
        Engine::Socket(host) => Some(host.socket().to_path_buf()),
        Engine::Auto => Path::new(ENGINE_SOCKET).exists().then(|| ENGINE_SOCKET.into()),
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
