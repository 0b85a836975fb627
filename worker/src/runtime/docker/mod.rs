//! Tasks as containers of the node's Docker Engine.
//!
//! - `container`, `host`, `mounts`: PURE, a task's spec as the engine's container. `seen`: PURE, and back.
//! - `names`: the labels by which a container is found again. `containers`: its steps.
//! - `image`: pulls. `command`: commands inside. `logs`, `frames`: what it wrote.
//! - `bridge`: the network that containers are in. `engine`: calls, their turns and bounds, what errors mean. `watch`: the stream of events, and who waits for one.
//!
//! Several daemons may share one engine: each sees the containers that bear its node's id and no others.
//!
//! An engine that is away or hangs makes steps fail as temporary, each within its bound; waiting for a change goes on
//! until the engine is back, and then looks again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use common::limits::{ENGINE_RETRY_MAX, ENGINE_RETRY_MIN};
use common::object::service::RuntimeKind;
use common::object::{NodeId, TaskId};
use common::shutdown::Tasks;
use common::wire::logs::LogLine;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::containers::Containers;
use self::engine::Engine;
use self::image::Images;
use self::watch::Known;
use super::files::{Reader, TaskFiles};
use super::{CommandResult, LogOptions, Progress, RunError, Runtime, Seen, TaskSetup};
use crate::mesh::dns::Door;

mod bridge;
mod command;
mod container;
#[cfg(test)]
mod container_test;
mod containers;
mod engine;
mod frames;
mod host;
mod image;
mod logs;
mod mounts;
mod names;
mod seen;
mod watch;

/// Set to 1, no image is pulled for tasks: what is on the node has to do. Docker's own name for it.
pub const PREFER_OFFLINE: &str = "DOCKER_SERVICE_PREFER_OFFLINE_IMAGE";

#[derive(Clone, Debug)]
pub struct DockerSettings {
    /// Where the engine listens.
    pub socket: PathBuf,
    /// Whose containers these are.
    pub node: NodeId,
    /// Pull no image. `prefers_offline` says what the environment wants.
    pub prefer_offline: bool,
    /// Where secrets and configs lie for the engine to mount. It has to see the same folder.
    pub files: Arc<TaskFiles>,
    /// Where containers find the names of services.
    pub names: Arc<Door>,
}

/// What the daemon's environment says about `DockerSettings::prefer_offline`.
pub fn prefers_offline() -> bool {
    std::env::var(PREFER_OFFLINE).is_ok_and(|value| value == "1")
}

/// Runs tasks as containers. The engine need not be there yet, and may come and go.
pub struct Docker {
    containers: Containers,
    images: Images,
    files: Arc<TaskFiles>,
    names: Arc<Door>,
    tasks: Tasks,
    in_hand: Mutex<HashMap<TaskId, Weak<tokio::sync::Mutex<()>>>>,
}

impl Docker {
    /// Follows the engine in the background until `tasks` stop.
    pub fn new(settings: DockerSettings, tasks: &Tasks) -> Self {
        let engine = Arc::new(Engine::at(&settings.socket));
        let known = Arc::new(Known::of(settings.node));
        tasks.spawn_until_stopped(watch::follow(engine.clone(), known.clone()));
        Self {
            images: Images::new(engine.clone(), tasks.clone(), settings.prefer_offline),
            containers: Containers { engine, known },
            files: settings.files,
            names: settings.names,
            tasks: tasks.clone(),
            in_hand: Mutex::default(),
        }
    }

    async fn container_of(&self, task: TaskId) -> Result<ContainerInspectResponse, RunError> {
        let gone = || RunError::Fatal(format!("task {task} has no container on this node"));
        self.containers.find(task).await?.ok_or_else(gone)
    }

    /// The node's own address on the engine's bridge; none where the engine has none.
    pub async fn bridge(&self) -> Result<Option<IpAddr>, RunError> {
        Ok(bridge::address(&self.containers.engine).await?)
    }

    /// Carries out a step to its end even when nobody waits for it any more.
    ///
    /// The engine does not take back a create or start that it was sent. A stop or removal that follows has to come
    /// after it, or it would find nothing to stop.
    async fn to_its_end(
        &self,
        task: TaskId,
        step: impl Future<Output = Result<(), RunError>> + Send + 'static,
    ) -> Result<(), RunError> {
        let turn = self.turn(task).lock_owned().await;
        let (answer, outcome) = oneshot::channel();
        self.tasks.spawn_until_stopped(async move {
            let _ = answer.send(step.await);
            drop(turn);
        });
        outcome.await.unwrap_or_else(|_| Err(RunError::Temporary("the node stops".into())))
    }

    /// Waits for a step that nobody waits for any more.
    async fn settled(&self, task: TaskId) {
        drop(self.turn(task).lock_owned().await);
    }

