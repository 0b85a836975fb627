//! Which version a reference gets, and which references are refused.

use common::object::PayloadId;
use common::object::payload::{PayloadSpec, PayloadVersion};
use common::object::sensitive::SensitiveBytes;
use common::time::Timestamp;

use super::*;
use crate::store::{Change, Proposal, Store, Write};

fn reference(id: u128, name: &str, target: &str, version: u64, refresh: Option<&str>) -> FileReference {
    FileReference {
        id: PayloadId(id).to_string(),
        name: name.into(),
        target: Some(target.into()),
        version,
        refresh: refresh.map(Into::into),
        ..FileReference::default()
    }
}

fn task(secrets: Vec<FileReference>) -> TaskSpec {
    let mut task = TaskSpec::default();
    task.container.secrets = secrets;
    task
}

/// Secret 1, `key`, with versions 2 to 4, and config 2, `conf`.
fn tables() -> Tables {
    let store = Store::new();
    let data = || SensitiveBytes::new(vec![1]);
    let made = |id, kind, name: &str| {
        let spec = PayloadSpec { name: name.into(), ..PayloadSpec::default() };
        Payload::new(PayloadId(id), kind, spec, data(), Timestamp(1))
    };
    let mut key = made(1, PayloadKind::Secret, "key");
    key.versions =
        (2..=4).map(|number| PayloadVersion { number, created_at: Timestamp(1), data: data() }).collect();
    let changes = [key, made(2, PayloadKind::Config, "conf")];
    let changes = changes.into_iter().map(|payload| Change::Payload(Write::Create(payload))).collect();
    store.apply(1, &Proposal { id: 1, at: Timestamp(1), changes }).expect("nothing against it");
    store.snapshot()
}

#[test]
fn a_reference_without_a_version_keeps_the_one_it_has() {
    let hup = Some("SIGHUP");
    let asked = |version, refresh| reference(1, "key", "a", version, refresh);
    #[rustfmt::skip]
    let cases = [ // asked for, what the present spec has, version and refresh
        (asked(0, None),       vec![],                                     (4, None)),
        (asked(3, None),       vec![],                                     (3, None)),
        (asked(0, hup),        vec![],                                     (4, hup)),
        (asked(0, None),       vec![reference(1, "key", "a", 2, None)],    (2, None)),
        (asked(0, None),       vec![reference(1, "key", "a", 2, hup)],     (2, hup)),
        (asked(0, Some("1")),  vec![reference(1, "key", "a", 2, hup)],     (2, Some("1"))),
        (asked(4, None),       vec![reference(1, "key", "a", 2, hup)],     (4, None)),
        (asked(0, None),       vec![reference(1, "key", "b", 3, None)],    (3, None)),
        (asked(0, None),       vec![reference(1, "key", "b", 3, hup), reference(1, "key", "a", 2, None)], (2, None)),
        (asked(0, None),       vec![reference(1, "key", "a", 1, None)],    (4, None)),
        (asked(0, None),       vec![reference(9, "old", "a", 2, hup)],     (4, None)),
    ];
    let tables = tables();
    for (asked, before, (version, refresh)) in cases {
        let mut resolved = task(vec![asked.clone()]);
        resolve(&tables, &mut resolved, Some(&task(before.clone()))).expect("it is there");
        let found = &resolved.container.secrets[0];
        assert_eq!(
            (found.version, found.refresh.as_deref()),
            (version, refresh),
            "{asked:?} over {before:?}"
        );
    }
}

#[test]
fn what_is_not_there_is_named() {
    #[rustfmt::skip]
    let cases = [
        (vec![reference(1, "key", "a", 9, None)],   "secret key has no version 9; versions kept: 2, 3, 4"),
        (vec![reference(1, "other", "a", 0, None)], "secret not found: other"),
        (vec![reference(2, "conf", "a", 0, None)],  "secret not found: conf"),
        (vec![reference(8, "x", "a", 0, None), reference(1, "key", "b", 0, None), reference(9, "y", "c", 0, None)], "secrets not found: x, y"),
    ];
    let tables = tables();
    for (secrets, sentence) in cases {
        let mut asked = task(secrets);
        let error = resolve(&tables, &mut asked, None).unwrap_err();
        assert_eq!(error, ApiError::invalid(sentence));
        assert!(check_kept(&tables, &asked).is_err(), "{sentence}");
    }
}

#[test]
fn a_refresh_signal_is_one() {
    for (word, good) in
        [("", true), ("SIGHUP", true), ("usr1", true), ("9", true), ("0", false), ("SIGWISH", false)]
    {
        let asked = task(vec![reference(1, "key", "a", 0, Some(word))]);
        assert_eq!(check(&asked).is_ok(), good, "{word}");
    }
}
