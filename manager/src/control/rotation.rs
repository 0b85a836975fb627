//! Carries out what `decide::rotate_root` asks for. Each step is one write of the cluster object.

use common::object::Cluster;
use common::random::SystemRandom;
use common::report::Report;
use tracing::{debug, info};

use crate::ca::rotate::finish;
use crate::decide::rotate_root::{RotationStep, decide_rotation};
use crate::forward::Forward;
use crate::store::{Change, Write};

/// One look at the roots. True when something could not be written.
pub async fn look(forward: &Forward) -> bool {
    let tables = forward.store.snapshot();
    let now = forward.clock.now().max(tables.newest);
    let decision = decide_rotation(&tables, now);
    let (Some(step), Some(cluster)) = (decision.step, tables.cluster()) else { return false };
    let mut cluster = Cluster::clone(cluster);
    let authority = &mut cluster.authority;
    match &step {
        RotationStep::Ask(nodes) => {
            if let Some(rotation) = &mut authority.rotation {
                rotation.asked.extend(nodes);
            }
        }
        RotationStep::Finish { missing } => {
            if let Some(next) = finish(authority, *missing, now, &mut SystemRandom) {
                *authority = next;
            }
        }
        RotationStep::DropIntermediates => authority.intermediates.clear(),
    }
    match forward.propose(vec![Change::Cluster(Write::update(cluster))]).await {
        Ok(_) => {
            match step {
                RotationStep::Ask(nodes) => {
                    let left = decision.waiting_for.len();
                    info!(nodes = nodes.len(), left, "told to get certificates of the new root");
                }
                RotationStep::Finish { missing } => info!(missing, "the new root has taken over"),
                RotationStep::DropIntermediates => info!("earlier roots are forgotten"),
            }
            false
        }
        Err(error) => {
            debug!(error = %Report(&error), "step of the root's rotation not written");
            true
        }
    }
}