    fn turn(&self, task: TaskId) -> Arc<tokio::sync::Mutex<()>> {
        let mut in_hand = self.in_hand.lock().expect("no holder panics");
        in_hand.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = in_hand.get(&task).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        in_hand.insert(task, Arc::downgrade(&turn));
        turn
    }
}

impl Runtime for Docker {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Container
    }

    fn prepare<'a>(
        &'a self,
        setup: &'a TaskSetup,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            if self.containers.find_by_name(setup).await?.is_some() {
                return Ok(());
            }
            let body = container::container(setup, &self.files.mounts(setup)?, self.names.server())?;
            let image = &setup.spec.container.image;
            let auth = setup.spec.registry_auth.as_ref().filter(|auth| !auth.reveal().is_empty());
            self.images.ensure(image, auth, progress).await?;
            self.files.place(setup, Reader::Engine).await?;
            let (containers, setup) = (self.containers.clone(), setup.clone());
            self.to_its_end(setup.task, async move { containers.create(&setup, body).await }).await
        })
    }

    fn start<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            // Also after a restart of the machine, which left the container and not the files.
            self.files.place(setup, Reader::Engine).await?;
            let (containers, task) = (self.containers.clone(), setup.task);
            self.to_its_end(task, async move { containers.start(task).await }).await
        })
    }

    fn look(&self, task: TaskId) -> BoxFuture<'_, Result<Seen, RunError>> {
        Box::pin(async move {
            let found = self.containers.find(task).await?;
            let addresses = found.as_ref().map_or_else(|| Ok(Vec::new()), seen::addresses)?;
            self.names.note(task, addresses.first().copied());
            found.as_ref().map_or(Ok(Seen::Absent), seen::seen)
        })
    }

    fn changed<'a>(&'a self, task: TaskId, before: &'a Seen) -> BoxFuture<'a, Result<Seen, RunError>> {
        Box::pin(async move {
            let mut waiter = self.containers.known.waiter(task);
            let mut pause = ENGINE_RETRY_MIN;
            loop {
                match self.look(task).await {
                    Ok(seen) if seen != *before => return Ok(seen),
                    Ok(_) => {
                        pause = ENGINE_RETRY_MIN;
                        waiter.changed().await;
                    }
                    Err(RunError::Temporary(_)) => {
                        // The engine's return wakes everybody; the pause is for errors that come from elsewhere.
                        let _ = timeout(pause, waiter.changed()).await;
                        pause = pause.saturating_mul(2).min(ENGINE_RETRY_MAX);
                    }
                    Err(error @ RunError::Fatal(_)) => return Err(error),
                }
            }
        })
    }

    fn stop<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            self.settled(setup.task).await;
            self.containers.stop(setup.task, setup.spec.container.stop_grace_period).await
        })
    }

    fn remove(&self, task: TaskId) -> BoxFuture<'_, Result<(), RunError>> {
        Box::pin(async move {
            self.settled(task).await;
            self.containers.remove(task).await?;
            self.files.remove(task).await
        })
    }

    fn refresh<'a>(&'a self, setup: &'a TaskSetup) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            for signal in self.files.refresh(setup).await? {
                self.containers.signal(setup.task, &signal).await?;
            }
            self.files.signalled(setup.task);
            Ok(())
        })
    }

    fn release(&self, task: TaskId) -> BoxFuture<'_, Result<(), RunError>> {
        Box::pin(async move {
            self.settled(task).await;
            self.files.remove(task).await
        })
    }

    /// Also of those of which no more than files are left.
    fn present(&self) -> BoxFuture<'_, Result<Vec<TaskId>, RunError>> {
        Box::pin(async move {
            let mut present = self.containers.all().await?;
            present.extend(self.files.tasks());
            present.sort_unstable();
            present.dedup();
            Ok(present)
        })
    }

    fn run_inside<'a>(
        &'a self,
        task: TaskId,
        command: &'a [String],
        limit: Duration,
    ) -> BoxFuture<'a, Result<CommandResult, RunError>> {
        Box::pin(async move {
            let id = self.container_of(task).await?.id.unwrap_or_default();
            command::run(&self.containers.engine, &id, command, limit).await
        })
    }

    fn addresses(&self, task: TaskId) -> BoxFuture<'_, Result<Vec<IpAddr>, RunError>> {
        Box::pin(async move {
            match self.containers.find(task).await? {
                Some(found) => seen::addresses(&found),
                None => Ok(Vec::new()),
            }
        })
    }

    fn logs(
        &self,
        task: TaskId,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<LogLine, RunError>>, RunError>> {
        Box::pin(async move {
            let found = self.container_of(task).await?;
            let wanted = logs::Wanted {
                task,
                terminal: found.config.and_then(|config| config.tty).unwrap_or_default(),
                container: found.id.unwrap_or_default(),
                options,
            };
            logs::open(&self.containers.engine, wanted).await
        })
    }
}
