//! Rolling replacement: which slots to replace now, when an update has failed, and when it is done.
//!
//! Pure. Serves updates, rollbacks, and moves of tasks from nodes that must not keep them, all under the update rules
//! of the service. What is known of an update is `Service::update`; the rest follows from the tasks (`roll`), so that
//! a new leader goes on where the old one stopped.
//!
//! Not here: missing slots (`replicated`, `global`), ended tasks (`restart`), nodes (`place`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::limits::MOVES_SHARE_PERCENT;
use common::object::policy::{FailureAction, RestartCondition, UpdateConfig, UpdateOrder};
use common::object::ports::PublishMode;
use common::object::service::{UpdateState, UpdateStatus};
use common::object::{Slot, Task, TaskState};

use super::pass::{Beginning, Hold, Item, Pass};
use super::roll::{Marks, Phase, Roll, classify, is_current, is_misplaced};
use super::slot;
use super::up_to_date::{Likeness, Site, compare};

/// The rules that hold now: of the rollback while one is under way, else of the update.
pub(super) fn config(site: &Site) -> UpdateConfig {
    said(site).cloned().unwrap_or_else(UpdateConfig::when_absent)
}

fn said(site: &Site) -> Option<&UpdateConfig> {
    let spec = site.service.spec();
    match is_rolling_back(site) {
        true => spec.rollback.as_ref(),
        false => spec.update.as_ref(),
    }
}

fn is_rolling_back(site: &Site) -> bool {
    site.service.update.as_ref().is_some_and(|update| update.state == UpdateState::RollbackStarted)
}

/// Does what is due: begins an update, replaces slots, ends it.
pub(super) fn advance(pass: &mut Pass, site: &mut Site, roll: &mut Roll, marks: &Marks) {
    begin(pass, site, roll);
    check_deadline(pass, site, roll);
    if pass.whole.contains(&site.service.id) {
        return; // what is to be done has just become something else
    }
    replace_next(pass, site, roll, marks);
    complete(pass, site, roll);
}

fn begin(pass: &mut Pass, site: &mut Site, roll: &Roll) {
    let slots = (roll.outdated.len() + roll.busy.len()) as u64;
    let unknown = site.service.update.as_ref().is_some_and(|update| update.slots == 0);
    if site.is_updating() && !(unknown && slots > 0) {
        return;
    }
    if !site.is_updating() && (site.is_paused() || roll.outdated.is_empty()) {
        return;
    }
    let worked = stood_before(pass, site, roll);
    let (now, begins) = (pass.now, !site.is_updating());
    pass.draft.edit_service(site.service.id, |service| {
        for number in worked {
            if let Some(version) = service.earlier.get_mut(&number) {
                version.worked = true;
            }
        }
        match service.update.as_mut().filter(|_| !begins) {
            // A rollback by hand arrives under way, without knowing what it will take.
            Some(update) => update.slots = slots,
            None => service.update = Some(started(UpdateState::Updating, "update in progress", now, slots)),
        }
    });
    site.refresh(&pass.draft);
}

fn started(state: UpdateState, message: &str, now: common::time::Timestamp, slots: u64) -> UpdateStatus {
    UpdateStatus {
        state,
        started_at: now,
        completed_at: None,
        message: message.into(),
        slots,
        failed: 0,
        progress_at: now,
        rotation: false,
    }
}

/// The earlier specs that most slots still serve with: those worked, and can be gone back to.
fn stood_before(pass: &Pass, site: &Site, roll: &Roll) -> Vec<u64> {
    let service = &site.service;
    let mut serving: BTreeMap<u64, usize> = BTreeMap::new();
    for task in pass.tables().tasks_of_service(service.id).filter(|task| task.is_serving()) {
        *serving.entry(task.spec).or_default() += 1;
    }
    let candidates = service.earlier.values().filter(|version| {
        !version.worked && (serving.contains_key(&version.number) || service.previous == Some(version.number))
    });
    candidates
        .filter(|version| {
            let alike = serving.iter().filter(|(number, _)| {
                let spec = service.spec_at(**number);
                spec.is_some_and(|spec| compare(spec, &version.spec) != Likeness::Different)
            });
            alike.map(|(_, count)| count).sum::<usize>() * 2 > roll.len()
        })
        .map(|version| version.number)
        .collect()
}

/// Replaces slots, as many at a time as the rules allow.
fn replace_next(pass: &mut Pass, site: &mut Site, roll: &mut Roll, marks: &Marks) {
    let width = width(site, roll);
    let cooling = cooling(pass, site, roll);
    let mut tried = BTreeSet::new();
    while let Some((phase, slot)) = next_slot(site, roll).filter(|(_, slot)| tried.insert(*slot)) {
        // One that is midway has its place already.
        if phase != Phase::Midway && roll.in_progress() + cooling >= width {
            break;
        }
        replace(pass, site, slot, marks);
        slot::look(pass, site, slot);
        site.refresh(&pass.draft);
        let class = classify(pass, site, slot, marks);
        roll.put(slot, class);
        if pass.whole.contains(&site.service.id) {
            break;
        }
    }
}

