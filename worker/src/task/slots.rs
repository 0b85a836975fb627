//! How many steps run at a time on one runtime: enough to keep the engine busy, too few to drown it.

use common::limits::{
    LOOK_PARALLEL_MAX, PREPARE_PARALLEL_MAX, START_PARALLEL_MAX, STEP_SLOT_TIME_MAX, STOP_PARALLEL_MAX,
};
use tokio::sync::Semaphore;

/// First come, first served.
#[derive(Debug)]
pub struct Slots {
    pub look: Semaphore,
    pub prepare: Semaphore,
    /// Also of preparing, for its first moment.
    pub start: Semaphore,
    pub stop: Semaphore,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            look: Semaphore::new(LOOK_PARALLEL_MAX),
            prepare: Semaphore::new(PREPARE_PARALLEL_MAX),
            start: Semaphore::new(START_PARALLEL_MAX),
            stop: Semaphore::new(STOP_PARALLEL_MAX),
        }
    }
}

/// Does `work` in a slot, which it keeps.
pub async fn within<T>(slots: &Semaphore, work: impl Future<Output = T>) -> T {
    let _slot = slots.acquire().await.expect("slots are never closed");
    work.await
}

/// Does `work` in a slot that is given back after a while: what takes long waits for a registry or for the task
/// itself, and not for this machine.
pub async fn begun_within<T>(slots: &Semaphore, work: impl Future<Output = T>) -> T {
    let slot = slots.acquire().await.expect("slots are never closed");
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout(STEP_SLOT_TIME_MAX, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            drop(slot);
            work.await
        }
    }
}
