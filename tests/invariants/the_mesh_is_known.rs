//! Once all is quiet, every node knows every published service and the tasks that serve it: a connection through any
//! node finds any task, and none that has ended.

use std::collections::BTreeSet;

use common::object::ports::PublishMode;
use common::object::{NodeId, ServiceId, TaskId};
use manager::store::Tables;
use worker::mesh::table::Table;

type Names = BTreeSet<(ServiceId, Option<TaskId>)>;

/// Holds at the end.
pub fn check(tables: &Tables, node: NodeId, known: &Table) -> Result<(), String> {
    let of_service = |service: ServiceId, tasks: Vec<TaskId>| {
        [(service, None)].into_iter().chain(tasks.into_iter().map(move |task| (service, Some(task))))
    };
    let published = tables.services.iter().filter(|service| {
        !service.removed && service.ports.iter().any(|port| port.mode == PublishMode::Ingress)
    });
    let expected: Names = published
        .flat_map(|service| {
            let tasks = tables.tasks_of_service(service.id);
            let serving = tasks.filter(|task| task.is_serving() && task.is_wanted());
            of_service(service.id, serving.map(|task| task.id).collect())
        })
        .collect();
    let known: Names = known
        .services()
        .flat_map(|known| {
            let serving = known.endpoints.iter().filter(|endpoint| !endpoint.leaving);
            of_service(known.service.id, serving.map(|endpoint| endpoint.task).collect())
        })
        .collect();
    if known == expected {
        return Ok(());
    }
    let (more, less): (Vec<_>, Vec<_>) =
        (known.difference(&expected).collect(), expected.difference(&known).collect());
    Err(format!("the mesh of node {node} has {more:?} too much, and {less:?} too little"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::ports::Port;
    use common::object::{Service, ServiceSpec};
    use manager::store::{Change, Proposal, Store, Write};

    #[test]
    fn a_service_that_a_node_has_not_heard_of_is_noticed() {
        let store = Store::new();
        let mut service = Service::new(ServiceId(1), ServiceSpec::default(), Default::default());
        service.ports = vec![Port { target: 80, published: 8080, ..Port::default() }];
        let changes = vec![Change::Service(Write::Create(service))];
        store.apply(1, &Proposal { id: 1, at: Default::default(), changes }).unwrap();
        let nothing = Table::default();
        assert!(check(&store.snapshot(), NodeId(1), &nothing).unwrap_err().contains("too little"));
        assert!(check(&Store::new().snapshot(), NodeId(1), &nothing).is_ok());
    }
}
