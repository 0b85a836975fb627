//! The API on TCP: whom it lets in. Both sides show certificates of the cluster; a manager alone can tell which of its
//! clients' are still good, so on another node callers are told that and nothing else.
//!
//! Everything an unknown caller can make us hold is counted, in all and per address; and an address that fails again
//! and again is not listened to for a while.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use common::engine_api::access::{AuditRecord, AuditWho};
use common::identity::ApiServerNames;
use common::limits::{
    API_CONNECTIONS_PER_CLIENT_MAX, API_FAILING_ADDRESSES_MAX, API_FAILURES_PER_ADDRESS_MAX,
    API_FAILURES_PERIOD, API_HANDSHAKE_TIME_MAX, API_HANDSHAKES_MAX, API_HANDSHAKES_PER_ADDRESS_MAX,
    API_SERVER_CERTIFICATE_TIME, API_TCP_CONNECTIONS_MAX,
};
use common::object::ClientSerial;
use common::pace::Pace;
use common::places::Places;
use common::report::Report;
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock, Timestamp};
use common::transport::tls::{ShownChain, TlsCaller, TlsServer};
use hyper::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::caller::Caller;
use super::host::Control;
use super::patience::Endless;
use super::route::Edge;
use super::serve::{self, Slot};
use crate::ca::clients::{issue_server, trusted_roots};
use crate::store::Changed;

/// How often it is looked whether callers are still welcome, where nothing says that something has changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Addresses of this machine that its certificate names: those that callers have come to.
const OWN_ADDRESSES_MAX: usize = 64;

/// What a door holds.
pub(super) struct Door {
    edge: Arc<Edge>,
    tasks: Tasks,
    /// Names and addresses that a person gave, beside those that are known.
    names: ApiServerNames,
    own: Mutex<BTreeSet<IpAddr>>,
    shown: Mutex<Option<Shown>>,
    handshakes: Arc<Places<IpAddr>>,
    connections: Arc<Places<ClientSerial>>,
    failures: Mutex<Pace<IpAddr>>,
    /// Moves when callers may have become unwelcome.
    changes: watch::Sender<u64>,
}

/// The certificate shown to callers, and what it was made of.
struct Shown {
    tls: TlsServer,
    roots: String,
    issuer: String,
    names: ApiServerNames,
    renew_at: Timestamp,
}

impl Door {
    pub fn new(edge: Arc<Edge>, tasks: Tasks, names: ApiServerNames) -> Arc<Self> {
        let rate = f64::from(API_FAILURES_PER_ADDRESS_MAX) / API_FAILURES_PERIOD.as_secs_f64();
        let failures = Pace::new(rate, API_FAILURES_PER_ADDRESS_MAX, API_FAILING_ADDRESSES_MAX);
        Arc::new(Self {
            edge,
            tasks,
            names,
            own: Mutex::default(),
            shown: Mutex::default(),
            handshakes: Places::new(API_HANDSHAKES_MAX, API_HANDSHAKES_PER_ADDRESS_MAX),
            connections: Places::new(API_TCP_CONNECTIONS_MAX, API_CONNECTIONS_PER_CLIENT_MAX),
            failures: Mutex::new(failures),
            changes: watch::Sender::new(0),
        })
    }

