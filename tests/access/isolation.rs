//! What a worker's certificate is worth: that worker's own tasks with their secrets, whatever its holder says of itself;
//! and that a client's certificate is worth nothing once the root it stands on has been replaced.

use std::collections::BTreeSet;

use super::*;
use common::identity::certificate::certificates_from_pem;
use common::identity::{NodeCertificate, OpeningKey};
use common::limits::FRAME_BYTES_MAX;
use common::object::{NodeDescription, Role, TaskState, TaskStatus};
use common::random::SystemRandom;
use common::wire::assignment::{AssignmentUpdate, TaskReport};
use common::wire::frame::{expect_message, read_message, write_message};
use common::wire::join::{JoinResponse, RenewRequest};
use common::wire::session::{ManagerMessage, Membership, NodeMessage};
use rcgen::{CertificateParams, DnType, KeyPair};
use tokio::io::AsyncWrite;
use tokio::sync::{Mutex, mpsc};

const HEARTBEAT: Duration = Duration::from_millis(200);

/// Who holds a worker's key, and talks to the manager by it as they like.
struct Impostor {
    say: Arc<Mutex<Box<dyn AsyncWrite + Send + Sync + Unpin>>>,
    heard: mpsc::Receiver<ManagerMessage>,
    /// What secrets come sealed for.
    key: OpeningKey,
    updates: Vec<AssignmentUpdate>,
    places: Vec<Membership>,
    tasks: Tasks,
}

impl Impostor {
    /// Opens a session and stays alive in it.
    async fn begin(
        transport: &QuicTransport,
        manager: Peer,
        description: NodeDescription,
        addr: String,
    ) -> Self {
        let mut stream = transport.open(manager, StreamKind::Session).await.unwrap();
        let key = OpeningKey::generate(&mut SystemRandom);
        let hello = NodeMessage::Describe { description: Box::new(description), addr, seal: key.public() };
        write_message(&mut stream.send, &hello).await.unwrap();
        let (said, heard) = mpsc::channel(1024);
        let (tasks, mut recv) = (Tasks::new(), stream.recv);
        tasks.spawn_until_stopped(async move {
            while let Ok(Some(message)) = read_message(&mut recv, FRAME_BYTES_MAX).await {
                if said.send(message).await.is_err() {
                    return;
                }
            }
        });
        let say = Arc::new(Mutex::new(stream.send));
        let beating = say.clone();
        tasks.spawn_until_stopped(async move {
            let mut beat = tokio::time::interval(HEARTBEAT);
            while write_message(&mut *beating.lock().await, &NodeMessage::Heartbeat).await.is_ok() {
                beat.tick().await;
            }
        });
        Self { say, heard, key, updates: Vec::new(), places: Vec::new(), tasks }
    }

    async fn say(&self, message: &NodeMessage) {
        write_message(&mut *self.say.lock().await, message).await.unwrap();
    }

