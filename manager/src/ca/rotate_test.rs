//! What requests make of the authority.

use std::time::Duration;

use common::identity::{NodeIdentity, NodeKey};
use common::object::{ClusterId, NodeId, Role};
use common::random::SeededRandom;

use super::*;

const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);

fn root() -> RootAuthority {
    RootAuthority::generate(NOW).unwrap()
}

fn secret(text: &str) -> Sensitive {
    Sensitive::new(text.into())
}

fn of(root: &RootAuthority) -> Authority {
    let mut random = SeededRandom::new(1, "tokens");
    let mut token = || JoinToken::generate(root.certificate_pem(), &mut random).to_secret();
    Authority::new(root.certificate_pem().into(), root.key_pem(), token(), token())
}

fn wish(
    present: &Authority,
    certificate_pem: &str,
    key_pem: &Sensitive,
    force: bool,
    external: &[ExternalAuthority],
) -> Result<Plan, String> {
    plan(present, &Wish { certificate_pem, key_pem, force }, external, NOW).map_err(|error| error.to_string())
}

fn becomes(plan: Result<Plan, String>) -> Authority {
    match plan.unwrap() {
        Plan::Become(authority) | Plan::BecomeExternal { authority, .. } => authority,
        Plan::Keep => panic!("nothing changes"),
    }
}

fn external(root_pem: &str) -> ExternalAuthority {
    ExternalAuthority {
        url: "https://ca".into(),
        options: Default::default(),
        certificate_pem: root_pem.into(),
    }
}

/// The certificate that a node gets under an authority, with all that is shipped with it.
fn chain(authority: &Authority, key: &NodeKey) -> String {
    let signer = authority.signer();
    let root = RootAuthority::from_pem(signer.certificate_pem, signer.key_pem.unwrap().reveal()).unwrap();
    let csr = key.signing_request().unwrap();
    let leaf =
        root.sign(&csr, NodeId(1), ClusterId(1), Role::Worker, Duration::from_secs(7200), NOW).unwrap();
    leaf + &authority.intermediates_pem(NOW)
}

#[test]
fn nothing_is_asked_for_and_nothing_changes() {
    let present = of(&root());
    assert!(matches!(wish(&present, "", &secret(""), false, &[]), Ok(Plan::Keep)));
}

#[test]
fn a_second_rotation_supersedes_the_first() {
    let present = of(&root());
    let first = becomes(wish(&present, "", &secret(""), true, &[]));
    let second = becomes(wish(&first, "", &secret(""), true, &[]));
    assert_eq!(second.certificate_pem, present.certificate_pem);
    assert_ne!(second.trust_pem(), first.trust_pem());
    assert!(second.trust_pem().starts_with(&present.certificate_pem));
}

#[test]
fn whoever_missed_a_rotation_or_two_still_believes_what_managers_show() {
    let first = of(&root());
    let mut random = SeededRandom::new(2, "tokens");
    let turn = |present: &Authority, random: &mut SeededRandom| {
        let rotating = becomes(wish(present, "", &secret(""), true, &[]));
        let key = NodeKey::generate().unwrap();
        // While both are trusted, a certificate of the new one is believed by who knows only the old one.
        NodeIdentity::new(&chain(&rotating, &key), key.clone(), &present.certificate_pem).unwrap();
        finish(&rotating, true, NOW, random).unwrap()
    };
    let second = turn(&first, &mut random);
    let third = turn(&second, &mut random);
    let key = NodeKey::generate().unwrap();
    for known in [&first, &second, &third] {
        NodeIdentity::new(&chain(&third, &key), key.clone(), &known.certificate_pem).unwrap();
    }
    assert!(JoinToken::parse(third.worker_token.reveal()).unwrap().is_for(&third.certificate_pem));
    assert_ne!(third.worker_token, second.worker_token);
    assert_ne!(third.manager_token, third.worker_token);
    // And it does not grow without end.
    let mut last = third;
    for _ in 0..5 {
        last = turn(&last, &mut random);
    }
    assert_eq!(last.intermediates.len(), INTERMEDIATES_MAX);
    assert!(finish(&last, true, NOW, &mut random).is_none(), "there is nothing to finish");
    let nobody = becomes(wish(&last, "", &secret(""), true, &[]));
    assert!(finish(&nobody, false, NOW, &mut random).unwrap().intermediates.is_empty());
}

#[test]
fn people_bring_their_own_root() {
    let (own, other) = (root(), root());
    let present = of(&own);
    let given = becomes(wish(&present, other.certificate_pem(), &other.key_pem(), false, &[]));
    let rotation = given.rotation.clone().unwrap();
    assert!(same(&rotation.certificate_pem, other.certificate_pem()));
    // The same once more begins nothing anew; the present root ends it.
    let again = becomes(wish(&given, other.certificate_pem(), &other.key_pem(), false, &[]));
    assert_eq!(again.rotation, given.rotation);
    let back = becomes(wish(&given, own.certificate_pem(), &own.key_pem(), false, &[]));
    assert_eq!(back, present);
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words() {
    let (own, other) = (root(), root());
    let present = of(&own);
    let keyless = Authority { key_pem: secret(""), ..present.clone() };
    let both = format!("{}{}", own.certificate_pem(), other.certificate_pem());
    let (mine, none) = (other.key_pem(), secret(""));
    let outside = [external(other.certificate_pem())];
    #[rustfmt::skip]
    let cases = [ // present, certificate, key, new one wanted, external, what is said
        (&present, "",                        &mine, false, &[][..],     "if a signing CA key is provided, the signing CA cert must also be provided"),
        (&present, both.as_str(),             &mine, false, &[],         "the desired CA certificate cannot contain multiple certificates"),
        (&present, "nonsense",                &mine, false, &[],         "could not parse the desired CA certificate"),
        (&present, own.certificate_pem(),     &mine, false, &[],         "certificate key mismatch"),
        (&present, other.certificate_pem(),   &none, false, &[],         "there must be at least one valid, reachable external CA corresponding to the desired CA certificate"),
        (&keyless, other.certificate_pem(),   &none, false, &outside[..], "rotating from one external CA to a different external CA is not supported"),
        (&keyless, other.certificate_pem(),   &mine, false, &[],         "the cluster does not hold the key of its present CA, so it cannot introduce another one: hand it over first, with --ca-cert and --ca-key"),
    ];
    for (present, certificate, key, force, external, said) in cases {
        assert_eq!(wish(present, certificate, key, force, external).unwrap_err(), said);
    }
}

#[test]
fn an_external_authority_takes_over_and_the_key_is_gone() {
    let (own, other) = (root(), root());
    let outside = [external(other.certificate_pem())];
    let plan = wish(&of(&own), other.certificate_pem(), &secret(""), false, &outside).unwrap();
    let Plan::BecomeExternal { authority, root_pem } = plan else { panic!("{plan:?}") };
    assert!(same(&root_pem, other.certificate_pem()));
    assert_eq!(authority.signer().key_pem, None);
    let done = finish(&authority, false, NOW, &mut SeededRandom::new(3, "tokens")).unwrap();
    assert_eq!(done.signer().key_pem, None);
    assert!(signs_for(&[external("")], &done.certificate_pem, &done.certificate_pem).next().is_some());
    assert!(signs_for(&outside, own.certificate_pem(), own.certificate_pem()).next().is_none());
    // Handing over its key makes the cluster its own authority again.
    let back = becomes(wish(&done, other.certificate_pem(), &other.key_pem(), false, &[]));
    assert!(back.signer().key_pem.is_some() && back.rotation.is_none());
}
