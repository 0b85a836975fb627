//! The audit record: who did what, from where, with which outcome, and nothing that lets anybody in.

use super::*;

#[tokio::test]
async fn the_record_says_who_did_what_and_no_secret() {
    let mut cluster = Cluster::with_options(2, serving(2, 0)).await.unwrap();
    let addr = api_addr(&cluster, 1);
    let alice = Papers::of(&cluster, "alice", "operator", DAY).await;
    let tokens = cluster.client(0).swarm().await.unwrap().join_tokens.unwrap();
    wait_until("the certificate is known", SOON, async || {
        let answer = alice.get(addr, "/nodes").await?;
        if answer.is_ok() { Ok(()) } else { Err(answer.message()) }
    })
    .await
    .unwrap();

    let spec = Runtime::Fake.service("web", 0).env(&[&format!("PASSWORD={SECRET}")]).0.to_string();
    let made = alice.ask(addr, Method::POST, "/services/create", &spec).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.message());
    let id = made.json::<Value>().unwrap()["ID"].as_str().unwrap().to_owned();
    assert!(made.headers.contains_key("Swarm-Request-Id"));
    let bad = format!("{{\"Name\": \"x\", \"Labels\": \"{SECRET}\"}}");
    assert_eq!(alice.ask(addr, Method::POST, "/services/create", &bad).await.unwrap().status, 400);
    let rotate = format!("/swarm/update?version=1&rotateWorkerToken=true&other={SECRET}");
    assert_eq!(alice.ask(addr, Method::POST, &rotate, "{}").await.unwrap().status, 403);
    let join = json!({"JoinToken": tokens.manager, "RemoteAddrs": ["127.0.0.1:1"]}).to_string();
    cluster.client(0).send(Method::POST, "/swarm/join", join.into()).await.unwrap();
    let again = json!({"JoinToken": [tokens.worker]}).to_string();
    cluster.client(0).send(Method::POST, "/swarm/join", again.into()).await.unwrap();
    assert_eq!(cluster.client(0).delete("/services/web").await.unwrap().status, 200);
    assert_eq!(cluster.client(0).delete("/services/web").await.unwrap().status, 404);

    // One record of both managers, whichever is asked.
    for index in 0..2 {
        let all = audit(&cluster, index, "").await;
        assert_eq!(all.missing, Vec::<String>::new());
        let find = |what: &str, wanted: &dyn Fn(&AuditRecord) -> bool| {
            let found = all.records.iter().find(|one| wanted(one));
            found.unwrap_or_else(|| panic!("{what} is not in {:#?}", all.records)).clone()
        };
        let created = find("the creation", &|one| one.action == "service create" && one.status == 201);
        assert_eq!((created.who.kind.as_str(), created.who.name.as_str()), ("client", "alice"));
        assert_eq!(
            (created.who.role.as_str(), created.who.serial.as_str()),
            ("operator", alice.serial.as_str())
        );
        assert_eq!((created.object.kind.as_str(), created.object.id.as_str()), ("service", id.as_str()));
        assert_eq!((created.object.name.as_str(), created.outcome.as_str()), ("web", "done"));
        assert_eq!((created.node.as_str(), created.path.as_str()), (cluster.id(1), "/services/create"));
        assert!(created.from.starts_with("127.") && created.duration > 0.0 && !created.id.is_empty());
        let failed = find("the failure", &|one| one.action == "service create" && one.status == 400);
        assert_eq!((failed.outcome.as_str(), failed.error.as_str()), ("failed", "invalid JSON"));
        let refused = find("the refusal", &|one| one.action == "swarm update");
        assert_eq!((refused.outcome.as_str(), refused.status), ("refused", 403));
        assert_eq!(refused.flags, ["rotateWorkerToken=true", "version=1"]);
        let removed = find("the removal", &|one| one.action == "service remove" && one.status == 200);
        assert_eq!(
            (removed.who.kind.as_str(), removed.who.uid),
            ("user", Some(nix::unistd::getuid().as_raw()))
        );
        assert!(removed.who.pid.is_some_and(|pid| pid > 0) && removed.from.starts_with("unix:///"));
        assert_eq!((removed.object.id.as_str(), removed.object.name.as_str()), (id.as_str(), "web"));
        find("the missing service", &|one| one.action == "service remove" && one.status == 404);
        let joined =
            find("the second manager's way in", &|one| one.action == "node join" && one.outcome == "done");
        assert_eq!(joined.object.id, cluster.id(1));
        let certificate = find("the certificate", &|one| one.action == "client-cert create");
        assert_eq!(
            (certificate.object.id.as_str(), certificate.object.name.as_str()),
            (alice.serial.as_str(), "alice")
        );
        let times: Vec<_> =
            all.records.iter().map(|one| common::time::Timestamp::from_rfc3339(&one.time)).collect();
        assert!(times.is_sorted() && times.iter().all(Option::is_some));
    }
    let narrow = audit(&cluster, 0, "user=alice&outcome=done").await.records;
    assert!(narrow.iter().any(|one| one.action == "service create"));
    assert!(narrow.iter().all(|one| one.who.name == "alice" && one.outcome == "done"));
    assert_eq!(audit(&cluster, 0, "limit=1").await.records.len(), 1);
    assert!(audit(&cluster, 0, "local=1").await.records.iter().all(|one| one.node != cluster.id(1)));

    // The last call before a stop is on disk after it, and nothing that lets anybody in ever is.
    cluster.client(0).delete("/services/last-words").await.unwrap();
    cluster.nodes[0].stop().await.unwrap();
    let mut text = String::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for node in &cluster.nodes {
        for entry in std::fs::read_dir(node.state_folder().join("audit")).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    for file in &files {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        text.push_str(&std::fs::read_to_string(file).unwrap());
    }
    assert!(text.contains("last-words"));
    let parts = |token: &str| token.rsplit('-').next().unwrap_or_default().to_owned();
    for secret in [
        SECRET,
        &tokens.manager,
        &tokens.worker,
        &parts(&tokens.manager),
        &parts(&tokens.worker),
        "PRIVATE KEY",
    ] {
        assert!(!text.contains(secret), "the record holds {secret}");
    }

    // A line that was cut is said, and the rest still tells.
    let file = cluster.nodes[0].state_folder().join("audit/audit.jsonl");
    let length = file.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length - 20).unwrap();
    cluster.nodes[0].launch().await.unwrap();
    let after = audit(&cluster, 0, "local=1").await;
    assert!(
        after.missing.len() == 1 && after.missing[0].contains("is cut or damaged"),
        "{:?}",
        after.missing
    );
    assert!(after.records.iter().any(|one| one.action == "service remove"));
}
