//! Which flags go together, what is sent, and when it is done.

use clap::Parser;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(line: &str) -> Args {
    Line::try_parse_from(std::iter::once("ca").chain(line.split_whitespace())).expect("known flags").args
}

#[test]
fn flags_that_do_not_go_together_are_refused_in_dockers_words() {
    let without = |flag: &str| format!("`--{flag}` flag requires the `--rotate` flag to update the CA");
    let needs_cert = "rotating to an external CA requires the `--ca-cert` flag to specify the external CA's cert - to add an external CA with the current root CA certificate, use the `update` command instead";
    let needs_signer =
        "the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well";
    #[rustfmt::skip]
    let cases = [
        ("--ca-cert x --ca-key y",                     Some(without("ca-cert"))),
        ("--ca-key y",                                 Some(without("ca-key"))),
        ("--cert-expiry 2h",                           Some(without("cert-expiry"))),
        ("--external-ca protocol=cfssl,url=https://x", Some(without("external-ca"))),
        ("--rotate --external-ca protocol=cfssl,url=https://x", Some(needs_cert.to_string())),
        ("--rotate --ca-cert x",                       Some(needs_signer.to_string())),
        ("--rotate --ca-cert x --ca-key y",            None),
        ("--rotate --ca-cert x --external-ca protocol=cfssl,url=https://x", None),
        ("--rotate --cert-expiry 2h -d -q",            None),
        ("",                                           None),
    ];
    for (line, refusal) in cases {
        assert_eq!(check(&args(line)).err().map(|error| error.to_string()), refusal, "{line}");
    }
}

#[test]
fn what_is_sent_is_what_docker_sends() {
    let wish = |certificate: &str, key: &str, external| Wish {
        certificate: certificate.into(),
        key: Sensitive::new(key.into()),
        expiry: Some(5),
        external,
    };
    let mut spec = json!({"CAConfig": {"NodeCertExpiry": 1, "ForceRotate": 2}});
    wish("", "", Vec::new()).apply(&mut spec);
    let expected = json!({"NodeCertExpiry": 5, "ForceRotate": 3, "SigningCACert": "", "SigningCAKey": ""});
    assert_eq!(spec["CAConfig"], expected);
    wish("C", "K", Vec::new()).apply(&mut spec);
    let expected = json!({"NodeCertExpiry": 5, "ForceRotate": 3, "SigningCACert": "C", "SigningCAKey": "K"});
    assert_eq!(spec["CAConfig"], expected);
    wish("C", "", vec![json!({"URL": "https://x", "CACert": ""})]).apply(&mut spec);
    assert_eq!(spec["CAConfig"]["ExternalCAs"], json!([{"URL": "https://x", "CACert": "C"}]));
}

fn node(state: &str, issuer: &str, root: &str) -> Node {
    let mut node = Node::default();
    node.status.state = state.into();
    node.description.tls_info = TlsInfo {
        trust_root: root.into(),
        cert_issuer_subject: "s".into(),
        cert_issuer_public_key: issuer.into(),
    };
    node
}

#[test]
fn it_is_done_when_all_living_nodes_have_the_new_root_and_no_other() {
    let swarm = |rotating, root: &str| Swarm {
        root_rotation_in_progress: rotating,
        tls_info: TlsInfo {
            trust_root: root.into(),
            cert_issuer_subject: "s".into(),
            cert_issuer_public_key: "new".into(),
        },
        ..Swarm::default()
    };
    #[rustfmt::skip]
    let cases = [ // the cluster, its nodes, certificates, roots, away, done
        (swarm(true, "old"),  vec![node("ready", "old", "both"), node("ready", "new", "both")], 1, 0, 0, false),
        (swarm(true, "old"),  vec![node("ready", "new", "both"), node("ready", "new", "both")], 2, 0, 0, false),
        (swarm(false, "new"), vec![node("ready", "new", "new"), node("ready", "new", "both")],  2, 1, 0, false),
        (swarm(false, "new"), vec![node("ready", "new", "new"), node("ready", "new", "new")],   2, 2, 0, true),
        (swarm(false, "new"), vec![node("ready", "new", "new"), node("down", "old", "old")],    1, 1, 1, true),
    ];
    for (swarm, nodes, certificates, roots, away, done) in cases {
        let progress = Progress::of(&swarm, &nodes);
        assert_eq!((progress.certificates, progress.roots, progress.away), (certificates, roots, away));
        assert_eq!(progress.is_done(&swarm), done);
    }
    let lines = Progress { living: 3, certificates: 2, roots: 0, away: 1 }.lines(&swarm(true, "old"));
    assert!(lines.ends_with("\n  rotated TLS certificates: 2/3 nodes\n  rotated CA certificates: 0/3 nodes"));
}
