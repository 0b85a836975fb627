//! Who waits for a change of a container, and the one stream of the engine's events that wakes them.
//!
//! An event only says which task to look at again. After the stream broke everybody looks again, and a survey of
//! all containers now and then finds what no event told: a lost event costs time and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::models::{ContainerSummary, EventMessage};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use common::limits::{
    ENGINE_CALL_TIME_MAX, ENGINE_EVENTS_OVERLAP, ENGINE_RETRY_MAX, ENGINE_RETRY_MIN, ENGINE_SURVEY_PERIOD,
};
use common::object::{NodeId, TaskId};
use common::time::{Clock, Monotonic, SystemClock};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::engine::{Engine, EngineError, Work};
use super::names;

/// What may change how a task is seen. Not here: what health checks do, which come every few seconds for each.
const ACTIONS: [&str; 10] =
    ["create", "start", "die", "oom", "health_status", "pause", "unpause", "restart", "rename", "destroy"];

/// What is known of this node's containers, all of it to be had from the engine again.
pub struct Known {
    pub node: NodeId,
    containers: Mutex<HashMap<TaskId, String>>,
    waiters: Mutex<HashMap<TaskId, watch::Sender<()>>>,
}

impl Known {
    pub fn of(node: NodeId) -> Self {
        Self { node, containers: Mutex::default(), waiters: Mutex::default() }
    }

    /// The id of a task's container, as last seen.
    pub fn container(&self, task: TaskId) -> Option<String> {
        self.containers.lock().expect("no holder panics").get(&task).cloned()
    }

    pub fn remember(&self, task: TaskId, container: &str) {
        self.containers.lock().expect("no holder panics").insert(task, container.into());
    }

    pub fn forget(&self, task: TaskId) {
        self.containers.lock().expect("no holder panics").remove(&task);
    }

    /// Marks the moment from which on changes of the task are told.
    pub fn waiter(self: &Arc<Self>, task: TaskId) -> Waiter {
        let mut waiters = self.waiters.lock().expect("no holder panics");
        let told = waiters.entry(task).or_default().subscribe();
        Waiter { known: self.clone(), task, told: Some(told) }
    }

    fn wake(&self, task: TaskId) {
        if let Some(waiters) = self.waiters.lock().expect("no holder panics").get(&task) {
            waiters.send_replace(());
        }
    }

    fn wake_all(&self) {
        for waiters in self.waiters.lock().expect("no holder panics").values() {
            waiters.send_replace(());
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.waiters.lock().expect("no holder panics").len()
    }
}

/// Costs a few words of memory while it waits: no connection, no thread, no timer.
pub struct Waiter {
    known: Arc<Known>,
    task: TaskId,
    told: Option<watch::Receiver<()>>,
}

impl Waiter {
    /// Until something happened to the task since the last time, or may have.
    pub async fn changed(&mut self) {
        let told = self.told.as_mut().expect("only drop takes it");
        if told.changed().await.is_err() {
            // Its sender is kept while it is here.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.known.waiters.lock().expect("no holder panics");
        self.told = None;
        if waiters.get(&self.task).is_some_and(|sender| sender.receiver_count() == 0) {
            waiters.remove(&self.task);
        }
    }
}

/// Follows the engine for as long as the node runs.
pub async fn follow(engine: Arc<Engine>, known: Arc<Known>) {
    let mut pause = ENGINE_RETRY_MIN;
    let mut last = Lasting { heard: None, survey: HashMap::new() };
    loop {
        let begun = SystemClock.monotonic();
        let error = match engine.client().await {
            Ok(client) => follow_events(&engine, client, &known, &mut last).await,
            Err(error) => error,
        };
        engine.forget();
        let lasted = SystemClock.monotonic().since(begun);
        if lasted > ENGINE_RETRY_MAX {
            pause = ENGINE_RETRY_MIN;
        }
        if pause == ENGINE_RETRY_MIN {
            warn!(socket = engine.socket(), %error, "docker engine was lost");
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(ENGINE_RETRY_MAX);
    }
}

/// What is kept from one stream of events to the next.
struct Lasting {
    /// When the engine was last known to be heard.
    heard: Option<Monotonic>,
    survey: HashMap<TaskId, String>,
}

async fn follow_events(
    engine: &Engine,
    client: bollard::Docker,
    known: &Known,
    last: &mut Lasting,
) -> EngineError {
    // The engine keeps its latest events: those of the time between streams are asked for with the new one. It is
    // on this machine and reads the same clock.
    let now = SystemClock.monotonic();
    let missed = last.heard.map_or(Duration::ZERO, |heard| now.since(heard)) + ENGINE_EVENTS_OVERLAP;
    last.heard = Some(now);
    let since = Duration::from_nanos(SystemClock.now().0).saturating_sub(missed).as_secs().to_string();
    let mut filters = names::filter(known.node, None);
    filters.insert("type".into(), vec!["container".into()]);
    filters.insert("event".into(), ACTIONS.map(String::from).into());
    let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
    let mut events = client.events(Some(options));
    info!(socket = engine.socket(), api = %client.client_version(), "docker engine is followed");
    known.wake_all();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => note(known, &event),
                Some(Err(error)) => return error.into(),
                None => return EngineError::Away("ended its stream of events".into()),
            },
            () = sleep(ENGINE_SURVEY_PERIOD) => match list(engine, known.node, None).await {
                Ok(found) => compare(known, &mut last.survey, &found),
                Err(error) => warn!(%error, "containers were not surveyed"),
            },
        }
        last.heard = Some(SystemClock.monotonic());
    }
}

