//! Which node a task goes to.
//!
//! Pure. The `Board` is what placing has to know beside the tables: derived from them, kept up with them by
//! `sync_*`, made anew by a new leader. `place` looks at what is new or may have become possible, and at nothing else.
//!
//! - `needs`: what a task asks of a node. `nodes`: what each node has left. `groups`: what waits.
//! - `filter`: may it. `rank`: how good is it. `index`: both for all nodes, kept. `spread`: over labels.
//! - `explain`: why not, in words. `fits`: which tasks have to leave a node that has changed.
//!
//! Not here: how many tasks there are to be (`replicated`, `global`), and when one is replaced (`restart`, `update`).

pub mod board;
mod explain;
pub mod filter;
mod fits;
mod groups;
mod ids;
mod index;
mod needs;
mod nodes;
mod rank;
mod spread;
mod turn;

use common::object::resources::GenericGrant;
use common::object::{NodeId, TaskId};
use common::time::Timestamp;

pub use board::Board;
pub use explain::explain;
pub use filter::{Filter, Refusal};
pub use fits::{fits, misfits};

use crate::store::Tables;

/// What one pass of placing came to. Nothing in it depends on time alone, so it names no time to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    pub assigned: Vec<Assigned>,
    /// Tasks that wait, and why, in the words of `TaskStatus::error`; only those whose stored error says otherwise.
    pub waiting: Vec<(TaskId, Box<str>)>,
}

/// A task that is to be `Assigned` to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub task: TaskId,
    pub node: NodeId,
    /// What `Task::granted` becomes.
    pub granted: Option<Box<[GenericGrant]>>,
}

/// Places what waits and may go somewhere. What is placed is counted on the board at once: where the proposal
/// fails, `sync_task` of its tasks puts that right.
///
/// Tasks made for one node come first, then the others by service and spec, within those by slot.
pub fn place(tables: &Tables, board: &mut Board, now: Timestamp) -> Placed {
    let mut placed = Placed::default();
    if board.is_quiet() {
        return placed;
    }
    board.nodes.settle();
    board.failures.sweep(now);
    board.look_at_nodes();
    board.place_pinned(tables, &mut placed);
    let mut due = std::mem::take(&mut board.due);
    due.sort_unstable();
    for (key, group) in due {
        if board.is_due(key, group) {
            board.place_group(group, tables, now, &mut placed);
        }
    }
    board.seen = board.nodes.seen();
    placed
}

#[cfg(test)]
mod tests;
