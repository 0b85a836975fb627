//! What this node tells the cluster of itself: the machine, and the Docker Engine when there is one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use common::identity::NodeIdentity;
use common::object::NodeDescription;
use common::object::node::EngineDescription;
use common::object::resources::GenericStock;
use common::object::service::RuntimeKind;
use manager::api::describe_engine;
use worker::describe::{Given, describe};

/// Cheap to clone; asks the engine each time, because engines come and go.
#[derive(Clone)]
pub struct Describer {
    /// Instead of the machine's own name.
    pub name: Option<String>,
    pub engine: Option<Arc<PathBuf>>,
    /// What runs tasks here; containers only while the engine answers.
    pub runtimes: Vec<RuntimeKind>,
    /// Beside the engine's own.
    pub labels: BTreeMap<String, String>,
    /// What tasks may reserve here beside processor and memory.
    pub generic: BTreeMap<String, GenericStock>,
}

impl Describer {
    pub async fn describe(&self, identity: &NodeIdentity) -> NodeDescription {
        let engine = match &self.engine {
            Some(socket) => describe_engine(socket).await,
            None => None,
        };
        let here = |kind: &&RuntimeKind| **kind != RuntimeKind::Container || engine.is_some();
        let runtimes = self.runtimes.iter().filter(here).map(|kind| kind.offered_as().into()).collect();
        let mut engine = engine.unwrap_or_else(|| EngineDescription {
            version: env!("CARGO_PKG_VERSION").into(),
            ..EngineDescription::default()
        });
        engine.labels.extend(self.labels.clone());
        describe(Given {
            hostname: self.name.clone(),
            engine,
            tls: identity.tls_info(),
            runtimes,
            generic: self.generic.clone(),
        })
    }

    pub fn hostname(&self) -> String {
        self.name.clone().unwrap_or_else(worker::describe::hostname)
    }
}
