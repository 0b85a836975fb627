//! Images from a registry: a real one on this machine, with a password.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use common::object::TaskSpec;
use common::object::container::ContainerSpec;
use common::object::sensitive::Sensitive;
use worker::runtime::{RunError, Seen};

use crate::support::{IMAGE, Node, docker, skipped};

/// Makes credentials whose base64 has both characters in which the two alphabets differ.
const PASSWORD: &str = "open sesame?>";
const PASSWORD_HASH: &str = "$2b$04$0Cj.4VVx7kyY.8YWAHqtB.j.GrZatvIkuhEX8cfCDr6Ux3Kxoy25C";

struct Registry {
    address: String,
    log: std::path::PathBuf,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// None, and a loud line, where this machine has no registry to run.
    fn start(test: &str) -> Option<Registry> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| folder.path().join(name);
        let settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             auth: {{htpasswd: {{realm: here, path: {}}}}}\n",
            at("data").display(),
            at("users").display(),
        );
        std::fs::write(at("users"), format!("me:{PASSWORD_HASH}\n")).unwrap();
        std::fs::write(at("settings.yml"), settings).unwrap();
        let log = at("log");
        let output = std::fs::File::create(&log).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(at("settings.yml"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) => {
                skipped(test, "docker-registry", &error.to_string());
                return None;
            }
        };
        let registry = Registry { address: format!("127.0.0.1:{port}"), log, process, _folder: folder };
        registry.await_answer();
        Some(registry)
    }

    fn await_answer(&self) {
        for _ in 0..1000 {
            if std::net::TcpStream::connect(&self.address).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the registry does not answer: {}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Puts our image there under a new name, and removes that name here.
    fn push(&self, node: &Node, name: &str) -> String {
        let image = format!("{}/{name}", self.address);
        node.docker(&["tag", IMAGE, &image]);
        let settings = tempfile::tempdir().unwrap();
        let login = base64::engine::general_purpose::STANDARD.encode(format!("me:{PASSWORD}"));
        let auths = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{login}\"}}}}}}", self.address);
        std::fs::write(settings.path().join("config.json"), auths).unwrap();
        let folder = settings.path().to_string_lossy();
        // `docker` with settings of its own: the other calls have none.
        let engine = format!("unix://{}", node.engine().display());
        let pushed = Command::new("docker")
            .args(["-H", &engine, "--config", &folder, "push", "-q", &image])
            .output()
            .unwrap();
        assert!(pushed.status.success(), "{pushed:?}");
        node.docker(&["rmi", &image]);
        image
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn login(registry: &Registry, password: &str) -> Option<Sensitive> {
    let json = serde_json::json!({"username": "me", "password": password, "serveraddress": registry.address});
    Some(Sensitive::new(URL_SAFE.encode(json.to_string())))
}

fn wanted(image: &str, registry_auth: Option<Sensitive>) -> TaskSpec {
    let container = ContainerSpec { image: image.into(), ..ContainerSpec::default() };
    TaskSpec { container, registry_auth, ..TaskSpec::default() }
}

fn forget(engine: &Path, image: &str) {
    docker(engine, &["rmi", "-f", image]);
}

#[tokio::test]
async fn images_are_pulled_with_the_tasks_credentials() {
    let test = "images_are_pulled_with_the_tasks_credentials";
    let Some(node) = Node::of(test) else { return };
    let Some(mut registry) = Registry::start(test) else { return };
    let image = registry.push(&node, "app:1");

    for (auth, wrong) in [(None, "no basic auth credentials"), (login(&registry, "guess"), "unauthorized")] {
        let Err(RunError::Fatal(words)) = node.prepare(&node.task_of(wanted(&image, auth))).await else {
            panic!("only with the password")
        };
        assert!(words.contains(wrong) && !words.contains("guess"), "{words}");
    }
    let auth = login(&registry, PASSWORD);
    let missing = format!("{}/nothing:1", registry.address);
    let Err(RunError::Fatal(words)) = node.prepare(&node.task_of(wanted(&missing, auth.clone()))).await
    else {
        panic!("there is no such image")
    };
    assert!(words.contains("manifest unknown"), "the registry's own words: {words}");

    // Many tasks, one pull, and each is told of it.
    let told = Mutex::new(0);
    let tasks: Vec<_> = (0..5).map(|_| node.task_of(wanted(&image, auth.clone()))).collect();
    let before = registry.said().matches("manifests/1").count();
    let prepare = tasks.iter().map(|task| async {
        let told = |_| *told.lock().unwrap() += 1;
        node.runtime.prepare(task, &told).await
    });
    let outcomes = futures_util::future::join_all(prepare).await;
    assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{outcomes:?}");
    let once = registry.said().matches("manifests/1").count() - before;
    assert!(*told.lock().unwrap() >= 1);

    // A tag is asked for again, once per task here: what one pull costs, all five did.
    node.prepare(&node.task_of(wanted(&image, auth.clone()))).await.unwrap();
    let again = registry.said().matches("manifests/1").count() - before - once;
    assert!(again > 0 && once <= 2 * again, "five tasks asked {once} times, one task {again}");

    let digest = node.docker(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &image]);
    forget(node.engine(), &image);
    let pinned = format!("{image}@{}", digest.split_once('@').unwrap().1);
    node.prepare(&node.task_of(wanted(&pinned, auth.clone()))).await.unwrap();

    // Without the registry: what is pinned and here is not asked for, what is here will do, what is not is missed.
    registry.stop();
    node.prepare(&node.task_of(wanted(&pinned, None))).await.unwrap();
    node.docker(&["tag", IMAGE, &image]);
    let task = node.task_of(wanted(&image, None));
    assert!(matches!(node.run(&task).await, Seen::Running { .. }));
    let id = node.docker(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    node.prepare(&node.task_of(wanted(&id, None))).await.unwrap();
    let Err(RunError::Fatal(words)) = node.prepare(&node.task_of(wanted(&missing, None))).await else {
        panic!("there is no such image")
    };
    assert!(words.contains("connection refused"), "not that there is no such image: {words}");
    forget(node.engine(), &image);
}
