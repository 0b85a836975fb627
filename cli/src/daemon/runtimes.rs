//! Which runtimes this node has.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use common::object::NodeId;
use common::object::service::RuntimeKind;
use common::shutdown::Tasks;
use worker::runtime::Runtime;
use worker::runtime::docker::{Docker, DockerSettings, prefers_offline};
use worker::runtime::fake::FakeRuntime;
use worker::runtime::process::ProcessRuntime;

use super::running::Setup;

/// What a node offers unless it is told otherwise: containers where there is an engine, and processes.
pub fn offered(asked: &[RuntimeKind], has_engine: bool) -> Vec<RuntimeKind> {
    match (asked, has_engine) {
        ([], true) => vec![RuntimeKind::Container, RuntimeKind::Process],
        ([], false) => vec![RuntimeKind::Process],
        (asked, _) => asked.to_vec(),
    }
}

/// Makes them. A container engine need not be there yet: it may come and go.
pub fn make(
    setup: &Setup,
    node: NodeId,
    tasks: &Tasks,
) -> anyhow::Result<BTreeMap<RuntimeKind, Arc<dyn Runtime>>> {
    let mut runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>> = BTreeMap::new();
    for kind in &setup.runtimes {
        let runtime: Arc<dyn Runtime> = match kind {
            RuntimeKind::Container => {
                let Some(socket) = &setup.describer.engine else { continue };
                let settings = DockerSettings {
                    socket: socket.as_ref().clone(),
                    node,
                    prefer_offline: prefers_offline(),
                    files: setup.files.clone(),
                    names: Arc::default(),
                };
                Arc::new(Docker::new(settings, tasks))
            }
            RuntimeKind::Process => {
                let folder = setup.folder.processes_folder();
                let runtime =
                    ProcessRuntime::open(folder, setup.files.clone(), tasks.child(), setup.clock.clone());
                Arc::new(runtime.context("take up the processes of this node")?)
            }
            RuntimeKind::Fake => Arc::new(FakeRuntime::new(setup.clock.clone())),
        };
        runtimes.insert(*kind, runtime);
    }
    Ok(runtimes)
}

#[cfg(test)]
mod tests {
    use super::RuntimeKind::*;
    use super::*;

    #[test]
    fn containers_where_there_is_an_engine_and_processes_everywhere() {
        #[rustfmt::skip]
        let cases: [(&[RuntimeKind], bool, &[RuntimeKind]); 4] = [ // asked for, engine, offered
            (&[],        true,  &[Container, Process]),
            (&[],        false, &[Process]),
            (&[Fake],    true,  &[Fake]),
            (&[Process], true,  &[Process]),
        ];
        for (asked, has_engine, expected) in cases {
            assert_eq!(offered(asked, has_engine), expected, "{asked:?} {has_engine}");
        }
    }
}
