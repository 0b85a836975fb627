//! A real Docker SDK on our socket: the calls for services and tasks.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
};
use bollard::query_parameters::{
    InspectServiceOptionsBuilder, ListServicesOptionsBuilder, ListTasksOptionsBuilder, LogsOptionsBuilder,
    UpdateServiceOptionsBuilder,
};
use common::object::{Slot, TaskId, TaskState};
use common::wire::frame::write_message;
use common::wire::logs::{LogLine, LogMessage, LogStream};
use futures_util::StreamExt;

use crate::client::Api;
use crate::fake::{FakeCluster, FakeHost, NOW, id_of};

fn sdk(api: &Api) -> Docker {
    let socket = api.socket();
    Docker::connect_with_unix(socket.to_str().expect("text"), 60, bollard::API_DEFAULT_VERSION)
        .expect("a client")
}

fn spec(image: &str) -> ServiceSpec {
    ServiceSpec {
        name: Some("web".into()),
        task_template: Some(TaskSpec {
            container_spec: Some(TaskSpecContainerSpec { image: Some(image.into()), ..Default::default() }),
            ..Default::default()
        }),
        mode: Some(ServiceSpecMode {
            replicated: Some(ServiceSpecModeReplicated { replicas: Some(2) }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn named(name: &str, value: &str) -> HashMap<String, Vec<String>> {
    [(name.into(), vec![value.into()])].into()
}

#[tokio::test]
async fn services_and_tasks() {
    let cluster = FakeCluster::new();
    let api = Api::new(FakeHost::manager(&cluster));
    let docker = sdk(&api);
    let made = docker.create_service(spec("nginx:1"), None).await.expect("created");
    let id = made.id.expect("an id");
    let task = cluster.task("web", 1, Slot::Number(1), Some(1), TaskState::Running);

    let options = ListServicesOptionsBuilder::default().filters(&named("name", "web")).status(true).build();
    let services = docker.list_services(Some(options)).await.expect("a list");
    assert_eq!(services[0].id.as_deref(), Some(id.as_str()));
    assert_eq!(services[0].service_status.as_ref().and_then(|status| status.running_tasks), Some(1));
    let options = InspectServiceOptionsBuilder::default().insert_defaults(true).build();
    let service = docker.inspect_service("web", Some(options)).await.expect("a service");
    let update = service.spec.as_ref().and_then(|spec| spec.update_config.clone()).expect("a default");
    assert_eq!((update.parallelism, update.monitor), (Some(1), Some(5_000_000_000)));

    let version = service.version.and_then(|version| version.index).expect("a version");
    let options = UpdateServiceOptionsBuilder::default().version(version as i32).build();
    docker.update_service("web", spec("nginx:2"), options, None).await.expect("updated");
    let service = docker.inspect_service(&id, None).await.expect("a service");
    let image = service.spec.and_then(|spec| spec.task_template).and_then(|task| task.container_spec);
    assert_eq!(image.and_then(|container| container.image).as_deref(), Some("nginx:2"));

    let options = ListTasksOptionsBuilder::default().filters(&named("service", "web")).build();
    let tasks = docker.list_tasks(Some(options)).await.expect("a list");
    assert_eq!(tasks[0].id, Some(task.id.to_string()));
    assert_eq!(
        tasks[0].status.as_ref().and_then(|status| status.state),
        Some(bollard::models::TaskState::RUNNING)
    );
    let shown = docker.inspect_task(&task.id.to_string()).await.expect("a task");
    assert_eq!(shown.slot, Some(1));

    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
    let nodes = answer_once(cluster.clone());
    let lines = docker.service_logs("web", Some(options)).map(|line| line.expect("a line").to_string());
    let (lines, ()) = tokio::join!(lines.collect::<Vec<String>>(), nodes);
    assert_eq!(lines.concat(), "hello\n");

    docker.delete_service("web").await.expect("removed");
    let missing = docker.inspect_service("web", None).await.expect_err("it is gone").to_string();
    assert!(missing.contains("service web not found"), "{missing}");
}

/// One node says one line of the first task.
async fn answer_once(cluster: Arc<FakeCluster>) {
    let mut call = cluster.log_asked.lock().await.recv().await.expect("a node is asked");
    let task = TaskId(id_of(1));
    let line = LogLine { task, at: NOW, stream: LogStream::Stdout, data: b"hello\n".to_vec() };
    for message in [LogMessage::Line(line), LogMessage::Ended { task, error: None }] {
        write_message(&mut call.stream, &message).await.expect("somebody listens");
    }
}
