//! What providers say, and how they are asked: over real sockets, each in a folder of its own.

use super::*;
use common::object::PayloadId;
use common::shutdown::Tasks;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Response, server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::UnixListener;

/// However busy the machine is.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn what_an_answer_means() {
    let ok = StatusCode::OK;
    let no_value =
        "its provider's value is refused: secret data must be larger than 0 and less than 512000 bytes";
    let odd = "its provider's answer is not one to SecretProvider.GetSecret (HTTP 200 OK)";
    let large = format!(r#"{{"Value":"{}"}}"#, "YWJj".repeat(512_000 / 3 + 1));
    #[rustfmt::skip]
    let cases = [ // status, body, value or why not
        (ok, r#"{"Value":"aHVudGVyMg=="}"#,                    Ok("hunter2")),
        (ok, r#"{"Value":"aHVudGVyMg==","DoNotReuse":true}"#,  Ok("hunter2")),
        (ok, r#"{"Value":"aHVudGVyMg==","Err":""}"#,           Ok("hunter2")),
        (ok, r#"{"Err":"permission denied"}"#,                 Err("permission denied")),
        (ok, r#"{"Value":"aHVudGVyMg==","Err":"expired"}"#,    Err("expired")),
        (StatusCode::FORBIDDEN, r#"{"Err":"sealed"}"#,         Err("sealed")),
        (StatusCode::NOT_FOUND, r#"{"Value":"aHVudGVyMg=="}"#, Err("its provider's answer is not one to SecretProvider.GetSecret (HTTP 404 Not Found)")),
        (ok, r#"{}"#,                                          Err(no_value)),
        (ok, r#"{"Value":""}"#,                                Err(no_value)),
        (ok, r#"{"Value":null}"#,                              Err(no_value)),
        (ok, large.as_str(),                                         Err(no_value)),
        (ok, r#"{"Value":"hunter2!"}"#,                        Err("its provider's value is refused: the data of a secret must be base64")),
        (ok, r#"{"Value":["hunter2"]}"#,                       Err(odd)),
        (ok, r#"["hunter2"]"#,                                 Err(odd)),
        (ok, "hunter2",                                        Err(odd)),
        (ok, "",                                               Err(odd)),
    ];
    for (status, body, expected) in cases {
        let found = value(status, body.as_bytes());
        let found = found.map(|value| String::from_utf8(value.reveal().to_vec()).unwrap());
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expected.map(String::from).map_err(String::from), "{status} {:.60}", body);
    }
}

#[test]
fn a_reason_is_one_line_of_bounded_length() {
    assert_eq!(shown("a\nb\u{1b}[1m"), "a b [1m");
    assert_eq!(shown(&"ä".repeat(9_999)).chars().count(), WITHHELD_REASON_CHARS_MAX);
}

/// Answers every request alike, until it is stopped.
fn provide(
    socket: &Path,
    answer: impl Fn(&SecretRequest) -> String + Clone + Send + Sync + 'static,
) -> Tasks {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let tasks = Tasks::new();
    let serving = tasks.clone();
    tasks.spawn_until_stopped(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let serve = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    assert_eq!((request.method(), request.uri().path()), (&Method::POST, GET_SECRET));
                    assert_eq!(request.headers()[header::CONTENT_TYPE], PLUGIN_MEDIA_TYPE);
                    let body = request.into_body().collect().await?.to_bytes();
                    let body = answer(&serde_json::from_slice(&body).unwrap());
                    Ok::<_, hyper::Error>(Response::new(Full::new(bytes::Bytes::from(body))))
                }
            });
            serving.spawn_until_stopped(async move {
                let _ =
                    server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    tasks
}

fn key(number: u128) -> PayloadKey {
    (PayloadId(number), 1)
}

fn question(driver: &str, task: &str) -> Question {
    let request =
        SecretRequest { secret_name: "key".into(), task_id: task.into(), ..SecretRequest::default() };
    Question { driver: driver.into(), request }
}

#[tokio::test]
async fn who_asks_gets_a_value_once_or_hears_why_not_and_nobody_waits_for_another_s_driver() {
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str| folder.path().join(format!("{name}.sock"));
    // It takes connections, and says nothing.
    let _silent = UnixListener::bind(socket("silent")).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let vault = provide(&socket("vault"), move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        format!(r#"{{"Value":"{}"}}"#, if request.task_id == "t1" { "b25l" } else { "dHdv" })
    });
    let broken = provide(&socket("broken"), |_| "x".repeat(SECRET_DRIVER_ANSWER_BYTES_MAX + 1));
    let drivers = SecretDrivers::new(folder.path().into());
    let (asks, questions) = watch::channel(Questions::new());
    let (answers, mut answered) = mpsc::channel::<Answer>(1);
    let script = async {
        let mut wanted: Questions = (10..10 + 2 * SECRET_DRIVER_ASKS_MAX as u128)
            .map(|number| ((0, key(number)), question("silent", "t0")))
            .collect();
        wanted.insert((0, key(1)), question("vault", "t1"));
        wanted.insert((0, key(2)), question("vault", "t2"));
        wanted.insert((0, key(3)), question("late", "t3"));
        wanted.insert((0, key(4)), question("broken", "t4"));
        asks.send_replace(wanted.clone());
        let mut heard: BTreeMap<PayloadKey, Result<String, String>> = BTreeMap::new();
        while !(1..=4).all(|number| heard.contains_key(&key(number))) {
            let (key, answer) = answered.recv().await.expect("it asks");
            heard.insert(key, answer.map(|value| String::from_utf8(value.reveal().to_vec()).unwrap()));
        }
        assert_eq!((&heard[&key(1)], &heard[&key(2)]), (&Ok("one".into()), &Ok("two".into())));
        let away = heard[&key(3)].as_ref().unwrap_err();
        let start = format!("secret key: driver late: no provider listens at {}: ", socket("late").display());
        assert!(away.starts_with(&start), "{away}");
        let large = heard[&key(4)].as_ref().unwrap_err();
        assert_eq!(large, "secret key: driver broken: its provider's answer is larger than 1048576 bytes");

        // Whoever is told again of the same questions does not ask again.
        wanted.retain(|(_, other), _| *other != key(4));
        asks.send_replace(wanted.clone());
        let late = provide(&socket("late"), |_| r#"{"Value":"bGF0ZQ=="}"#.into());
        while heard[&key(3)].is_err() {
            let (key, answer) = answered.recv().await.expect("it asks on");
            heard.insert(key, answer.map(|value| String::from_utf8(value.reveal().to_vec()).unwrap()));
        }
        assert_eq!((&heard[&key(3)], count.load(Ordering::Relaxed)), (&Ok("late".into()), 2));
        // In another round it does.
        asks.send_replace([((1, key(1)), question("vault", "t1"))].into());
        while answered.recv().await.expect("it asks anew").0 != key(1) {}
        assert_eq!(count.load(Ordering::Relaxed), 3);
        late.stop().await;
    };
    tokio::select! {
        done = tokio::time::timeout(SOON, script) => done.expect("in time"),
        never = drivers.answer(questions, answers) => match never {},
    }
    vault.stop().await;
    broken.stop().await;
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let _silent = UnixListener::bind(folder.path().join("silent.sock")).unwrap();
    let drivers = SecretDrivers::new(folder.path().into());
    let request = SecretRequest::default();
    let asked = drivers.ask("silent", &request);
    let error = tokio::time::timeout(SOON, asked).await.expect("in time").unwrap_err();
    assert_eq!(error.to_string(), "its provider did not answer in 5 s");
    let elsewhere = drivers.ask("../../silent", &SecretRequest::default()).await.unwrap_err();
    assert_eq!(
        elsewhere.to_string(),
        "its provider did not answer in 5 s",
        "no name leads out of the folder"
    );
}
