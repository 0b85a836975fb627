//! Which tasks of this node take connections, and how many each has: one that is to stop gets no new ones, and is
//! stopped when those it has are done or its time is up.
//!
//! Who connects passes the gate before it dials, so that nobody is between the two when the gate is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::limits::{MESH_QUIET_MIN, MESH_QUIET_SHARE};
use common::object::TaskId;
use tokio::sync::watch;
use tokio::time::Instant;

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Gates(Arc<Mutex<BTreeMap<TaskId, watch::Sender<Gate>>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    /// Connections it has.
    open: usize,
    /// Closed, and the task is stopped at that time.
    ends: Option<Instant>,
}

/// One connection to a task, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    gates: Gates,
    task: TaskId,
    gate: watch::Receiver<Gate>,
}

impl Gates {
    /// None where the task takes no more.
    pub fn enter(&self, task: TaskId) -> Option<Pass> {
        let mut gates = self.lock();
        let gate = gates.entry(task).or_default();
        if gate.borrow().ends.is_some() {
            return None;
        }
        gate.send_modify(|gate| gate.open += 1);
        Some(Pass { gates: self.clone(), task, gate: gate.subscribe() })
    }

    /// From here on nobody enters; those inside have so much time. The first word on that holds.
    pub fn close(&self, task: TaskId, time: Duration) {
        let ends = Instant::now() + time;
        self.lock()
            .entry(task)
            .or_default()
            .send_if_modified(|gate| gate.ends.replace(gate.ends.unwrap_or(ends)).is_none());
    }

    /// Closes the gate, and returns when nobody is inside or the time is up; says how many are.
    pub async fn drain(&self, task: TaskId, time: Duration) -> usize {
        self.close(task, time);
        let Some(mut gate) = self.lock().get(&task).map(watch::Sender::subscribe) else { return 0 };
        let ends = gate.borrow().ends.unwrap_or_else(Instant::now);
        let empty = gate.wait_for(|gate| gate.open == 0);
        match tokio::time::timeout_at(ends, empty).await {
            Ok(_) => 0,
            Err(_) => self.open(task),
        }
    }

    /// The task is gone, and its id comes never again.
    pub fn forget(&self, task: TaskId) {
        self.lock().remove(&task);
    }

    /// The connections a task has.
    pub fn open(&self, task: TaskId) -> usize {
        self.lock().get(&task).map_or(0, |gate| gate.borrow().open)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, watch::Sender<Gate>>> {
        self.0.lock().expect("no holder panics")
    }
}

impl Pass {
    /// Returns when the gate is closed, with the time at which the task is stopped.
    pub async fn closed(&self) -> Instant {
        let mut gate = self.gate.clone();
        match gate.wait_for(|gate| gate.ends.is_some()).await.map(|gate| gate.ends) {
            Ok(Some(ends)) => ends,
            Ok(None) | Err(_) => Instant::now(), // the task is gone
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut gates = self.gates.lock();
        let Some(gate) = gates.get(&self.task) else { return };
        gate.send_modify(|gate| gate.open = gate.open.saturating_sub(1));
        let left = *gate.borrow();
        // A closed one stays, so that nobody enters.
        if left.open == 0 && left.ends.is_none() {
            gates.remove(&self.task);
        }
    }
}

/// How long a connection has to be silent after the task's last word to count as done, with so much time left. The
/// nearer the end, the shorter: what is not closed by then is cut by the stop, which may be in the middle of an answer.
pub fn quiet_time(left: Duration) -> Duration {
    (left / MESH_QUIET_SHARE).max(MESH_QUIET_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_lets_nobody_in_and_waits_for_those_inside() {
        let gates = Gates::default();
        let (first, second) = (gates.enter(TASK).unwrap(), gates.enter(TASK).unwrap());
        assert_eq!(gates.open(TASK), 2);
        drop(second);
        gates.close(TASK, 10 * SECOND);
        assert!(gates.enter(TASK).is_none());
        assert!(gates.enter(TaskId(2)).is_some(), "others are not concerned");
        let started = Instant::now();
        let leave = async {
            let ends = first.closed().await;
            assert_eq!(ends - started, 10 * SECOND);
            tokio::time::sleep(3 * SECOND).await;
            drop(first);
        };
        let (open, ()) = tokio::join!(gates.drain(TASK, 99 * SECOND), leave);
        assert_eq!((open, started.elapsed()), (0, 3 * SECOND));
        assert!(gates.enter(TASK).is_none(), "it stays closed");
        gates.forget(TASK);
        assert!(gates.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_longer_than_the_time_there_is() {
        let gates = Gates::default();
        let _stays = gates.enter(TASK).unwrap();
        let started = Instant::now();
        assert_eq!(gates.drain(TASK, 2 * SECOND).await, 1);
        assert_eq!(started.elapsed(), 2 * SECOND);
        // A task without connections waits for nothing.
        assert_eq!(gates.drain(TaskId(2), SECOND).await, 0);
        assert_eq!(started.elapsed(), 2 * SECOND);
    }

    #[test]
    fn the_nearer_the_end_the_shorter_a_silence_is_enough() {
        assert_eq!(quiet_time(8 * SECOND), SECOND);
        assert_eq!(quiet_time(Duration::ZERO), MESH_QUIET_MIN);
    }
}