    /// Listens until it has heard that.
    async fn hear(&mut self, what: &str, is_it: impl Fn(&ManagerMessage) -> bool) {
        let listening = async {
            loop {
                let message = self.heard.recv().await.unwrap_or_else(|| panic!("it ended, without {what}"));
                let found = is_it(&message);
                match message {
                    ManagerMessage::Assignments(update) => self.updates.push(update),
                    ManagerMessage::Membership(place) => self.places.push(place),
                    ManagerMessage::Welcome { .. } | ManagerMessage::Reported { .. } => {}
                    other => panic!("{other:?}"),
                }
                if found {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, listening).await.unwrap_or_else(|_| panic!("never heard {what}"));
    }

    /// All that was heard is about one node, and it gets something to do and the secret for it.
    async fn has_only_what_is_of(&self, cluster: &Cluster, index: usize, service: &str, value: &str) {
        let tasks: Vec<Value> = cluster.client(0).get("/tasks").await.unwrap().json().unwrap();
        let is_there = |task: &&Value| task["NodeID"] == cluster.id(index);
        let own: BTreeSet<&str> =
            tasks.iter().filter(is_there).filter_map(|task| task["ID"].as_str()).collect();
        for update in &self.updates {
            for task in &update.tasks {
                assert!(own.contains(task.id.to_string().as_str()), "task {} is another node's", task.id);
            }
            assert!(update.specs.iter().all(|spec| spec.service_name == service), "{:?}", update.specs);
            for payload in &update.payloads {
                assert_eq!(self.key.open(payload.data.reveal()).unwrap(), value.as_bytes());
            }
            assert!(update.withheld.is_empty());
        }
        assert!(self.places.iter().all(|place| place.role == Role::Worker && place.raft_id.is_none()));
        assert!(self.updates.iter().any(|update| !update.tasks.is_empty()), "it has tasks");
        assert!(self.updates.iter().any(|update| !update.payloads.is_empty()), "and their secret");
    }
}

/// A service on one node, with a secret of its own.
async fn service_with_secret(cluster: &Cluster, name: &str, index: usize, value: &str) {
    let client = cluster.client(0);
    let engine = base64::engine::general_purpose::STANDARD;
    let data = base64::Engine::encode(&engine, value);
    let made = client.post("/secrets/create", &json!({ "Name": format!("{name}-key"), "Data": data })).await;
    let made: Value = made.unwrap().json().unwrap();
    let file = json!({ "Name": "key", "UID": "0", "GID": "0", "Mode": 0o400 });
    let secret = json!({ "SecretID": made["ID"], "SecretName": format!("{name}-key"), "File": file });
    let spec =
        Runtime::Process.service(name, 1).with("TaskTemplate.ContainerSpec.Secrets", json!([secret])).with(
            "TaskTemplate.Placement",
            json!({ "Constraints": [format!("node.id=={}", cluster.id(index))] }),
        );
    client.create_service(&spec).await.unwrap();
    cluster.running(name, 1, SOON).await.unwrap();
}

/// A session's messages name no node: whose they are is the certificate's to say. All that does name one is tried.
#[tokio::test]
async fn a_worker_s_certificate_brings_its_own_tasks_and_secrets_whoever_it_says_it_is() {
    let mut cluster = Cluster::with_options(1, options(1, 2)).await.unwrap();
    let (ours, theirs) = (format!("hunter2-{}", cluster.id(1)), format!("hunter2-{}", cluster.id(2)));
    service_with_secret(&cluster, "ours", 1, &ours).await;
    service_with_secret(&cluster, "theirs", 2, &theirs).await;
    let client = cluster.client(0);
    let victim = client.node(cluster.id(2)).await.unwrap();
    let (own, other) = (identity_of(&cluster, 1), identity_of(&cluster, 2));
    let manager = Peer { node: cluster.id(0).parse().unwrap(), addr: cluster.nodes[0].addr() };
    cluster.nodes[1].kill();

    // The other's certificate cannot be shown without its key; behind one's own it is so many bytes.
    let stolen = NodeIdentity::new(other.certificate_pem(), own.key().clone(), own.root_pem());
    assert!(stolen.is_err(), "a certificate and another's key");
    let both = format!("{}{}", own.certificate_pem(), other.certificate_pem());
    let both = NodeIdentity::new(&both, own.key().clone(), own.root_pem()).unwrap();
    for identity in [own.clone(), both] {
        let before = cluster.running("theirs", 1, SOON).await.unwrap().pop().expect("one task");
        let tasks = Tasks::new();
        let settings = QuicSettings::new(run::address());
        let clock = Arc::new(SystemClock);
        let (transport, _arrivals) = QuicTransport::start(settings, identity, &tasks, clock).unwrap();
        let claims = || {
            let hostname = victim.description.hostname.clone();
            let mut description = NodeDescription { hostname, ..NodeDescription::default() };
            description.runtimes = vec!["process".into()];
            description.resources.nano_cpus = 8_000_000_000;
            description.resources.memory_bytes = 16 << 30;
            description
        };
        let addr = || cluster.nodes[2].addr().to_string();
        let mut impostor = Impostor::begin(&transport, manager, claims(), addr()).await;
        let a_secret = |message: &ManagerMessage| matches!(message, ManagerMessage::Assignments(update) if !update.payloads.is_empty());
        impostor.hear("its own secret", a_secret).await;

        // Once more who it is, what became of the other's task, and everything again.
        let hello = NodeMessage::Describe {
            description: Box::new(claims()),
            addr: addr(),
            seal: impostor.key.public(),
        };
        impostor.say(&hello).await;
        let failed =
            TaskStatus { state: TaskState::Failed, error: "planted".into(), ..TaskStatus::default() };
        let report = TaskReport { task: before.id.parse().unwrap(), status: failed };
        impostor.say(&NodeMessage::Reports { number: 1, reports: vec![report] }).await;
        impostor
            .hear("that its report was taken", |said| matches!(said, ManagerMessage::Reported { number: 1 }))
            .await;
        impostor.say(&NodeMessage::Resync).await;
        impostor.hear("everything again", a_secret).await;

        // What is new of the other's goes to the other alone, and comes before what is new of its own.
        client.scale("theirs", 2).await.unwrap();
        let tasks_of_theirs = cluster.running("theirs", 2, SOON).await.unwrap();
        assert!(tasks_of_theirs.iter().any(|task| task.id == before.id && task.error.is_empty()));
        let known: BTreeSet<_> =
            impostor.updates.iter().flat_map(|update| &update.tasks).map(|task| task.id).collect();
        client.scale("ours", 2).await.unwrap();
        let a_new_task = |message: &ManagerMessage| match message {
            ManagerMessage::Assignments(update) => update.tasks.iter().any(|task| !known.contains(&task.id)),
            _ => false,
        };
        impostor.hear("a new task of its own", a_new_task).await;
        impostor.has_only_what_is_of(&cluster, 1, "ours", &ours).await;
        impostor.tasks.stop().await;

        // A certificate for somebody else, and for another role.
        let mut params = CertificateParams::new(vec![other.node.to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, other.node.to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, "swarm-manager");
        params.distinguished_name.push(DnType::OrganizationName, other.cluster.to_string());
        let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let mut stream = transport.open(manager, StreamKind::Renew).await.unwrap();
        write_message(&mut stream.send, &RenewRequest { csr }).await.unwrap();
        let answer: JoinResponse = expect_message(&mut stream.recv, FRAME_BYTES_MAX).await.unwrap();
        if let JoinResponse::Certificate(issued) = answer {
            let leaf = &certificates_from_pem(&issued.certificate_pem).unwrap()[0];
            let facts = NodeCertificate::from_der(leaf).unwrap();
            assert_eq!((facts.node, facts.role, issued.node), (own.node, Role::Worker, own.node));
        }
        transport.stop().await;
        tasks.stop().await;
        client.scale("theirs", 1).await.unwrap();
        client.scale("ours", 1).await.unwrap();
    }

    // The other one noticed nothing.
    let after = client.node(cluster.id(2)).await.unwrap();
    assert_eq!((&*after.status.state, &after.status.addr), ("ready", &victim.status.addr));
    assert_eq!(after.description, victim.description);
    cluster.nodes[1].launch().await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    cluster.running("ours", 1, SOON).await.unwrap();
}

#[tokio::test]
async fn a_client_s_certificate_is_worth_nothing_once_its_root_was_replaced() {
    let mut cluster = Cluster::with_options(2, serving(2, 0)).await.unwrap();
    let known = async |cluster: &Cluster, papers: &Papers| {
        for index in [0, 1] {
            wait_until("the certificate is known", SOON, async || {
                let answer = papers.get(api_addr(cluster, index), "/nodes").await?;
                if answer.is_ok() { Ok(()) } else { Err(answer.message()) }
            })
            .await
            .unwrap();
        }
    };
    let before = Papers::of(&cluster, "alice", "admin", DAY).await;
    known(&cluster, &before).await;
    let mut streams = Vec::new();
    for index in [0, 1] {
        let addr = api_addr(&cluster, index);
        let tcp = TcpStream::connect(addr).await.unwrap();
        let mut stream = before.tls().connect(&addr.ip().to_string(), tcp).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        streams.push(stream);
    }

    let folder = run::folder();
    std::fs::create_dir_all(&folder).unwrap();
    let socket = format!("unix://{}", cluster.nodes[0].socket().display());
    let rotated = swarm(&folder, &[], &["-H", &socket, "ca", "--rotate", "--quiet"]).await;
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    let root = cluster.client(0).swarm().await.unwrap().tls_info.trust_root;
    cluster
        .wait_until("both managers know the new root alone", SOON, async || {
            let trusted = [0, 1].map(|index| identity_of(&cluster, index).root_pem().trim().to_owned());
            if trusted.iter().all(|one| one == root.trim()) { Ok(()) } else { Err(format!("{trusted:?}")) }
        })
        .await
        .unwrap();

    // What stands on the old root ends, and nothing new begins: known by the old root or by the new one.
    for mut stream in streams {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is cut off");
    }
    let after = Papers::of(&cluster, "bob", "admin", DAY).await;
    assert_eq!(after.ca.trim(), root.trim());
    known(&cluster, &after).await;
    let nothing = async |cluster: &Cluster| {
        for index in [0, 1] {
            for papers in [&before, &after.with(&before.certificate, &before.key)] {
                for path in ["/_ping", "/nodes", "/swarm", "/containers/json"] {
                    let answer = papers.get(api_addr(cluster, index), path).await;
                    assert!(answer.is_err(), "{path} at {index}: {}", answer.unwrap().status);
                }
            }
        }
    };
    nothing(&cluster).await;
    cluster.nodes[0].restart().await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    known(&cluster, &after).await;
    nothing(&cluster).await;
    std::fs::remove_dir_all(&folder).unwrap();
}
