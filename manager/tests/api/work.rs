//! Services and tasks for the tests: made over the API, and put into the store by hand.

use std::sync::Arc;

use common::object::task::ContainerStatus;
use common::object::{NodeId, Payload, PayloadKind, Service, ServiceId, Slot, Task, TaskId, TaskState};
use manager::store::{Change, Write};
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::fake::{FakeCluster, NOW, id_of};

/// A spec of one image.
pub fn spec(name: &str, image: &str) -> Value {
    json!({"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": image}}})
}

/// Makes a service; its id.
pub async fn created(api: &Api, spec: &Value) -> String {
    let answer = api.post("/v1.41/services/create", &spec.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["ID"].as_str().expect("an id").into()
}

/// Changes a service's spec at its present version.
pub async fn update(api: &Api, name: &str, query: &str, change: impl FnOnce(&mut Value)) -> Answer {
    let service = api.get(&format!("/services/{name}")).await.json();
    let mut spec = service["Spec"].clone();
    change(&mut spec);
    let target = format!("/v1.41/services/{name}/update?version={}{query}", service["Version"]["Index"]);
    api.post(&target, &spec.to_string()).await
}

pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

impl FakeCluster {
    pub fn service(&self, name: &str) -> Arc<Service> {
        self.store.snapshot().service_by_name(name).expect("a service of that name").clone()
    }

    /// The secret of that name, else the config.
    pub fn payload(&self, name: &str) -> Arc<Payload> {
        let tables = self.store.snapshot();
        let found = [PayloadKind::Secret, PayloadKind::Config]
            .into_iter()
            .find_map(|kind| tables.payload_by_name(kind, name));
        found.expect("a secret or config of that name").clone()
    }

    pub fn service_by_id(&self, id: &str) -> Option<Arc<Service>> {
        self.store.snapshot().services.get(id.parse::<ServiceId>().expect("an id")).cloned()
    }

    /// A task as a leader and a worker would have made it. `number` makes its id.
    pub fn task(&self, service: &str, number: u8, slot: Slot, node: Option<u8>, state: TaskState) -> Task {
        let service = self.service(service);
        let mut task = Task::new(
            TaskId(id_of(number)),
            service.id,
            slot,
            service.current.number,
            if service.job.is_some() { TaskState::Complete } else { TaskState::Running },
        );
        task.node = node.map(|node| NodeId(id_of(node)));
        task.status.state = state;
        task.status.at = NOW;
        task.status.ready = state == TaskState::Running;
        task.iteration = service.job.as_ref().map(|job| job.iteration);
        if state >= TaskState::Starting {
            let id = format!("container{number}");
            task.status.container = Some(Box::new(ContainerStatus { id, pid: 42, exit_code: None }));
        }
        self.apply(vec![Change::Task(Write::Create(task.clone()))]).expect("a new task");
        task
    }

    pub fn change_task(&self, id: TaskId, change: impl FnOnce(&mut Task)) {
        let mut task = Task::clone(self.store.snapshot().tasks.get(id).expect("a task"));
        change(&mut task);
        self.apply(vec![Change::Task(Write::update(task))]).expect("read just now");
    }

    pub fn change_service(&self, name: &str, change: impl FnOnce(&mut Service)) {
        let mut service = Service::clone(&self.service(name));
        change(&mut service);
        self.apply(vec![Change::Service(Write::update(service))]).expect("read just now");
    }
}
