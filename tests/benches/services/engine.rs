//! The container engine by itself: what it takes for the same containers when nobody manages them.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use common::time::Monotonic;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use harness::docker::sdk;
use harness::run;
use harness::services::{IMAGE, LABEL, Runtime};

use crate::machine::now;

/// As many calls at once as a node makes.
pub const PARALLEL: usize = 8;
const SOCKET: &str = "/var/run/docker.sock";
const LOOK: Duration = Duration::from_millis(10);
/// After this the engine is taken for stuck.
const DEADLINE: Duration = Duration::from_secs(300);

pub struct Engine {
    docker: bollard::Docker,
}

impl Engine {
    /// None, and a loud line, where there is no engine.
    pub async fn find(section: &str) -> anyhow::Result<Option<Self>> {
        if !Runtime::Docker.is_here(section) {
            return Ok(None);
        }
        Ok(Some(Self { docker: sdk(Path::new(SOCKET)).await? }))
    }

    /// Creates and starts containers, so many at a time; gives their ids and how long it took.
    pub async fn run(&self, count: usize, parallel: usize) -> anyhow::Result<(Vec<String>, Duration)> {
        let start = now();
        let ids = each(0..count, parallel, async |_| self.run_one().await).await?;
        Ok((ids, now().since(start)))
    }

    /// Puts a new container in the place of each of these, so many at a time; gives all that there are then.
    pub async fn replace(
        &self,
        ids: Vec<String>,
        parallel: usize,
    ) -> anyhow::Result<(Vec<String>, Duration)> {
        let start = now();
        let new = each(ids.iter(), parallel, async |id: &String| {
            self.docker.stop_container(id, None).await?;
            self.run_one().await
        })
        .await?;
        let took = now().since(start);
        Ok((ids.into_iter().chain(new).collect(), took))
    }

    /// Stops and removes containers; gives how long it took.
    pub async fn remove(&self, ids: &[String]) -> anyhow::Result<Duration> {
        let start = now();
        each(ids.iter(), PARALLEL, async |id: &String| {
            self.docker.stop_container(id, None).await?;
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            Ok(self.docker.remove_container(id, Some(options)).await?)
        })
        .await?;
        Ok(now().since(start))
    }

    pub async fn kill(&self, id: &str) -> anyhow::Result<()> {
        let options = KillContainerOptionsBuilder::default().signal("KILL").build();
        Ok(self.docker.kill_container(id, Some(options)).await?)
    }

    /// Waits until no container of this run is left.
    pub async fn until_empty(&self) -> anyhow::Result<Monotonic> {
        let start = now();
        loop {
            let ours = HashMap::from([("label".to_owned(), vec![format!("{LABEL}={}", run::label())])]);
            let options = ListContainersOptionsBuilder::default().all(true).filters(&ours).build();
            let left = self.docker.list_containers(Some(options)).await?.len();
            let at = now();
            if left == 0 {
                return Ok(at);
            }
            anyhow::ensure!(at.since(start) < DEADLINE, "{left} containers are left");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The container that a task of the tests asks for.
    async fn run_one(&self) -> anyhow::Result<String> {
        let body = ContainerCreateBody {
            image: Some(IMAGE.into()),
            entrypoint: Some(vec!["sleep".into(), "100000".into()]),
            stop_signal: Some("KILL".into()),
            labels: Some(HashMap::from([(LABEL.into(), run::label())])),
            host_config: Some(HostConfig { init: Some(false), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let id = self.docker.create_container(None, body).await?.id;
        self.docker.start_container(&id, None).await?;
        Ok(id)
    }
}

async fn each<T, R, F: Future<Output = anyhow::Result<R>>>(
    items: impl Iterator<Item = T>,
    parallel: usize,
    call: impl FnMut(T) -> F,
) -> anyhow::Result<Vec<R>> {
    stream::iter(items.map(call)).buffer_unordered(parallel).try_collect().await
}
