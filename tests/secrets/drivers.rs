//! Secrets whose values a provider has: a task waits for its own and says why, and gets it as soon as there is one.

use std::process::Stdio;
use std::sync::Arc;

use harness::binary;
use harness::client::Client;
use harness::cluster::{Cluster, SOON, options};
use harness::docker::Docker;
use harness::services::{Runtime, Spec, Task, summary};
use harness::wait::wait_until;
use serde_json::{Value, json};

use super::provider::{Provider, Says};
use super::search::in_memory;
use crate::{base64, nowhere_else, on, path, rotate_answer, secret, seen, value};

/// A value per task: what all have in common, and the task's id.
fn gives(value: &str) -> Says {
    let value = value.to_owned();
    Arc::new(move |asked| {
        let task = asked["TaskID"].as_str().expect("a task asks");
        json!({ "Value": base64(&format!("{value}-{task}")), "DoNotReuse": true })
    })
}

/// Makes a secret without a value, as a request does.
async fn create(client: &Client, name: &str, driver: &str) -> String {
    let body = json!({ "Name": name, "Labels": { "team": "web" }, "Driver": { "Name": driver, "Options": { "path": "kv" } } });
    let answer: Value = client.post("/secrets/create", &body).await.unwrap().json().unwrap();
    answer["ID"].as_str().expect("an ID").to_owned()
}

fn using(spec: Spec, id: &str, name: &str) -> Spec {
    spec.with("TaskTemplate.ContainerSpec.Secrets", json!([secret(id, name, name, (0, 0), 0o400)]))
}

async fn swarm(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let socket = format!("unix://{}", cluster.nodes[0].socket().display());
    let mut command = tokio::process::Command::new(binary::swarm());
    command.args(["-H", &socket]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await.expect("it ends").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Waits until a task of the service waits, and says this.
async fn waits(cluster: &Cluster, service: &str, why: &str) {
    let says = |tasks: &[Task]| tasks.iter().any(|task| task.is_alive() && task.error.starts_with(why));
    cluster.tasks_until(why, service, SOON, says).await.unwrap();
}

async fn a_value_comes_from_its_provider(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) || !nix::unistd::geteuid().is_root() {
        return;
    }
    let cluster = Cluster::with_options(1, options(1, 2)).await.unwrap();
    let (client, value) = (cluster.client(0), value());
    let key = create(&client, "key", "vault").await;
    client.create_service(&using(on(runtime.service("web", 1), cluster.id(1)), &key, "key")).await.unwrap();

    // Nobody is there, then somebody who refuses: the task says so, and no other waits with it.
    waits(&cluster, "web", "secret key: driver vault: no provider listens at ").await;
    let plain = on(runtime.service("plain", 1), cluster.id(1));
    client.create_service(&plain).await.unwrap();
    cluster.running("plain", 1, SOON).await.unwrap();
    let provider = Provider::start(
        &cluster.nodes[0].state_folder(),
        "vault",
        Arc::new(|_| json!({ "Err": "permission denied" })),
    );
    waits(&cluster, "web", "secret key: driver vault: permission denied").await;
    let (code, shown) = swarm(&cluster, &["service", "ps", "--no-trunc", "web"]).await;
    assert!(code == Some(0) && shown.contains("secret key: driver vault: permission denied"), "{shown}");

    provider.says(gives(&value));
    let tasks = cluster.running("web", 1, SOON).await.unwrap();
    let inside = |task: &Task| match runtime {
        Runtime::Docker => "/run/secrets/key".to_owned(),
        Runtime::Fake | Runtime::Process => path(&cluster, task, "secrets/key").display().to_string(),
    };
    let of_task = |task: &Task| format!("{value}-{}", task.id);
    assert_eq!(seen(&tasks[0], &inside(&tasks[0])), (of_task(&tasks[0]), (0, 0, 0o400)));
    assert_eq!(tasks[0].error, "", "nothing is wrong any more");
    let asked = provider.asked().pop().expect("it was asked");
    assert_eq!((&asked["SecretName"], &asked["SecretLabels"]["team"]), (&json!("key"), &json!("web")));
    assert_eq!((&asked["SecretOptions"]["path"], &asked["ServiceName"]), (&json!("kv"), &json!("web")));
    assert_eq!((&asked["TaskID"], &asked["NodeID"]), (&json!(tasks[0].id), &json!(cluster.id(1))));
    assert_eq!(asked["TaskName"], json!(format!("web.1.{}", tasks[0].id)));

    // The manager that asked has let go of it, and who has no use for it never had it.
    let pid = |index: usize| cluster.nodes[index].id().expect("it runs");
    assert!(in_memory(pid(1), &value).unwrap(), "the node that runs the task has the value");
    for index in [0, 2] {
        let free = async || match in_memory(pid(index), &value) {
            Ok(false) => Ok(()),
            found => Err(format!("node {index}: {found:?}")),
        };
        wait_until("no other memory has the value", SOON, free).await.unwrap();
    }
    nowhere_else(&cluster, &value).await;
    for node in &cluster.nodes {
        assert!(!node.log().contains(&base64(&value)[..20]), "the log of {}", node.name());
    }

    // Every task has its own; what runs is left alone.
    client.scale("web", 2).await.unwrap();
    let tasks = cluster.running("web", 2, SOON).await.unwrap();
    for task in &tasks {
        assert_eq!(seen(task, &inside(task)).0, of_task(task));
    }
    client.remove_service("web").await.unwrap();
    let forgotten = async || match in_memory(pid(1), &value) {
        Ok(false) => Ok(()),
        found => Err(format!("{found:?}")),
    };
    wait_until("the node's memory is free of it", SOON, forgotten).await.unwrap();
    provider.stop().await;
}

#[tokio::test]
async fn processes_are_given_what_a_provider_has() {
    a_value_comes_from_its_provider(Runtime::Process, "processes_are_given_what_a_provider_has").await;
}

#[tokio::test]
async fn containers_are_given_what_a_provider_has() {
    a_value_comes_from_its_provider(Runtime::Docker, "containers_are_given_what_a_provider_has").await;
}

#[tokio::test]
async fn tasks_outlive_their_provider_and_a_new_leader_asks_its_own() {
    let mut cluster = Cluster::with_options(3, options(3, 1)).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    let value = value();
    let mut providers: Vec<Option<Provider>> = (0..3)
        .map(|index| Some(Provider::start(&cluster.nodes[index].state_folder(), "vault", gives(&value))))
        .collect();
    let client = cluster.client(leader);
    let key = create(&client, "key", "vault").await;
    let spec = using(on(Runtime::Process.service("web", 1), cluster.id(3)), &key, "key");
    client.create_service(&spec).await.unwrap();
    let before = cluster.running("web", 1, SOON).await.unwrap();
    let asked = |index: usize| providers[index].as_ref().map_or(0, |provider| provider.asked().len());
    assert_eq!([0, 1, 2].map(asked).iter().sum::<usize>(), asked(leader), "whoever leads asks");

    // Its leader and provider are gone: another one's is asked, for new tasks alone.
    providers[leader] = None;
    cluster.nodes[leader].kill();
    let other = (leader + 1) % 3;
    let now = cluster.leader(SOON).await.unwrap();
    assert_ne!(now, leader);
    let client = cluster.client(other);
    wait_until("it is scaled", SOON, async || {
        client.scale("web", 2).await.map_err(|error| format!("{error:#}"))
    })
    .await
    .unwrap();
    let running = async || {
        let tasks = client.tasks("web").await.map_err(|error| format!("{error:#}"))?;
        let running: Vec<Task> = tasks.into_iter().filter(Task::runs).collect();
        if running.len() == 2 { Ok(running) } else { Err(summary(&running)) }
    };
    let after = wait_until("two run", SOON, running).await.unwrap();
    let first = after.iter().find(|task| task.id == before[0].id).expect("it was left alone");
    assert_eq!(first.pid, before[0].pid);
    for task in &after {
        let file = path(&cluster, task, "secrets/key");
        assert_eq!(std::fs::read_to_string(file).unwrap(), format!("{value}-{}", task.id));
    }
    let asked: Vec<Value> = providers.iter().flatten().flat_map(Provider::asked).collect();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|asked| asked["TaskID"] != json!(first.id)), "what runs has what it needs");
}

