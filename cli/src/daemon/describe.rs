//! What this node tells the cluster of itself: the machine, and the Docker Engine when there is one.

use std::path::PathBuf;
use std::sync::Arc;

use common::identity::NodeIdentity;
use common::object::NodeDescription;
use common::object::node::EngineDescription;
use manager::api::describe_engine;
use worker::describe::{Given, describe};

/// Cheap to clone; asks the engine each time, because engines come and go.
#[derive(Clone)]
pub struct Describer {
    /// Instead of the machine's own name.
    pub name: Option<String>,
    pub engine: Option<Arc<PathBuf>>,
}

impl Describer {
    pub async fn describe(&self, identity: &NodeIdentity) -> NodeDescription {
        let engine = match &self.engine {
            Some(socket) => describe_engine(socket).await,
            None => None,
        };
        let runtimes = if engine.is_some() { vec!["docker".to_string()] } else { Vec::new() };
        let engine = engine.unwrap_or_else(|| EngineDescription {
            version: env!("CARGO_PKG_VERSION").into(),
            ..EngineDescription::default()
        });
        describe(Given { hostname: self.name.clone(), engine, tls: identity.tls_info(), runtimes })
    }

    pub fn hostname(&self) -> String {
        self.name.clone().unwrap_or_else(worker::describe::hostname)
    }
}