/// What disturbs least goes first; an update that is paused leaves old specs alone.
fn next_slot(site: &Site, roll: &Roll) -> Option<(Phase, Slot)> {
    let outdated = roll.outdated.first().filter(|_| !site.is_paused());
    outdated.into_iter().chain(roll.misplaced.first()).min_by_key(|(phase, _)| *phase).copied()
}

/// Slots in progress at a time.
fn width(site: &Site, roll: &Roll) -> usize {
    match said(site) {
        Some(UpdateConfig { parallelism: 0, .. }) => usize::MAX,
        Some(UpdateConfig { parallelism, .. }) => usize::try_from(*parallelism).unwrap_or(usize::MAX),
        None if site.is_updating() => 1,
        // Somebody waits for the node: faster than one by one, and never all at once.
        None => (roll.len() * MOVES_SHARE_PERCENT).div_ceil(100).max(1),
    }
}

/// Slots that were done less than the delay ago: as many of the next ones have to wait.
fn cooling(pass: &mut Pass, site: &Site, roll: &Roll) -> usize {
    let config = config(site);
    let pause = config.delay.saturating_add(config.healthy_min());
    let begun = match &site.service.update {
        Some(update) if update.state.is_under_way() => update.started_at,
        Some(_) | None => common::time::Timestamp::default(),
    };
    if config.delay == Duration::ZERO || (roll.outdated.is_empty() && roll.misplaced.is_empty()) {
        return 0;
    }
    let recent = |since: &common::time::Timestamp| *since >= begun && since.plus(pause) > pass.now;
    let cooling = roll.settled.iter().rev().take_while(|(since, _)| recent(since));
    let (count, oldest) = cooling.fold((0, None), |(count, _), (since, _)| (count + 1, Some(*since)));
    if let Some(oldest) = oldest {
        pass.wake(oldest.plus(pause), Item::Roll(site.service.id));
    }
    count
}

/// Puts a new task in a slot, and stops those that are there as the order asks.
fn replace(pass: &mut Pass, site: &mut Site, slot: Slot, marks: &Marks) {
    let tasks = pass.slot(site.service.id, slot);
    let wanted: Vec<_> = tasks.iter().filter(|task| task.is_wanted()).collect();
    // After a rollback the one that was to be replaced may still be there.
    let good = wanted.iter().find(|task| {
        let current = is_current(pass, site, task);
        let stands = !task.status.state.is_final() && !pass.seat(task).is_lost();
        stands && current && !is_misplaced(pass, task, marks, current)
    });
    if let Some(good) = good {
        let good = good.id;
        wanted.iter().filter(|task| task.id != good).for_each(|task| pass.stop(task.id));
        return;
    }
    let policy = site.service.spec().task.restart.clone().unwrap_or_default();
    let moves = wanted.first().is_some_and(|task| is_current(pass, site, task) || site.is_paused());
    if moves && policy.condition() == RestartCondition::None {
        wanted.iter().for_each(|task| pass.stop(task.id));
        return;
    }
    let running = wanted.iter().find(|task| task.status.state == TaskState::Running).map(|task| task.id);
    let kept = running.filter(|_| starts_first(site));
    wanted.iter().filter(|task| Some(task.id) != kept).for_each(|task| pass.stop(task.id));
    let alive = tasks.iter().any(|task| pass.is_alive(task));
    let hold = if kept.is_none() && alive { Hold::Predecessor } else { Hold::Nothing };
    let old = wanted.first().filter(|_| site.is_paused()).map(|task| task.spec);
    let spec = old.unwrap_or(site.service.current.number);
    pass.create(site, slot, Beginning { spec, hold, restarts: None });
}

/// A port of the node can be taken once only: there the old task has to go first, whatever was asked.
pub(super) fn starts_first(site: &Site) -> bool {
    let fixed = |spec: &common::object::ServiceSpec| {
        let ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        ports.into_iter().any(|port| port.mode == PublishMode::Host && port.published != 0)
    };
    config(site).order() == UpdateOrder::StartFirst && !fixed(site.service.spec())
}

/// Counts the end of a task against the update it belongs to.
pub(super) fn note_failure(pass: &mut Pass, site: &mut Site, task: &Task) {
    if !site.is_updating() || !is_current(pass, site, task) || pass.life(task) > config(site).monitor() {
        return;
    }
    let now = pass.now;
    pass.draft.edit_service(site.service.id, |service| {
        if let Some(update) = &mut service.update {
            update.failed += 1;
            update.progress_at = update.progress_at.max(now);
        }
    });
    site.refresh(&pass.draft);
    let Some(update) = &site.service.update else { return };
    if config(site).failure_ratio_max.is_exceeded_by(update.failed, update.slots) {
        give_way(pass, site, &format!("failure or early termination of task {}", task.id));
    }
}