    /// Serves until the API stops.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        self.tasks.spawn_until_stopped(self.clone().follow());
        loop {
            let accepted = tokio::select! {
                () = self.tasks.stopping() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, addr) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(error = %Report(&error), "API connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let ip = addr.ip().to_canonical();
            if !self.failures.lock().expect("no holder panics").has(&ip, SystemClock.monotonic()) {
                debug!(%ip, "API connection closed: too many from there have failed");
                continue;
            }
            let Some(place) = self.handshakes.take(&ip) else {
                debug!(%ip, "API connection closed: too many handshakes");
                continue;
            };
            let door = self.clone();
            self.tasks.spawn(async move {
                let admitted = tokio::select! {
                    () = door.tasks.stopping() => return,
                    admitted = tokio::time::timeout(API_HANDSHAKE_TIME_MAX, door.admit(stream, addr)) => admitted,
                };
                drop(place);
                match admitted {
                    Ok(Ok(Some(caller))) => door.let_in(caller, addr).await,
                    Ok(Ok(None)) => {} // it was told why
                    Ok(Err(error)) => {
                        let reason = error.to_string();
                        door.failed(addr, &reason).await;
                    }
                    Err(_) => door.failed(addr, "the TLS handshake took too long").await,
                }
            });
        }
    }

