//! Between Docker's JSON and what the store keeps.
//!
//! Objects become JSON without fail, but for a root certificate that cannot be read. JSON becomes a spec or a
//! named error: a member that the store has no place for is refused, never dropped.

mod container;
mod mount;
mod network;
mod payload;
mod policy;
mod secret_provider;
mod service;
mod task;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::node::{self as api_node, ManagerStatus};
use super::swarm as api_swarm;
use super::{ObjectVersion, swarm::SwarmSpec};
pub use container::{container_from_api, container_to_api};
pub use network::{network_spec_from_api, network_to_api, task_network_to_api, virtual_ip_to_api};
pub use payload::{payload_data_from_api, payload_spec_from_api, payload_to_api};
pub use secret_provider::{Wanted, secret_request, secret_value_from_api};
pub use service::{insert_defaults, service_spec_from_api, service_spec_to_api, service_to_api};
pub use task::{task_name, task_spec_from_api, task_spec_to_api, task_to_api};

use crate::limits::{CERTIFICATE_EXPIRY_MIN, EXTERNAL_CAS_MAX};
use crate::object::cluster::{Authority, ExternalAuthority, LivenessPreset};
use crate::object::{Availability, Cluster, ClusterSpec, Meta, Node, NodeSpec, PayloadKind, Role, node};