/// Nothing done for too long is a failure too.
fn check_deadline(pass: &mut Pass, site: &mut Site, roll: &Roll) {
    let config = config(site);
    let (Some(deadline), Some(update)) = (config.progress_deadline, &site.service.update) else { return };
    let is_waiting = !roll.outdated.is_empty() || !roll.busy.is_empty();
    if !site.is_updating() || !is_waiting || failure_action(site) == FailureAction::Continue {
        return;
    }
    let last_done = roll.settled.last().map(|(since, _)| since.plus(config.healthy_min()));
    let progress = update.progress_at.max(last_done.unwrap_or_default());
    let due = progress.plus(config.delay).plus(deadline);
    if pass.now < due {
        pass.wake(due, Item::Roll(site.service.id));
    } else {
        give_way(pass, site, &format!("no progress for {} s", deadline.as_secs()));
    }
}

/// What is done where the update fails. The value before a rotation is known to be good, so there it is to go back.
fn failure_action(site: &Site) -> FailureAction {
    let update = site.service.update.as_ref();
    match update.is_some_and(|update| update.rotation && update.state == UpdateState::Updating) {
        true => FailureAction::Rollback,
        false => config(site).failure_action(),
    }
}

/// The update has failed: does what the rules say for that.
fn give_way(pass: &mut Pass, site: &mut Site, cause: &str) {
    let (now, rolling_back) = (pass.now, is_rolling_back(site));
    let action = failure_action(site);
    let target = rollback_target(site);
    let text = match (action, rolling_back, target) {
        (FailureAction::Continue, _, _) => return,
        (FailureAction::Pause | FailureAction::Rollback, true, _) => {
            let text = format!("rollback paused due to {cause}");
            stand_still(pass, site, UpdateState::RollbackPaused, &text);
            text
        }
        (FailureAction::Pause, false, _) | (FailureAction::Rollback, false, None) => {
            let text = format!("update paused due to {cause}");
            stand_still(pass, site, UpdateState::Paused, &text);
            text
        }
        (FailureAction::Rollback, false, Some(number)) => {
            let text = format!("update rolled back due to {cause}");
            pass.draft.edit_service(site.service.id, |service| {
                service.return_to(number, now);
                // Going back to what has just failed is nobody's wish.
                service.previous = None;
                service.update = Some(started(UpdateState::RollbackStarted, &text, now, 0));
            });
            text
        }
    };
    site.refresh(&pass.draft);
    pass.because(site.service.id, None, text);
    pass.whole.insert(site.service.id);
}

fn stand_still(pass: &mut Pass, site: &Site, state: UpdateState, message: &str) {
    pass.draft.edit_service(site.service.id, |service| {
        if let Some(update) = &mut service.update {
            update.state = state;
            update.message = message.into();
        }
    });
}

/// The newest spec that worked, or else the one before.
fn rollback_target(site: &Site) -> Option<u64> {
    let service = &site.service;
    let worked = service.earlier.values().rev().find(|version| version.worked);
    let before = || service.previous.filter(|number| service.earlier.contains_key(number));
    worked.map(|version| version.number).or_else(before)
}

/// Ends an update when every slot is known to be well: the last new task has lived as long as tasks are watched.
fn complete(pass: &mut Pass, site: &mut Site, roll: &Roll) {
    let Some(update) = site.service.update.as_ref().filter(|update| update.state.is_under_way()) else {
        return;
    };
    if !roll.outdated.is_empty() || !roll.busy.is_empty() || pass.whole.contains(&site.service.id) {
        return;
    }
    let last = roll.settled.last().map(|(since, _)| *since).filter(|since| *since >= update.started_at);
    let due = last.map_or(pass.now, |since| since.plus(config(site).monitor()));
    if pass.now < due {
        pass.wake(due, Item::Roll(site.service.id));
        return;
    }
    let (now, worked) = (pass.now, roll.spent.is_empty());
    let (state, message) = match is_rolling_back(site) {
        true => (UpdateState::RollbackCompleted, "rollback completed"),
        false => (UpdateState::Completed, "update completed"),
    };
    pass.draft.edit_service(site.service.id, |service| {
        service.current.worked |= worked;
        if let Some(update) = &mut service.update {
            update.state = state;
            update.message = message.into();
            update.completed_at = Some(now);
            update.progress_at = update.progress_at.max(last.unwrap_or_default());
        }
    });
    site.refresh(&pass.draft);
    super::reap::specs(pass, site);
    pass.because(site.service.id, None, message);
}
