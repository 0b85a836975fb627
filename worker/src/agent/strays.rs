//! Tasks that a runtime has and nobody knows: left by a lost disk, or by a removal that did not come to its end.

use std::sync::Arc;

use common::limits::{LOOK_TIME_MAX, REMOVE_TIME_MAX, STEP_RETRY_MAX, STEP_RETRY_MIN};
use tracing::info;

use super::Shared;
use crate::runtime::Runtime;
use crate::task::slots::begun_within;

/// After each whole set of assignments, removes what is there of tasks that nobody knows.
pub async fn remove(shared: Arc<Shared>, runtime: Arc<dyn Runtime>) {
    let mut whole_sets = shared.whole_sets.subscribe();
    let slots = shared.slots(runtime.kind());
    while whole_sets.changed().await.is_ok() {
        let mut pause = STEP_RETRY_MIN;
        loop {
            let present = tokio::time::timeout(LOOK_TIME_MAX, runtime.present()).await;
            let mut is_done = false;
            if let Ok(Ok(present)) = present {
                is_done = true;
                for task in present {
                    // An id is given once: what nobody knows now, nobody will.
                    if shared.table().entries.contains_key(&task) {
                        continue;
                    }
                    let removing = tokio::time::timeout(REMOVE_TIME_MAX, runtime.remove(task));
                    match begun_within(&slots.stop, removing).await {
                        Ok(Ok(())) => info!(task.id = %task, "removed a task that is not assigned here"),
                        Ok(Err(_)) | Err(_) => is_done = false,
                    }
                }
            }
            if is_done {
                break;
            }
            tokio::time::sleep(shared.uneven(pause)).await;
            pause = (pause * 2).min(STEP_RETRY_MAX);
        }
    }
}