fn note(known: &Known, event: &EventMessage) {
    let labels = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
    let Some(task) = names::owner(labels, known.node) else { return };
    if event.action.as_deref() == Some("destroy") {
        known.forget(task);
    }
    known.wake(task);
}

/// Wakes those whose container is not as it was at the last survey.
fn compare(known: &Known, before: &mut HashMap<TaskId, String>, found: &[ContainerSummary]) {
    let now: HashMap<TaskId, String> = found
        .iter()
        .filter_map(|container| {
            Some((names::owner(container.labels.as_ref(), known.node)?, outline(container)))
        })
        .collect();
    let gone = before.keys().filter(|task| !now.contains_key(task));
    let other = now.iter().filter(|(task, outline)| before.get(task) != Some(outline)).map(|(task, _)| task);
    for task in gone.chain(other) {
        known.wake(*task);
    }
    *before = now;
}

/// Id, state and health; not the time since, which always differs.
fn outline(container: &ContainerSummary) -> String {
    let status = container.status.as_deref().unwrap_or_default();
    let health =
        status.strip_suffix(')').and_then(|status| status.rsplit_once('(')).map_or("", |(_, health)| health);
    format!("{:?} {:?} {health}", container.id, container.state)
}

/// Containers of this node: of one task, or all.
pub async fn list(
    engine: &Engine,
    node: NodeId,
    task: Option<TaskId>,
) -> Result<Vec<ContainerSummary>, EngineError> {
    let filters = names::filter(node, task);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    engine
        .ask(Work::Look, ENGINE_CALL_TIME_MAX, async |client: bollard::Docker| {
            client.list_containers(Some(options)).await
        })
        .await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const NODE: NodeId = NodeId(1);

    fn labels(task: u128, node: NodeId) -> serde_json::Value {
        serde_json::json!({
            "com.docker.swarm.task.id": TaskId(task).to_string(),
            "com.docker.swarm.node.id": node.to_string(),
        })
    }

    fn event(action: &str, task: u128, node: NodeId) -> EventMessage {
        let actor = serde_json::json!({"ID": "c", "Attributes": labels(task, node)});
        serde_json::from_value(serde_json::json!({"Type": "container", "Action": action, "Actor": actor}))
            .unwrap()
    }

    #[test]
    fn an_event_wakes_its_task_and_no_other() {
        let known = Arc::new(Known::of(NODE));
        let mut waiters = [1, 2].map(|task| known.waiter(TaskId(task)));
        let mut woken = || [0, 1].map(|index| waiters[index].changed().now_or_never().is_some());
        note(&known, &event("die", 1, NodeId(9)));
        note(&known, &EventMessage::default());
        assert_eq!(woken(), [false, false]);
        note(&known, &event("die", 1, NODE));
        assert_eq!(woken(), [true, false]);
        assert_eq!(woken(), [false, false]);
        known.wake_all();
        assert_eq!(woken(), [true, true]);
        drop(waiters);
        assert_eq!(known.waiting(), 0);
    }

    #[test]
    fn a_container_that_is_gone_is_forgotten() {
        let known = Arc::new(Known::of(NODE));
        known.remember(TaskId(1), "c");
        note(&known, &event("die", 1, NODE));
        assert_eq!(known.container(TaskId(1)).as_deref(), Some("c"));
        note(&known, &event("destroy", 1, NODE));
        assert_eq!(known.container(TaskId(1)), None);
    }

    #[test]
    fn a_survey_wakes_what_no_event_told() {
        let known = Arc::new(Known::of(NODE));
        let container = |task: u128, state: &str, status: &str| -> ContainerSummary {
            let json = serde_json::json!({"Id": "c", "State": state, "Status": status, "Labels": labels(task, NODE)});
            serde_json::from_value(json).unwrap()
        };
        let mut survey = HashMap::new();
        let first = [
            container(1, "running", "Up 1 second"),
            container(2, "running", "Up 1 second (health: starting)"),
        ];
        compare(&known, &mut survey, &first);
        #[rustfmt::skip]
        let cases = [ // what is found next, who is woken
            (vec![container(1, "running", "Up 2 seconds"), container(2, "running", "Up 2 seconds (health: starting)")], [false, false]),
            (vec![container(1, "running", "Up 3 seconds"), container(2, "running", "Up 3 seconds (healthy)")], [false, true]),
            (vec![container(1, "exited", "Exited (0) 1 second ago"), container(2, "running", "Up 4 seconds (healthy)")], [true, false]),
            (vec![container(1, "exited", "Exited (0) 2 seconds ago")], [false, true]),
        ];
        for (found, wanted) in cases {
            let mut waiters = [1, 2].map(|task| known.waiter(TaskId(task)));
            compare(&known, &mut survey, &found);
            let woken = [0, 1].map(|index| waiters[index].changed().now_or_never().is_some());
            assert_eq!(woken, wanted, "{found:?}");
        }
    }
}
