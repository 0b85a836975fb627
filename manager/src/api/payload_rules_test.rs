//! The table of what cannot be a secret or a config, and of what may be done to one.

use common::object::container::FileReference;
use common::object::service::{UpdateState, UpdateStatus};
use common::object::{ServiceId, ServiceSpec, Slot, Task, TaskId, TaskState};

use super::*;
use crate::store::{Proposal, Store};
use PayloadKind::{Config, Secret};

const NOW: Timestamp = Timestamp(1);

fn named(name: &str) -> PayloadSpec {
    PayloadSpec { name: name.into(), ..PayloadSpec::default() }
}

fn bytes(length: usize) -> Option<SensitiveBytes> {
    Some(SensitiveBytes::new(vec![7; length]))
}

fn driver(name: &str) -> Option<Driver> {
    Some(Driver { name: name.into(), ..Driver::default() })
}

fn put(store: &Store, changes: Vec<Change>) {
    let index = store.snapshot().version.0 + 1;
    store.apply(index, &Proposal { id: index, at: NOW, changes }).expect("nothing against it");
}

#[test]
fn what_cannot_be_a_secret_or_a_config_is_refused_in_docker_s_words() {
    let name = "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]";
    let secret = "secret data must be larger than 0 and less than 512000 bytes";
    let config = "config data must be larger than 0 and less than 1024000 bytes";
    let long = "a".repeat(65);
    let template = PayloadSpec { templating: driver("jinja"), ..named("a") };
    let golang = PayloadSpec { templating: driver("golang"), ..named("a") };
    let driven = PayloadSpec { driver: driver("vault"), ..named("a") };
    let elsewhere = PayloadSpec { driver: driver("../vault"), ..named("a") };
    let elsewhere_is_refused = "invalid name of a secret driver \"../vault\", only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]";
    let nobody = PayloadSpec { driver: driver(""), ..named("a") };
    #[rustfmt::skip]
    let cases = [ // kind, spec, bytes of data, sentence
        (Secret, named(""),        bytes(1),         Some("name must be provided")),
        (Secret, named("-a"),      bytes(1),         Some(name)),
        (Secret, named("a."),      bytes(1),         Some(name)),
        (Config, named("a b"),     bytes(1),         Some(name)),
        (Config, named("ä"),       bytes(1),         Some(name)),
        (Secret, named(&long),     bytes(1),         Some(name)),
        (Secret, named(&long[1..]), bytes(1),        None),
        (Secret, named("a-_.b"),   bytes(1),         None),
        (Secret, named("a"),       None,             Some(secret)),
        (Secret, named("a"),       bytes(0),         Some(secret)),
        (Secret, named("a"),       bytes(512_000),   Some(secret)),
        (Secret, named("a"),       bytes(511_999),   None),
        (Config, named("a"),       bytes(0),         Some(config)),
        (Config, named("a"),       bytes(1_024_000), Some(config)),
        (Config, named("a"),       bytes(1_023_999), None),
        (Secret, nobody,           None,             Some("secret driver must have a name")),
        (Secret, driven.clone(),   None,             None),
        (Secret, driven.clone(),   bytes(0),         None),
        (Secret, driven,           bytes(1),         Some("secret data must be empty: its driver has the value")),
        (Secret, elsewhere,        None,             Some(elsewhere_is_refused)),
        (Config, template,         bytes(1),         Some("unrecognized template type \"jinja\": only golang is known")),
        (Config, golang,           bytes(1),         None),
    ];
    for (kind, spec, data, sentence) in cases {
        let what = format!("{kind} {spec:?}");
        let made = create(&Tables::default(), PayloadId(1), kind, (spec, data), NOW).map(drop);
        assert_eq!(made, sentence.map_or(Ok(()), |sentence| Err(ApiError::invalid(sentence))), "{what}");
    }
}

#[test]
fn a_name_is_taken_once_by_a_kind_in_any_case() {
    let store = Store::new();
    let make = |number, kind, name: &str| {
        create(&store.snapshot(), PayloadId(number), kind, (named(name), bytes(1)), NOW)
    };
    put(&store, vec![make(1, Secret, "key").expect("a free name")]);
    assert_eq!(make(2, Secret, "Key").unwrap_err(), ApiError::conflict("secret Key already exists"));
    assert!(make(2, Config, "key").is_ok());
}

