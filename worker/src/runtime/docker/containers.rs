//! One container's steps, as calls to the engine.
//!
//! Each finds out for itself where the container stands: an earlier step may have been dropped half-way, by us or
//! with the engine.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use common::limits::{ENGINE_CALL_TIME_MAX, ENGINE_STEP_TIME_MAX};
use common::object::TaskId;

use super::container::whole_seconds;
use super::engine::{CONFLICT, Engine, EngineError, NOT_FOUND, Work};
use super::names;
use super::seen::{Stage, stage};
use super::watch::{self, Known};
use crate::runtime::{RunError, TaskSetup};

/// What a task that says nothing has between the signal and the kill.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Containers {
    pub engine: Arc<Engine>,
    pub known: Arc<Known>,
}

impl Containers {
    /// The container of a task, found by its labels.
    pub async fn find(&self, task: TaskId) -> Result<Option<ContainerInspectResponse>, RunError> {
        if let Some(id) = self.known.container(task) {
            if let Some(found) = self.inspect(&id).await? {
                return Ok(Some(found));
            }
            self.known.forget(task);
        }
        for listed in watch::list(&self.engine, self.known.node, Some(task)).await? {
            let id = listed.id.unwrap_or_default();
            if let Some(found) = self.inspect(&id).await? {
                self.known.remember(task, &id);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The container that has the task's name; an error where it is somebody else's.
    pub async fn find_by_name(
        &self,
        setup: &TaskSetup,
    ) -> Result<Option<ContainerInspectResponse>, RunError> {
        let Some(found) = self.inspect(&setup.name).await? else { return Ok(None) };
        let id = found.id.clone().unwrap_or_default();
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        if names::owner(labels, self.known.node) != Some(setup.task) {
            let said = format!("the name {} belongs to container {id}, which is not this task's", setup.name);
            return Err(RunError::Fatal(said));
        }
        self.known.remember(setup.task, &id);
        Ok(Some(found))
    }

    /// The tasks of this node that have containers.
    pub async fn all(&self) -> Result<Vec<TaskId>, RunError> {
        let mut tasks = Vec::new();
        for listed in watch::list(&self.engine, self.known.node, None).await? {
            if let (Some(task), Some(id)) = (names::owner(listed.labels.as_ref(), self.known.node), listed.id)
            {
                self.known.remember(task, &id);
                tasks.push(task);
            }
        }
        tasks.sort();
        tasks.dedup();
        Ok(tasks)
    }

    async fn inspect(&self, id_or_name: &str) -> Result<Option<ContainerInspectResponse>, RunError> {
        let found = self
            .engine
            .ask(Work::Look, ENGINE_CALL_TIME_MAX, async |client: bollard::Docker| {
                client.inspect_container(id_or_name, None).await
            })
            .await;
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is(NOT_FOUND) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn create(&self, setup: &TaskSetup, body: ContainerCreateBody) -> Result<(), RunError> {
        let options = CreateContainerOptionsBuilder::default().name(&setup.name).build();
        let created = self
            .engine
            .ask(Work::Create, ENGINE_STEP_TIME_MAX, async |client: bollard::Docker| {
                client.create_container(Some(options), body).await
            })
            .await;
        match created {
            Ok(created) => {
                self.known.remember(setup.task, &created.id);
                Ok(())
            }
            Err(error) if error.is(CONFLICT) => match self.find_by_name(setup).await? {
                // Made by an earlier try of ours.
                Some(_) => Ok(()),
                // Just removed: the name is free soon.
                None => Err(RunError::Temporary(error.to_string())),
            },
            Err(error) => Err(error.into()),
        }
    }

    pub async fn start(&self, task: TaskId) -> Result<(), RunError> {
        let Some(found) = self.find(task).await? else {
            return Err(RunError::Fatal("the container was removed before it was started".into()));
        };
        if stage(&found)? != Stage::Created {
            // Started by an earlier try. One that has ended is not started twice: it is another task's turn.
            return Ok(());
        }
        let id = found.id.unwrap_or_default();
        let started = self
            .engine
            .ask(Work::Step, ENGINE_STEP_TIME_MAX, async |client: bollard::Docker| {
                client.start_container(&id, None).await
            })
            .await;
        Ok(started?)
    }

    pub async fn stop(&self, task: TaskId, grace: Option<Duration>) -> Result<(), RunError> {
        let Some(found) = self.find(task).await? else { return Ok(()) };
        if stage(&found)? != Stage::Running {
            return Ok(());
        }
        let (id, grace) = (found.id.unwrap_or_default(), grace.unwrap_or(GRACE_DEFAULT));
        let seconds = i32::try_from(whole_seconds(grace)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let limit = grace.saturating_add(ENGINE_STEP_TIME_MAX);
        let stopped = self
            .engine
            .ask(Work::Stop, limit, async |client: bollard::Docker| {
                client.stop_container(&id, Some(options)).await
            })
            .await;
        unless_gone(stopped)
    }

    /// Sends a signal to the container's first process; nothing where it does not run.
    pub async fn signal(&self, task: TaskId, signal: &str) -> Result<(), RunError> {
        let Some(found) = self.find(task).await? else { return Ok(()) };
        if stage(&found)? != Stage::Running {
            return Ok(());
        }
        let id = found.id.unwrap_or_default();
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let sent = self
            .engine
            .ask(Work::Step, ENGINE_CALL_TIME_MAX, async |client: bollard::Docker| {
                client.kill_container(&id, Some(options)).await
            })
            .await;
        match sent {
            // It has ended meanwhile.
            Err(error) if error.is(CONFLICT) => Ok(()),
            sent => unless_gone(sent),
        }
    }

    pub async fn remove(&self, task: TaskId) -> Result<(), RunError> {
        let ids = match self.known.container(task) {
            Some(id) => vec![id],
            None => {
                let listed = watch::list(&self.engine, self.known.node, Some(task)).await?;
                listed.into_iter().filter_map(|container| container.id).collect()
            }
        };
        for id in ids {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let removed = self
                .engine
                .ask(Work::Step, ENGINE_STEP_TIME_MAX, async |client: bollard::Docker| {
                    client.remove_container(&id, Some(options)).await
                })
                .await;
            match removed {
                // A removal that is under way: done when it is, which the next try sees.
                Err(error) if error.is(CONFLICT) => return Err(RunError::Temporary(error.to_string())),
                removed => unless_gone(removed)?,
            }
        }
        self.known.forget(task);
        Ok(())
    }
}

/// What is not there need not be stopped or removed.
fn unless_gone(outcome: Result<(), EngineError>) -> Result<(), RunError> {
    match outcome {
        Err(error) if error.is(NOT_FOUND) => Ok(()),
        outcome => Ok(outcome?),
    }
}