/// Why a document cannot become a spec, or a cluster a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    #[error("invalid {member}: {word:?}")]
    Word { member: &'static str, word: String },
    #[error("{member} is out of range: {value}")]
    Range { member: &'static str, value: i64 },
    #[error("minimum certificate expiry time is: 1h0m0s")]
    ExpiryTooShort,
    #[error("heartbeat time period cannot be a negative duration")]
    NegativeHeartbeat,
    #[error("invalid protocol: {protocol:?}")]
    ExternalProtocol { protocol: String },
    #[error("the URL of an external CA has to begin with https://, and {url:?} does not")]
    ExternalUrl { url: String },
    #[error(r#"swarm spec must be named "default""#)]
    ClusterName,
    /// Asked for something of Docker's that this version does not have.
    #[error("{what} is not supported in this version yet")]
    Unsupported { what: &'static str },
    #[error("read the cluster's root certificate: {reason}")]
    RootCertificate { reason: String },
    #[error("unrecognized {what} {word}")]
    Unrecognized { what: &'static str, word: String },
    #[error("{what} cannot be negative")]
    Negative { what: &'static str },
    #[error("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1")]
    FailureRatio,
    #[error("must specify only one service mode")]
    SeveralModes,
    #[error("TaskSpec: missing runtime")]
    MissingRuntime,
    #[error("ContainerSpec: {member} in HealthConfig cannot be less than 1ms")]
    HealthDuration { member: &'static str },
    #[error("ContainerSpec: Retries in HealthConfig cannot be negative")]
    HealthRetries,
    #[error("malformed {kind} reference")]
    Reference { kind: &'static str },
    #[error("malformed {kind} reference, no target provided")]
    ReferenceTarget { kind: &'static str },
    #[error("invalid CredentialSpec: {0}")]
    CredentialSpec(String),
    #[error("named generic resources cannot be reserved: ask for an amount of a kind")]
    NamedResource,
    #[error("a placement preference must be a spread")]
    NotSpread,
    #[error("ipam configuration: {0}")]
    Ipam(String),
    #[error("the data of a {kind} must be base64")]
    Data { kind: PayloadKind },
    #[error("ContainerSpec: a ready check is exactly one of a command, an HTTP request and a TCP port")]
    ReadyProbe,
}

/// A node as the API shows it. `manager` is what its caller knows of it beyond the store.
pub fn node_to_api(node: &Node, manager: Option<ManagerStatus>) -> api_node::Node {
    api_node::Node {
        id: node.id.to_string(),
        version: version_to_api(&node.meta),
        created_at: node.meta.created_at.to_rfc3339(),
        updated_at: node.meta.updated_at.to_rfc3339(),
        spec: node_spec_to_api(&node.spec),
        description: node.description.as_ref().map(description_to_api).unwrap_or_default(),
        status: api_node::NodeStatus {
            state: node.status.state.to_string(),
            message: node.status.message.clone(),
            addr: node.status.addr.clone(),
        },
        manager_status: manager,
    }
}

/// The cluster as `/swarm` shows it, or `/info`, which keeps the tokens back.
pub fn cluster_to_api(cluster: &Cluster, with_tokens: bool) -> Result<api_swarm::Swarm, ConvertError> {
    let authority = &cluster.authority;
    Ok(api_swarm::Swarm {
        id: cluster.id.to_string(),
        version: version_to_api(&cluster.meta),
        created_at: cluster.meta.created_at.to_rfc3339(),
        updated_at: cluster.meta.updated_at.to_rfc3339(),
        spec: cluster_spec_to_api(&cluster.spec),
        tls_info: root_to_api(authority)?,
        root_rotation_in_progress: authority.rotation.is_some(),
        data_path_port: cluster.data_path_port,
        default_addr_pool: cluster.address_pools.clone(),
        subnet_size: cluster.subnet_size,
        join_tokens: with_tokens.then(|| api_swarm::JoinTokens {
            worker: authority.worker_token.reveal().into(),
            manager: authority.manager_token.reveal().into(),
        }),
    })
}

pub fn node_spec_to_api(spec: &NodeSpec) -> api_node::NodeSpec {
    api_node::NodeSpec {
        name: spec.name.clone(),
        labels: spec.labels.clone(),
        role: spec.role.to_string(),
        availability: spec.availability.to_string(),
    }
}

/// Role and availability have to be named, as in Docker: leaving one out is an error, not a default.
pub fn node_spec_from_api(spec: api_node::NodeSpec) -> Result<NodeSpec, ConvertError> {
    Ok(NodeSpec {
        role: role_from_api(&spec.role)?,
        availability: availability_from_api(&spec.availability)?,
        name: spec.name,
        labels: spec.labels,
    })
}

pub fn role_from_api(word: &str) -> Result<Role, ConvertError> {
    parse_word("Role", word)
}

pub fn availability_from_api(word: &str) -> Result<Availability, ConvertError> {
    parse_word("Availability", word)
}

pub fn cluster_spec_to_api(spec: &ClusterSpec) -> SwarmSpec {
    SwarmSpec {
        name: spec.name.clone(),
        labels: spec.labels.clone(),
        orchestration: api_swarm::Orchestration {
            task_history_retention_limit: Some(spec.task_history_limit),
        },
        raft: api_swarm::Raft {
            snapshot_interval: spec.snapshot_interval,
            keep_old_snapshots: Some(spec.snapshots_kept),
            log_entries_for_slow_followers: spec.log_entries_for_slow_followers,
            election_tick: spec.election_tick.into(),
            heartbeat_tick: spec.heartbeat_tick.into(),
        },
        dispatcher: api_swarm::Dispatcher { heartbeat_period: nanoseconds(spec.dispatcher_heartbeat) },
        ca_config: api_swarm::CaConfig {
            node_cert_expiry: nanoseconds(spec.node_certificate_expiry),
            external_cas: spec.external_authorities.iter().map(external_to_api).collect(),
            force_rotate: spec.force_rotate,
            // What signs is not shown, and its certificate only as the root that nodes trust: a client that sent
            // it back would ask for it anew.
            ..Default::default()
        },
        task_defaults: api_swarm::TaskDefaults::default(),
        encryption_config: api_swarm::EncryptionConfig { auto_lock_managers: spec.autolock_managers },
        liveness: match spec.liveness {
            LivenessPreset::Local => "local",
            LivenessPreset::Lan => "lan",
            LivenessPreset::Wan => "wan",
        }
        .into(),
    }
}

/// Puts what the document sets over `base`; its zero and empty members leave `base` as it is.
pub fn cluster_spec_from_api(spec: SwarmSpec, base: ClusterSpec) -> Result<ClusterSpec, ConvertError> {
    refuse_unsupported(&spec)?;
    let SwarmSpec {
        name,
        labels,
        orchestration,
        raft,
        dispatcher,
        ca_config,
        encryption_config,
        liveness,
        ..
    } = spec;
    if !name.is_empty() && name != base.name {
        return Err(ConvertError::ClusterName);
    }
    let heartbeat =
        u64::try_from(dispatcher.heartbeat_period).map_err(|_| ConvertError::NegativeHeartbeat)?;
    let expiry = u64::try_from(ca_config.node_cert_expiry).map_err(|_| ConvertError::ExpiryTooShort)?;
    let node_certificate_expiry =
        if expiry == 0 { base.node_certificate_expiry } else { Duration::from_nanos(expiry) };
    if node_certificate_expiry < CERTIFICATE_EXPIRY_MIN {
        return Err(ConvertError::ExpiryTooShort);
    }
    Ok(ClusterSpec {
        name: base.name,
        labels: if labels.is_empty() { base.labels } else { labels },
        task_history_limit: orchestration.task_history_retention_limit.unwrap_or(base.task_history_limit),
        snapshot_interval: or(raft.snapshot_interval, base.snapshot_interval),
        snapshots_kept: raft.keep_old_snapshots.unwrap_or(base.snapshots_kept),
        log_entries_for_slow_followers: or(
            raft.log_entries_for_slow_followers,
            base.log_entries_for_slow_followers,
        ),
        election_tick: or(tick("ElectionTick", raft.election_tick)?, base.election_tick),
        heartbeat_tick: or(tick("HeartbeatTick", raft.heartbeat_tick)?, base.heartbeat_tick),
        dispatcher_heartbeat: if heartbeat == 0 {
            base.dispatcher_heartbeat
        } else {
            Duration::from_nanos(heartbeat)
        },
        node_certificate_expiry,
        autolock_managers: encryption_config.auto_lock_managers,
        liveness: match liveness.as_str() {
            "" => base.liveness,
            "local" => LivenessPreset::Local,
            "lan" => LivenessPreset::Lan,
            "wan" => LivenessPreset::Wan,
            _ => return Err(word_error("Liveness", &liveness)),
        },
        external_authorities: external_from_api(ca_config.external_cas)?,
        force_rotate: ca_config.force_rotate,
    })
}

fn external_to_api(external: &ExternalAuthority) -> serde_json::Value {
    serde_json::json!({
        "Protocol": "cfssl",
        "URL": external.url,
        "Options": external.options,
        "CACert": external.certificate_pem,
    })
}

fn external_from_api(given: Vec<serde_json::Value>) -> Result<Vec<ExternalAuthority>, ConvertError> {
    if given.len() > EXTERNAL_CAS_MAX {
        return Err(ConvertError::Range { member: "ExternalCAs", value: given.len() as i64 });
    }
    given.into_iter().map(one_external_from_api).collect()
}

fn one_external_from_api(given: serde_json::Value) -> Result<ExternalAuthority, ConvertError> {
    let text = |member: &str| given.get(member).and_then(serde_json::Value::as_str).unwrap_or_default();
    // Docker's clients may leave the protocol out: there is one.
    let protocol = text("Protocol");
    if !protocol.is_empty() && !protocol.eq_ignore_ascii_case("cfssl") {
        return Err(ConvertError::ExternalProtocol { protocol: shortened(protocol) });
    }
    if !text("URL").starts_with("https://") {
        return Err(ConvertError::ExternalUrl { url: shortened(text("URL")) });
    }
    let mut options = std::collections::BTreeMap::new();
    for (key, value) in given.get("Options").and_then(serde_json::Value::as_object).into_iter().flatten() {
        options.insert(key.clone(), value.as_str().unwrap_or_default().into());
    }
    Ok(ExternalAuthority { url: text("URL").into(), options, certificate_pem: text("CACert").into() })
}

fn refuse_unsupported(spec: &SwarmSpec) -> Result<(), ConvertError> {
    let asked = [(spec.task_defaults.log_driver.is_some(), "a default log driver for tasks")];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(ConvertError::Unsupported { what }),
        None => Ok(()),
    }
}

fn description_to_api(description: &node::NodeDescription) -> api_node::NodeDescription {
    api_node::NodeDescription {
        hostname: description.hostname.clone(),
        platform: api_node::Platform {
            architecture: description.platform.architecture.clone(),
            os: description.platform.os.clone(),
        },
        resources: api_node::Resources {
            nano_cpus: description.resources.nano_cpus,
            memory_bytes: description.resources.memory_bytes,
            generic_resources: description
                .resources
                .generic
                .iter()
                .flat_map(|(kind, stock)| task::stock_to_api(kind, stock))
                .collect(),
        },
        engine: api_node::EngineDescription {
            engine_version: description.engine.version.clone(),
            labels: description.engine.labels.clone(),
            plugins: description
                .engine
                .plugins
                .iter()
                .map(|(kind, name)| api_node::Plugin { kind: kind.clone(), name: name.clone() })
                .collect(),
        },
        tls_info: api_swarm::TlsInfo {
            trust_root: description.tls.trust_root_pem.clone(),
            cert_issuer_subject: BASE64.encode(&description.tls.issuer_subject),
            cert_issuer_public_key: BASE64.encode(&description.tls.issuer_public_key),
        },
        runtimes: description.runtimes.clone(),
    }
}

/// What nodes trust, and who issues their certificates: the root itself, or the one that is to take over.
fn root_to_api(authority: &Authority) -> Result<api_swarm::TlsInfo, ConvertError> {
    let failed = |reason: String| ConvertError::RootCertificate { reason };
    let (_, pem) = x509_parser::pem::parse_x509_pem(authority.signer().certificate_pem.as_bytes())
        .map_err(|error| failed(error.to_string()))?;
    let issuer = pem.parse_x509().map_err(|error| failed(error.to_string()))?;
    Ok(api_swarm::TlsInfo {
        trust_root: authority.certificate_pem.clone(),
        cert_issuer_subject: BASE64.encode(issuer.subject().as_raw()),
        cert_issuer_public_key: BASE64.encode(issuer.public_key().raw),
    })
}

fn version_to_api(meta: &Meta) -> ObjectVersion {
    ObjectVersion { index: meta.version.0 }
}

/// Docker reads these words in any case.
fn parse_word<T: std::str::FromStr>(member: &'static str, word: &str) -> Result<T, ConvertError> {
    word.to_ascii_lowercase().parse().map_err(|_| word_error(member, word))
}

fn word_error(member: &'static str, word: &str) -> ConvertError {
    ConvertError::Word { member, word: shortened(word) }
}

/// The start of somebody's word, to put into an answer.
fn shortened(word: &str) -> String {
    word.chars().take(64).collect()
}

fn optional_duration(what: &'static str, value: Option<i64>) -> Result<Option<Duration>, ConvertError> {
    value.map(|value| duration(what, value)).transpose()
}

fn duration(what: &'static str, nanoseconds: i64) -> Result<Duration, ConvertError> {
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| ConvertError::Negative { what })?;
    Ok(Duration::from_nanos(nanoseconds))
}

fn tick(member: &'static str, value: i64) -> Result<u32, ConvertError> {
    u32::try_from(value).map_err(|_| ConvertError::Range { member, value })
}

fn or<T: Default + PartialEq>(value: T, default: T) -> T {
    if value == T::default() { default } else { value }
}

/// Docker's durations end after 292 years; a longer one is shown as that.
fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn swarm_spec(json: &str) -> SwarmSpec {
        serde_json::from_str(json).expect("a swarm spec")
    }

    #[test]
    fn what_the_docker_client_sends_at_init_is_the_default() {
        let sent = swarm_spec(
            r#"{"Labels":null,"Orchestration":{},"Raft":{"ElectionTick":0,"HeartbeatTick":0},"Dispatcher":{},
                "CAConfig":{},"TaskDefaults":{},"EncryptionConfig":{"AutoLockManagers":false}}"#,
        );
        assert_eq!(cluster_spec_from_api(sent, ClusterSpec::default()), Ok(ClusterSpec::default()));
    }

    #[test]
    fn null_is_the_same_as_missing() {
        let sent = swarm_spec(
            r#"{"Name":null,"Raft":{"SnapshotInterval":null,"ElectionTick":null},"Dispatcher":{"HeartbeatPeriod":null},
                "CAConfig":{"NodeCertExpiry":null,"ForceRotate":null,"ExternalCAs":null},"EncryptionConfig":{"AutoLockManagers":null}}"#,
        );
        assert_eq!(sent, SwarmSpec::default());
    }

    #[test]
    fn an_array_is_not_an_object() {
        for json in [r#"{"Raft":[500]}"#, r#"{"Dispatcher":1}"#, r#"{"CAConfig":"x"}"#] {
            let error = serde_json::from_str::<SwarmSpec>(json).expect_err(json).to_string();
            assert!(error.contains("expected an object"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let cases = [
            (r#"{"Name":"other"}"#, r#"swarm spec must be named "default""#),
            (
                r#"{"CAConfig":{"NodeCertExpiry":3599999999999}}"#,
                "minimum certificate expiry time is: 1h0m0s",
            ),
            (r#"{"CAConfig":{"NodeCertExpiry":-1}}"#, "minimum certificate expiry time is: 1h0m0s"),
            (
                r#"{"Dispatcher":{"HeartbeatPeriod":-1}}"#,
                "heartbeat time period cannot be a negative duration",
            ),
            (r#"{"Raft":{"ElectionTick":-3}}"#, "ElectionTick is out of range: -3"),
            (r#"{"Liveness":"moon"}"#, r#"invalid Liveness: "moon""#),
            (
                r#"{"CAConfig":{"ExternalCAs":[{"Protocol":"acme","URL":"https://ca"}]}}"#,
                r#"invalid protocol: "acme""#,
            ),
            (
                r#"{"CAConfig":{"ExternalCAs":[{"Protocol":"cfssl","URL":"http://ca"}]}}"#,
                r#"the URL of an external CA has to begin with https://, and "http://ca" does not"#,
            ),
            (
                r#"{"TaskDefaults":{"LogDriver":{"Name":"x"}}}"#,
                "a default log driver for tasks is not supported in this version yet",
            ),
        ];
        for (json, text) in cases {
            let error = cluster_spec_from_api(swarm_spec(json), ClusterSpec::default()).expect_err(json);
            assert_eq!(error.to_string(), text, "{json}");
        }
    }

    #[test]
    fn words_are_read_in_any_case_and_never_guessed() {
        assert_eq!(role_from_api("MANAGER"), Ok(Role::Manager));
        assert_eq!(role_from_api("").unwrap_err().to_string(), r#"invalid Role: """#);
        assert_eq!(availability_from_api("gone").unwrap_err().to_string(), r#"invalid Availability: "gone""#);
    }

    #[test]
    fn a_damaged_root_certificate_is_named() {
        let none = || crate::object::sensitive::Sensitive::new(String::new());
        let authority = Authority::new("not a certificate".into(), none(), none(), none());
        let error = root_to_api(&authority).expect_err("no certificate");
        assert!(error.to_string().starts_with("read the cluster's root certificate: "), "{error}");
    }

    prop_compose! {
        fn any_cluster_spec()(
            labels in prop::collection::btree_map("[a-z]{1,4}", ".{0,4}", 0..4),
            task_history_limit: i64,
            snapshot_interval in 1u64..,
            snapshots_kept: u64,
            log_entries_for_slow_followers in 1u64..,
            election_tick in 1u32..,
            heartbeat_tick in 1u32..,
            heartbeat in 1..i64::MAX as u64,
            expiry in CERTIFICATE_EXPIRY_MIN.as_nanos() as u64..i64::MAX as u64,
            autolock_managers: bool,
            liveness in prop_oneof![
                Just(LivenessPreset::Local), Just(LivenessPreset::Lan), Just(LivenessPreset::Wan)
            ],
            urls in prop::collection::vec("https://[a-z]{1,8}", 0..3),
            options in prop::collection::btree_map("[a-z]{1,4}", ".{0,4}", 0..3),
            force_rotate: u64,
        ) -> ClusterSpec {
            ClusterSpec {
                name: "default".into(),
                labels,
                task_history_limit,
                snapshot_interval,
                snapshots_kept,
                log_entries_for_slow_followers,
                election_tick,
                heartbeat_tick,
                dispatcher_heartbeat: Duration::from_nanos(heartbeat),
                node_certificate_expiry: Duration::from_nanos(expiry),
                autolock_managers,
                liveness,
                external_authorities: urls
                    .into_iter()
                    .map(|url| ExternalAuthority {
                        url,
                        options: options.clone(),
                        certificate_pem: "root".into(),
                    })
                    .collect(),
                force_rotate,
            }
        }
    }

    proptest! {
        #[test]
        fn a_cluster_spec_survives_its_json(spec in any_cluster_spec()) {
            let json = serde_json::to_string(&cluster_spec_to_api(&spec)).unwrap();
            let read = cluster_spec_from_api(swarm_spec(&json), ClusterSpec::default());
            prop_assert_eq!(read, Ok(spec));
        }

        #[test]
        fn a_node_spec_survives_its_json(
            name in ".{0,8}",
            labels in prop::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
            manager: bool,
            availability in 0usize..3,
        ) {
            let spec = NodeSpec {
                name,
                labels,
                role: if manager { Role::Manager } else { Role::Worker },
                availability:
                    [Availability::Active, Availability::Pause, Availability::Drain][availability],
            };
            let json = serde_json::to_string(&node_spec_to_api(&spec)).unwrap();
            let read = node_spec_from_api(serde_json::from_str(&json).unwrap());
            prop_assert_eq!(read, Ok(spec));
        }
    }
}

#[cfg(test)]
#[path = "convert/spec_test.rs"]
mod spec_test;