#[test]
fn only_labels_change() {
    let labels = |spec: PayloadSpec| PayloadSpec { labels: [("a".into(), "b".into())].into(), ..spec };
    let present = PayloadSpec { templating: driver("golang"), ..named("key") };
    let data = SensitiveBytes::new(vec![7; 3]);
    let mut payload = Payload::new(PayloadId(1), Secret, present.clone(), data, NOW);
    payload.meta.version = Version(5);
    let only = ApiError::invalid("only updates to Labels are allowed");
    #[rustfmt::skip]
    let cases = [ // spec, data, at version, error
        (labels(named("key")),     None,     5, None),
        (labels(present.clone()),  bytes(3), 5, None),
        (labels(named("other")),   None,     5, Some(only.clone())),
        (labels(named("Key")),     None,     5, Some(only.clone())),
        (labels(present.clone()),  bytes(4), 5, Some(only.clone())),
        (labels(present.clone()),  bytes(0), 5, Some(only.clone())),
        (PayloadSpec { driver: driver("x"), ..present.clone() },     None, 5, Some(only.clone())),
        (PayloadSpec { templating: driver("x"), ..present.clone() }, None, 5, Some(only)),
        (labels(named("key")),     None,     4, Some(ApiError::internal(OUT_OF_SEQUENCE))),
    ];
    for (spec, data, version, error) in cases {
        let what = format!("{spec:?}");
        match update(&payload, Version(version), (spec, data)) {
            Ok(Change::Payload(Write::Update { value, .. })) => {
                assert_eq!((value.spec, value.versions), (labels(present.clone()), payload.versions.clone()));
                assert_eq!(error, None, "{what}");
            }
            Ok(change) => panic!("{change:?}"),
            Err(found) => assert_eq!(Some(found), error, "{what}"),
        }
    }
}

fn using(number: u128, name: &str, version: u64) -> Service {
    let mut spec = ServiceSpec { name: name.into(), ..ServiceSpec::default() };
    let id = PayloadId(1).to_string();
    spec.task.container.secrets = vec![FileReference { id, version, ..FileReference::default() }];
    Service::new(ServiceId(number), spec, NOW)
}

fn without_it(mut service: Service) -> Service {
    let spec = ServiceSpec { name: service.name().into(), ..ServiceSpec::default() };
    service.replace_spec(spec.into(), NOW);
    service
}

#[test]
fn what_is_in_use_stays() {
    let key = Payload::new(PayloadId(1), Secret, named("key"), SensitiveBytes::new(vec![7]), NOW);
    let updating = UpdateStatus {
        state: UpdateState::Updating,
        started_at: NOW,
        completed_at: None,
        message: String::new(),
        slots: 1,
        failed: 0,
        progress_at: NOW,
        rotation: false,
    };
    let removed = Service { removed: true, ..using(1, "a", 1) };
    let half_way = Service { update: Some(updating), ..without_it(using(1, "a", 1)) };
    let task = |desired| {
        let mut task = Task::new(TaskId(1), ServiceId(1), Slot::Number(1), 1, TaskState::Running);
        task.desired = desired;
        vec![task]
    };
    #[rustfmt::skip]
    let cases = [ // services, tasks, who is named
        (vec![],                                          vec![], None),
        (vec![using(1, "a", 1)],                          vec![], Some("service: a")),
        (vec![using(2, "b", 1), using(1, "a", 1)],        vec![], Some("services: a, b")),
        (vec![removed],                                   vec![], None),
        (vec![without_it(using(1, "a", 1))],              vec![], None),
        (vec![half_way],                                  vec![], Some("service: a")),
        (vec![without_it(using(1, "a", 1))], task(TaskState::Running),  Some("service: a")),
        (vec![without_it(using(1, "a", 1))], task(TaskState::Shutdown), None),
    ];
    for (services, tasks, named) in cases {
        let store = Store::new();
        put(&store, vec![Change::Payload(Write::Create(key.clone()))]);
        let services = services.into_iter().map(|service| Change::Service(Write::Create(service)));
        let tasks = tasks.into_iter().map(|task| Change::Task(Write::Create(task)));
        services.chain(tasks).for_each(|change| put(&store, vec![change]));
        let tables = store.snapshot();
        let outcome = remove(&tables, tables.payloads.get(PayloadId(1)).expect("there")).map(drop);
        let sentence = named.map(|named| format!("secret 'key' is in use by the following {named}"));
        assert_eq!(outcome.map_err(|error| error.message), sentence.map_or(Ok(()), Err));
    }
}