#[tokio::test]
async fn what_cannot_be_with_a_driver_is_refused_and_people_make_the_rest_as_with_docker() {
    let cluster = Cluster::with_options(1, options(1, 0)).await.unwrap();
    let client = cluster.client(0);
    let refused = async |body: Value| client.post("/secrets/create", &body).await.unwrap().message();
    let both = json!({ "Name": "key", "Data": base64("hunter2"), "Driver": { "Name": "vault" } });
    assert_eq!(refused(both).await, "secret data must be empty: its driver has the value");
    let nobody = json!({ "Name": "key", "Driver": { "Options": { "a": "b" } } });
    assert_eq!(refused(nobody).await, "secret driver must have a name");
    let elsewhere = refused(json!({ "Name": "key", "Driver": { "Name": "../vault" } })).await;
    assert!(elsewhere.starts_with("invalid name of a secret driver \"../vault\", only 64 "), "{elsewhere}");

    let (code, said) = swarm(&cluster, &["secret", "create", "--driver", "vault", "key", "/dev/null"]).await;
    assert!(
        code == Some(125) && said.contains("when using secret driver secret data must be empty"),
        "{said}"
    );
    let (code, said) = swarm(&cluster, &["secret", "create", "--driver", "vault", "key"]).await;
    assert_eq!(code, Some(0), "{said}");
    let rotated = rotate_answer(&client, "key", "hunter2").await.message();
    assert_eq!(rotated, "secret key has no value of its own: rotate it where its driver vault has it");
    let (_, shown) = swarm(&cluster, &["secret", "ls", "--format", "{{.Name}} {{.Driver}}"]).await;
    assert_eq!(shown, "key vault\n");
    if let Some(docker) = Docker::at(&cluster.nodes[0].socket(), "people_make_the_rest_as_with_docker") {
        docker.ok(&["secret", "create", "--driver", "vault", "theirs"]).await.unwrap();
        let shown = docker.ok(&["secret", "inspect", "-f", "{{.Spec.Driver.Name}}", "theirs"]).await.unwrap();
        assert_eq!(shown.trim(), "vault");
    }
    client.delete("/secrets/key").await.unwrap().ok().unwrap();
}
