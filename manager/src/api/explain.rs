//! `/swarm/x/services/{name}/explain`: where one more task of a service could go, and why others wait.

use common::engine_api::service::{Explanation, NodeVerdict, WaitingTask};
use common::object::service::UpdateState;
use common::object::{Service, Task, TaskState};

use super::exchange::{self, Answer, Call};
use super::lookup;
use super::route::Edge;
use super::view::View;
use crate::decide::place;
use crate::store::Tables;

pub(super) async fn explain(edge: &Edge, call: &Call, name: &str) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    let service = lookup::service(&view.tables, name)?;
    Ok(view.mark(exchange::json(&explanation(&view.tables, &service))?))
}

fn explanation(tables: &Tables, service: &Service) -> Explanation {
    let verdicts = place::explain(tables, None, service, service.current.number);
    let nodes = verdicts.into_iter().map(|(id, refusal)| {
        let node = tables.nodes.get(id);
        let description = node.and_then(|node| node.description.as_ref());
        let here = |task: &&std::sync::Arc<Task>| task.node == Some(id) && task.is_wanted();
        NodeVerdict {
            node_id: id.to_string(),
            hostname: description.map(|description| description.hostname.clone()).unwrap_or_default(),
            suitable: refusal.is_none(),
            tasks: tables.tasks_of_service(service.id).filter(here).count() as u64,
            reasons: refusal.into_iter().map(|refusal| refusal.to_string()).collect(),
        }
    });
    let waiting = tables.tasks_of_service(service.id).filter(|task| is_waiting(task)).map(|task| {
        let status = &task.status;
        let known = if status.error.is_empty() { &status.message } else { &status.error };
        let reason = if known.is_empty() { status.state.default_message() } else { known };
        WaitingTask {
            id: task.id.to_string(),
            slot: task.slot.number(),
            state: status.state.to_string(),
            reason: reason.into(),
        }
    });
    Explanation { nodes: nodes.collect(), waiting: waiting.collect(), summary: summary(service) }
}

/// Wanted to run, and not there yet.
fn is_waiting(task: &Task) -> bool {
    task.is_wanted() && task.status.state < TaskState::Running
}

fn summary(service: &Service) -> Vec<String> {
    let Some(update) = &service.update else { return Vec::new() };
    let what = match update.state {
        UpdateState::Updating => "an update goes on",
        UpdateState::Paused => "an update is paused: nothing is replaced until the service is updated again",
        UpdateState::Completed => "the last update is complete",
        UpdateState::RollbackStarted => "a rollback goes on",
        UpdateState::RollbackPaused => {
            "a rollback is paused: nothing is replaced until the service is updated again"
        }
        UpdateState::RollbackCompleted => "the last update was rolled back",
    };
    vec![if update.message.is_empty() { what.into() } else { format!("{what} ({})", update.message) }]
}
