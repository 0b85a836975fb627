//! The real `docker` client's secret and config commands on our socket, and an SDK's calls.

use std::process::Stdio;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{ConfigSpec, SecretSpec};
use bollard::query_parameters::{UpdateConfigOptionsBuilder, UpdateSecretOptionsBuilder};
use tokio::io::AsyncWriteExt;

use crate::client::Api;
use crate::docker::{docker, has_client, printed, ran};
use crate::fake::{FakeCluster, FakeHost};

fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

/// What a table shows, word by word.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test]
async fn secret_and_config_commands() {
    if !has_client("secret_and_config_commands").await {
        return;
    }
    for kind in ["secret", "config"] {
        let (api, cluster) = served();
        let file = api.socket().with_file_name("value");
        std::fs::write(&file, "hunter2").expect("a file");
        let file = file.to_str().expect("text");
        let create = [kind, "create", "--label", "a=1", "--template-driver", "golang", "key", file];
        let id = printed(&api, &create).await.trim().to_string();
        let mut from_stdin = docker(&api);
        from_stdin.args([kind, "create", "other", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = from_stdin.spawn().expect("docker runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(b"hunter3").await.expect("it reads");
        drop(stdin);
        assert!(child.wait_with_output().await.expect("it ends").status.success());
        let other = cluster.payload("other");
        assert_eq!(other.newest().data.reveal(), b"hunter3");

        let ls = printed(&api, &[kind, "ls"]).await;
        let age = ["ago"; 2];
        let shown: Vec<(&str, &str, bool)> =
            rows(&ls).iter().skip(1).map(|row| (row[0], row[1], row.contains(&age[0]))).collect();
        assert_eq!(
            shown,
            [(id.as_str(), "key", true), (other.id.to_string().as_str(), "other", true)],
            "{ls}"
        );
        let header: &[&str] = match kind {
            "secret" => &["ID", "NAME", "DRIVER", "CREATED", "UPDATED"],
            _ => &["ID", "NAME", "CREATED", "UPDATED"],
        };
        assert_eq!(rows(&ls)[0], header);
        assert_eq!(
            printed(&api, &[kind, "ls", "-q", "--filter", "name=oth"]).await.trim(),
            other.id.to_string()
        );
        let format = "{{.Name}} {{.Labels}}";
        assert_eq!(
            printed(&api, &[kind, "ls", "--filter", "label=a", "--format", format]).await,
            "key a=1\n"
        );

        let json = printed(&api, &[kind, "inspect", "key"]).await;
        let template = printed(&api, &[kind, "inspect", "-f", "{{.Spec.Templating.Name}}", &id[..10]]).await;
        assert_eq!(template, "golang\n");
        let pretty = printed(&api, &[kind, "inspect", "--pretty", "key"]).await;
        let lines = rows(&pretty);
        for line in [vec!["ID:", &id], vec!["Name:", "key"], vec!["-", "a=1"]] {
            assert!(lines.contains(&line), "{line:?}: {pretty}");
        }
        // `aHVudGVyMg==` in JSON.
        assert_eq!(json.contains("aHVudGVy"), kind == "config", "{json}");
        assert_eq!(pretty.contains("hunter2"), kind == "config", "{pretty}");

        let again = ran(&api, &[kind, "create", "key", file]).await;
        assert!(again.err.contains(&format!("{kind} key already exists")), "{}", again.err);
        let bound = if kind == "secret" { 512_000 } else { 1_024_000 };
        let large = api.socket().with_file_name("large");
        std::fs::write(&large, vec![b'x'; bound]).expect("a file");
        let refused = ran(&api, &[kind, "create", "large", large.to_str().expect("text")]).await;
        let sentence = format!("{kind} data must be larger than 0 and less than {bound} bytes");
        assert!(!refused.ok && refused.err.contains(&sentence), "{}", refused.err);
        let bad = ran(&api, &[kind, "create", "b d", file]).await;
        assert!(bad.err.contains("invalid name, only 64 [a-zA-Z0-9-_.] characters allowed"), "{}", bad.err);
        let missing = ran(&api, &[kind, "inspect", "nobody"]).await;
        assert!(missing.err.contains("nobody"), "{}", missing.err);

        let flag = format!("--{kind}");
        let used = [
            "service",
            "create",
            "-d",
            "-q",
            "--name",
            "web",
            &flag,
            "source=key,target=t,mode=0400",
            "nginx",
        ];
        printed(&api, &used).await;
        let service = cluster.service("web");
        let references: Vec<_> = service.spec().task.container.references().collect();
        let reference = references[0].1;
        assert_eq!((reference.id.as_str(), reference.target.as_deref()), (id.as_str(), Some("t")));
        assert_eq!((reference.mode, reference.version), (0o400, 1));
        let unknown = ran(&api, &["service", "create", "-d", "--name", "x", &flag, "nobody", "nginx"]).await;
        assert!(unknown.err.contains(&format!("{kind} not found: nobody")), "{}", unknown.err);
        let refused = ran(&api, &[kind, "rm", "key"]).await;
        let sentence = format!("{kind} 'key' is in use by the following service: web");
        assert!(!refused.ok && refused.err.contains(&sentence), "{}", refused.err);
        let (add, rm) = (format!("--{kind}-add"), format!("--{kind}-rm"));
        printed(&api, &["service", "update", "-d", &rm, "key", &add, "other", "web"]).await;
        let container = cluster.service("web").spec().task.container.clone();
        let named: Vec<&str> = container.references().map(|(_, reference)| reference.name.as_str()).collect();
        assert_eq!(named, ["other"]);
        assert_eq!(printed(&api, &[kind, "rm", "key"]).await, "key\n");
        let gone = ran(&api, &[kind, "rm", "key"]).await;
        assert!(gone.err.contains(&format!("{kind} key not found")), "{}", gone.err);
    }
}

#[tokio::test]
async fn the_calls_of_an_sdk() {
    let (api, cluster) = served();
    let socket = api.socket();
    let docker = Docker::connect_with_unix(socket.to_str().expect("text"), 60, bollard::API_DEFAULT_VERSION)
        .expect("a client");
    let labels = |value: &str| Some([("a".to_string(), value.to_string())].into());
    let spec = |value: &str| SecretSpec {
        name: Some("key".into()),
        labels: labels(value),
        data: Some("aHVudGVyMg==".into()),
        ..Default::default()
    };
    let id = docker.create_secret(spec("1")).await.expect("created").id;
    assert_eq!(cluster.payload("key").newest().data.reveal(), b"hunter2");
    let shown = docker.inspect_secret("key").await.expect("a secret");
    assert_eq!((shown.id.as_ref(), shown.spec.and_then(|spec| spec.data)), (Some(&id), None));
    let version = shown.version.and_then(|version| version.index).expect("a version");
    let options = UpdateSecretOptionsBuilder::default().version(version as i64).build();
    docker.update_secret(&id, spec("2"), options).await.expect("updated");
    let listed =
        docker.list_secrets(None::<bollard::query_parameters::ListSecretsOptions>).await.expect("a list");
    assert_eq!(listed[0].spec.as_ref().and_then(|spec| spec.labels.clone()), labels("2"));
    docker.delete_secret("key").await.expect("removed");
    let missing = docker.inspect_secret("key").await.expect_err("it is gone").to_string();
    assert!(missing.contains("secret key not found"), "{missing}");

    let spec = |value: &str| ConfigSpec {
        name: Some("conf".into()),
        labels: labels(value),
        data: Some("aHVudGVyMg==".into()),
        ..Default::default()
    };
    let id = docker.create_config(spec("1")).await.expect("created").id;
    let shown = docker.inspect_config(&id).await.expect("a config");
    assert_eq!(shown.spec.and_then(|spec| spec.data).as_deref(), Some("aHVudGVyMg=="));
    let version = shown.version.and_then(|version| version.index).expect("a version");
    let options = UpdateConfigOptionsBuilder::default().version(version as i64).build();
    docker.update_config("conf", spec("2"), options).await.expect("updated");
    let listed =
        docker.list_configs(None::<bollard::query_parameters::ListConfigsOptions>).await.expect("a list");
    assert_eq!(listed[0].spec.as_ref().and_then(|spec| spec.labels.clone()), labels("2"));
    docker.delete_config(&id).await.expect("removed");
}
