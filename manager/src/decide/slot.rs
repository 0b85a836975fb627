//! What one slot of a service needs now, whatever the service's mode: the steps from what was seen to what is wanted.
//!
//! Pure. Costs what the slot holds. Asks for a look at the whole service where one slot alone cannot know.
//!
//! Not here: which slots there should be (`replicated`, `global`, `jobs`), and replacing tasks that still do their
//! work (`update`).

use std::sync::Arc;

use common::limits::PREDECESSOR_WAIT;
use common::object::{ServiceMode, Slot, Task, TaskState};

use super::pass::{Item, Pass, Seat, ended, goal};
use super::restart::{self, Cause};
use super::up_to_date::Site;
use super::{global, jobs, reap, update};

/// Looks at one slot. Looking again without anything new changes nothing.
pub(super) fn look(pass: &mut Pass, site: &mut Site, slot: Slot) {
    give_up(pass, site, slot);
    if site.service.removed {
        for task in pass.slot(site.service.id, slot) {
            pass.forget(task.id);
        }
        reap::slot(pass, site, slot);
        return;
    }
    match (site.mode(), slot) {
        (ServiceMode::Replicated { .. }, _) => {}
        (ServiceMode::Global, Slot::Node(node)) => global::settle(pass, site, node),
        (ServiceMode::ReplicatedJob { .. }, Slot::Number(_)) => jobs::retire(pass, site, slot),
        (ServiceMode::GlobalJob, Slot::Node(node)) => jobs::settle(pass, site, node),
        // A service does not change its mode, so there is no such slot.
        (ServiceMode::Global | ServiceMode::GlobalJob, Slot::Number(_))
        | (ServiceMode::ReplicatedJob { .. }, Slot::Node(_)) => {}
    }
    restart_ended(pass, site, slot);
    hand_over(pass, site, slot);
    release(pass, site, slot);
    reap::slot(pass, site, slot);
    if matches!(site.mode(), ServiceMode::Replicated { .. }) && !fills(pass, site, slot) {
        pass.whole.insert(site.service.id);
    }
}

/// Whether there is nothing to do for tasks like these: the usual case, found out cheaply.
pub(super) fn is_quiet(pass: &Pass, site: &Site, tasks: &[Arc<Task>]) -> bool {
    let [task] = tasks else { return false };
    !site.service.removed
        && task.desired == goal(site)
        && !task.status.state.is_final()
        && task.iteration == site.service.job.map(|job| job.iteration)
        && match pass.seat(task) {
            Seat::There => true,
            Seat::Nowhere => matches!(task.slot, Slot::Number(_)),
            Seat::Removed | Seat::Down | Seat::Draining => false,
        }
}

/// Whether the slot counts as filled: somebody is wanted there, or the last one there ended for good.
pub(super) fn fills(pass: &Pass, site: &mut Site, slot: Slot) -> bool {
    let tasks = pass.slot(site.service.id, slot);
    counts(pass, site, &tasks)
}

/// The same of tasks already at hand, newest first.
pub(super) fn counts(pass: &Pass, site: &mut Site, tasks: &[Arc<Task>]) -> bool {
    if tasks.iter().any(|task| task.is_wanted()) {
        return true;
    }
    let Some(newest) = tasks.first().filter(|task| task.desired == TaskState::Shutdown) else { return false };
    // A rollback starts again what the failed version has ended.
    let rolling_back = site.service.update.as_ref().is_some_and(|update| update.state.is_rollback())
        && site.is_updating()
        && !site.is_up_to_date(newest, None);
    !rolling_back && restart::is_over(site, newest, pass.now)
}

/// A task whose node left the cluster ends here: nobody else will tell.
fn give_up(pass: &mut Pass, site: &Site, slot: Slot) {
    let now = pass.now;
    for task in pass.slot(site.service.id, slot) {
        if pass.seat(&task) == Seat::Removed && !task.status.state.is_final() {
            let state = match task.status.state < TaskState::Assigned {
                true => TaskState::Shutdown,
                false => TaskState::Orphaned,
            };
            pass.draft.edit_task(task.id, |task| ended(task, state, now));
        }
    }
}

fn restart_ended(pass: &mut Pass, site: &mut Site, slot: Slot) {
    let is_job = site.mode().is_job();
    for task in pass.slot(site.service.id, slot) {
        if !task.is_wanted() {
            continue;
        }
        let seat = pass.seat(&task);
        match task.status.state {
            TaskState::Complete if is_job => {}
            TaskState::Orphaned => restart::restart(pass, site, &task, Cause::Lost),
            // Refused before its time: the next one must not be refused at once as well.
            state if state.is_final() && task.start_at > Some(pass.now) => {
                pass.wake(task.start_at.unwrap_or_default(), Item::Slot(task.service, slot));
            }
            state if state.is_final() => restart::restart(pass, site, &task, Cause::Ended),
            _ if seat.is_lost() => restart::restart(pass, site, &task, Cause::Lost),
            // A job has no rules for moving gently: its tasks begin elsewhere at once.
            _ if is_job && seat == Seat::Draining => restart::restart(pass, site, &task, Cause::Lost),
            _ => {}
        }
    }
}

/// Of two that are wanted, the newer one takes over once it has served long enough.
fn hand_over(pass: &mut Pass, site: &Site, slot: Slot) {
    let mut wanted = pass.slot(site.service.id, slot).into_iter().filter(|task| task.is_wanted());
    let (Some(newest), others) = (wanted.next(), wanted.collect::<Vec<_>>()) else { return };
    if others.is_empty() {
        return;
    }
    let ready_at = newest.status.applied_at.plus(update::config(site).healthy_min());
    let takes_over = newest.is_serving() && ready_at <= pass.now;
    if newest.is_serving() && !takes_over {
        pass.wake(ready_at, Item::Slot(site.service.id, slot));
    }
    // Until then the newest of those that run stays, and no other.
    let stays = match takes_over {
        true => None,
        false => others.iter().find(|task| task.status.state == TaskState::Running).map(|task| task.id),
    };
    for other in others {
        if stays != Some(other.id) {
            pass.stop(other.id);
        }
    }
}

/// Lets go of what was held back: its time has come, and what was there before is gone, or was waited for enough.
fn release(pass: &mut Pass, site: &Site, slot: Slot) {
    let tasks = pass.slot(site.service.id, slot);
    let goal = goal(site);
    for task in tasks.iter().filter(|task| task.desired < goal && !task.status.state.is_final()) {
        let start_at = task.start_at.unwrap_or(pass.now);
        let waited_until = start_at.plus(PREDECESSOR_WAIT);
        let blocked =
            tasks.iter().any(|other| other.id != task.id && !other.is_wanted() && pass.is_alive(other));
        if pass.now < start_at {
            pass.wake(start_at, Item::Slot(site.service.id, slot));
        } else if blocked && pass.now < waited_until {
            pass.wake(waited_until, Item::Slot(site.service.id, slot));
        } else {
            pass.draft.edit_task(task.id, |task| {
                task.desired = goal;
                task.start_at = None;
            });
        }
    }
}