    /// The handshake; none for a caller who speaks something else, or to a node that can let nobody in.
    async fn admit(&self, mut stream: TcpStream, addr: SocketAddr) -> io::Result<Option<TlsCaller>> {
        const TLS_HANDSHAKE: u8 = 0x16;
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(None); // somebody only looked whether the port is open
        }
        let Some(control) = self.edge.host.manager() else {
            let text = "this node is not a manager of a swarm, so it cannot tell which client certificates are good: ask a manager";
            say(&mut stream, "503 Service Unavailable", text).await;
            return Ok(None);
        };
        if first[0] != TLS_HANDSHAKE {
            let text = "this is the swarm API under TLS: use https, or `docker --tlsverify`, with a client certificate";
            say(&mut stream, "400 Bad Request", text).await;
            return Ok(None);
        }
        match self.certificate(&*control, stream.local_addr()?.ip()) {
            Ok(tls) => tls.accept(stream).await.map(Some),
            Err(reason) => {
                warn!(%addr, reason, "API caller not let in: there is no certificate to show");
                Ok(None)
            }
        }
    }

    async fn let_in(&self, caller: TlsCaller, addr: SocketAddr) {
        let TlsCaller { stream, chain } = caller;
        let caller = Caller::of_certificate(addr, chain.leaf());
        // All that are nobody's share the places of one.
        let key = caller.serial().unwrap_or(ClientSerial(0));
        let Some(place) = self.connections.take(&key) else {
            warn!(from = caller.from, "API connection closed: this client has too many");
            return;
        };
        let slot = Slot::with(Arc::new(place), Endless::default(), caller);
        self.tasks.spawn_until_stopped(watch_over(
            self.edge.clone(),
            slot.clone().held(),
            chain,
            self.changes.subscribe(),
        ));
        serve::connection(stream, self.edge.clone(), slot, self.tasks.clone()).await;
    }

    async fn failed(&self, addr: SocketAddr, reason: &str) {
        let ip = addr.ip().to_canonical();
        debug!(%addr, reason, "API caller not let in");
        self.failures.lock().expect("no holder panics").take(&ip, SystemClock.monotonic());
        // Counted apart from nodes that come with their own certificates: no client has this number.
        if !self.edge.may_record_refusal(Some(ClientSerial(0))) {
            return;
        }
        let record = AuditRecord {
            time: SystemClock.now().to_rfc3339(),
            node: self.edge.host.status().node.map(|node| node.to_string()).unwrap_or_default(),
            who: AuditWho { kind: "stranger".into(), ..AuditWho::default() },
            from: SocketAddr::new(ip, addr.port()).to_string(),
            action: "connect".into(),
            outcome: "refused".into(),
            status: StatusCode::UNAUTHORIZED.as_u16(),
            error: crate::audit::redact::error(reason),
            ..AuditRecord::default()
        };
        self.edge.audit.write(record).await;
    }

    /// TLS as of now: made anew when it grows old, when the cluster's root changes, and for another name of ours.
    fn certificate(&self, control: &dyn Control, own: IpAddr) -> Result<TlsServer, String> {
        let tables = control.local();
        let cluster = tables.cluster().ok_or("this manager has yet to learn of its cluster")?;
        let (roots, issuer) = (trusted_roots(cluster), &cluster.authority.certificate_pem);
        let (names, now) = (self.names(own), control.now());
        let mut shown = self.shown.lock().expect("no holder panics");
        if let Some(shown) = &*shown
            && (&shown.roots, &shown.issuer, &shown.names) == (&roots, issuer, &names)
            && now < shown.renew_at
        {
            return Ok(shown.tls.clone());
        }
        let (chain, key) = issue_server(cluster, &names, now).map_err(|error| Report(&error).to_string())?;
        let tls = TlsServer::new(&chain, &key, &roots).map_err(|error| error.to_string())?;
        info!(names = ?names.names, addresses = ?names.addresses, "new certificate for API clients");
        let renew_at = now.plus(API_SERVER_CERTIFICATE_TIME / 2);
        *shown = Some(Shown { tls: tls.clone(), roots, issuer: issuer.clone(), names, renew_at });
        Ok(tls)
    }

    fn names(&self, own: IpAddr) -> ApiServerNames {
        let status = self.edge.host.status();
        let mut names = self.names.clone();
        names.names.extend([status.hostname, "localhost".into()]);
        names.addresses.extend([IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()]);
        names.addresses.extend(status.advertise_ip);
        let mut known = self.own.lock().expect("no holder panics");
        if known.len() < OWN_ADDRESSES_MAX {
            known.insert(own.to_canonical());
        }
        names.addresses.extend(known.iter().copied());
        names
    }

    /// Moves `changes` with every change of the cluster's object, and now and then.
    async fn follow(self: Arc<Self>) {
        loop {
            self.changes.send_modify(|count| *count += 1);
            let Some(control) = self.edge.host.manager() else {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            };
            let feed = control.store().feed();
            let mut version = feed.reached();
            let changed = async {
                while let Ok((changes, next)) = feed.after(version).await {
                    version = next;
                    if changes.iter().any(|change| matches!(change, Changed::Cluster { .. })) {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(LOOK_AGAIN, changed).await; // then it is looked all the same
        }
    }
}

/// What a watcher has of a connection: nothing that keeps it.
pub(super) struct Held {
    pub place: Weak<dyn Send + Sync>,
    pub cut: CancellationToken,
    pub caller: Arc<Caller>,
}

/// Cuts a connection off once its caller may not ask any more: revoked, expired, on a root that is not trusted any
/// more, or this is no manager now.
async fn watch_over(edge: Arc<Edge>, held: Held, chain: ShownChain, mut changes: watch::Receiver<u64>) {
    // Who has no right to begin with is told so, once: that is for the first answer.
    if edge.check(&held.caller).is_err() {
        return;
    }
    let mut trusted = None;
    while changes.changed().await.is_ok() && held.place.strong_count() > 0 {
        let roots = edge
            .host
            .manager()
            .and_then(|control| control.local().cluster().map(|cluster| trusted_roots(cluster)));
        let stands = roots == trusted || roots.as_deref().is_none_or(|roots| chain.leads_to(roots));
        trusted = roots;
        let reason = match edge.check(&held.caller) {
            Ok(()) if stands => continue,
            Ok(()) => "the root of its certificate was replaced".to_owned(),
            Err(error) => error.message,
        };
        info!(from = held.caller.from, reason, "API connection cut off");
        held.cut.cancel();
        return;
    }
}

/// An answer in plain HTTP for a caller with whom no TLS is spoken.
async fn say(stream: &mut TcpStream, status: &str, text: &str) {
    let body = format!("{{\"message\":\"{text}\"}}\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await; // who does not listen need not be told
    let _ = stream.shutdown().await;
    // What came already is read, or the kernel would throw our answer away with it.
    let mut rest = [0; 4096];
    let _ =
        tokio::time::timeout(Duration::from_millis(200), tokio::io::AsyncReadExt::read(stream, &mut rest))
            .await;
}
