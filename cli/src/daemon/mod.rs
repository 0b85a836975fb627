//! The daemon: this machine as a node of a cluster, or waiting to become one.
//!
//! - `host`: the way in and out of a cluster. `running`: the node while it is in one. `supervise`: what the cluster
//!   wants of it, `rest` of its data on disk. `found`: how a cluster begins, `restore` with a backup.
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
mod rest;
mod restore;
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
use common::identity::ApiServerNames;
use common::limits::STOP_WAIT;
use common::shutdown::Tasks;
use common::time::SystemClock;
use manager::api::{Api, EngineSettings};
use manager::audit::Audit;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use worker::runtime::files::TaskFiles;
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
    keep_memory_to_ourselves();
    // Two threads serve a small machine and a large one: the work is waiting, not computing.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(daemon(args))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// Keys and secrets are in this process's memory: it leaves no core dump, and other processes of its user may not look
/// into it. The limit on core dumps would say the first of that too, and would bind all tasks that it starts.
fn keep_memory_to_ourselves() {
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        warn!(%error, "core dumps of this daemon may hold secrets");
    }
}

/// Removes what a daemon with that state folder keeps in memory for its tasks; none of its tasks runs any more.
pub fn forget_files(state_dir: &Path) {
    TaskFiles::new(crate::paths::secrets_dir(state_dir)).close();
}

async fn daemon(args: Args) -> anyhow::Result<()> {
    let folder = Folder::new(args.state_dir());
    let _lock = lock::lock(folder.path(), &folder.lock_file())?;
    let socket = args.host().socket().to_path_buf();
    let listener = listen(&socket, args.group.as_deref())?;
    let tcp = match &args.api_addr {
        Some(addr) => Some(listen_tcp(addr).await?),
        None => None,
    };
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
    let audit = Audit::start(folder.audit_folder(), &tasks)?;
    let setup = Setup {
        folder,
        describer,
        runtimes,
        files: TaskFiles::new(args.secrets_dir()),
        clock: Arc::new(SystemClock),
        audit: audit.clone(),
        tasks: tasks.child(),
    };
    let lab = args.lab.then(|| Lab {
        certificate_expiry: args
            .lab_cert_expiry
            .map(|Nanoseconds(expiry)| Duration::from_nanos(expiry.max(0).unsigned_abs())),
    });
    let host = NodeHost::new(setup, lab);
    let resume = host.resume();
    let api = tasks.child();
    let served =
        Api::new(Arc::new(host.clone()), EngineSettings { socket: engine }, audit.clone(), api.child());
    api.spawn(served.clone().serve_socket(listener));
    if let Some(tcp) = tcp {
        info!(addr = %tcp.local_addr()?, "the API is served on TCP, to client certificates, while this node is a manager");
        api.spawn(served.serve_tcp(tcp, api_names(&args.api_names)));
    }
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
        // Whatever was done has been answered by now, and is written.
        audit.close().await;
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
fn listen(socket: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
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
    give_to_group(socket, group)?;
    Ok(listener)
}

/// The group's members may use the socket: the one that was named, or `swarm` where there is one.
fn give_to_group(socket: &Path, named: Option<&str>) -> anyhow::Result<()> {
    let name = named.unwrap_or("swarm");
    let by_number = || name.parse().ok().map(nix::unistd::Gid::from_raw);
    let found = nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid);
    match (found.or_else(by_number), named) {
        (Some(group), Some(_)) => nix::unistd::chown(socket, None, Some(group))
            .with_context(|| format!("give {} to the group {name}", socket.display())),
        (Some(group), None) => {
            // Only root may give files to a group it is not in; for others the socket is their own.
            let _ = nix::unistd::chown(socket, None, Some(group));
            Ok(())
        }
        (None, Some(_)) => anyhow::bail!("there is no group {name}: make it, or leave --group out"),
        (None, None) => Ok(()),
    }
}

async fn listen_tcp(addr: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("listen on {addr} for the API (--api-addr HOST:PORT)"))
}

fn api_names(given: &[String]) -> ApiServerNames {
    let mut names = ApiServerNames::default();
    for name in given {
        match name.parse() {
            Ok(address) => drop(names.addresses.insert(address)),
            Err(_) => drop(names.names.insert(name.clone())),
        }
    }
    names
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
