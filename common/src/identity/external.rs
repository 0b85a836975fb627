//! An authority outside of the cluster: one request of CFSSL's protocol over HTTPS, in which both ends show certificates.
//!
//! HTTP 1.0, so that an answer is whole when the connection ends; from a thread that may wait, since the answer is a
//! handful of packets and TLS here knows plain sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::Deserialize;

use super::certificate::{AUTHORITY_NAME, NodeCertificate, certificates_from_pem, role_unit};
use super::node::{NodeIdentity, check_chain, root_store};
use crate::limits::{EXTERNAL_CA_ANSWER_BYTES_MAX, EXTERNAL_CA_WAIT};
use crate::object::{ClusterId, NodeId, Role};

/// What a certificate is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub url: String,
    /// Sent along as they are.
    pub options: BTreeMap<String, String>,
    /// The root that the certificate has to lead to.
    pub root_pem: String,
    /// DER.
    pub csr: Vec<u8>,
    pub node: NodeId,
    pub cluster: ClusterId,
    pub role: Role,
}

#[derive(Debug, thiserror::Error)]
#[error("external authority {url}: {reason}")]
pub struct ExternalError {
    pub url: String,
    pub reason: String,
}

/// Has a certificate made, PEM. Bounded in time. What comes back leads to the root and says what was asked for.
pub async fn sign(me: &NodeIdentity, request: Request) -> Result<String, ExternalError> {
    let (me, url) = (me.clone(), request.url.clone());
    let asking = tokio::task::spawn_blocking(move || {
        let answer = exchange(&me, &request)?;
        check(&request, answer)
    });
    let failed = |reason: String| ExternalError { url, reason };
    match tokio::time::timeout(EXTERNAL_CA_WAIT, asking).await {
        Ok(Ok(outcome)) => outcome.map_err(failed),
        Ok(Err(_)) => Err(failed("the request was given up".into())),
        Err(_) => Err(failed(format!("no answer in {} s", EXTERNAL_CA_WAIT.as_secs()))),
    }
}

/// CFSSL's answer to `sign`.
#[derive(Deserialize)]
struct Answer {
    success: bool,
    #[serde(default)]
    result: Option<Signed>,
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Signed {
    certificate: String,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

fn body(request: &Request) -> Vec<u8> {
    let (unit, id) = (role_unit(request.role), request.node.to_string());
    let mut hosts = vec![unit.to_string(), id.clone()];
    if request.role == Role::Manager {
        hosts.push(AUTHORITY_NAME.into());
    }
    let mut body = serde_json::Map::new();
    for (key, value) in &request.options {
        body.insert(key.clone(), value.clone().into());
    }
    let subject = serde_json::json!({
        "CN": id,
        "names": [{ "OU": unit, "O": request.cluster.to_string() }],
    });
    body.insert("request".into(), request_pem(&request.csr).into());
    body.insert("hosts".into(), hosts.into());
    body.insert("subject".into(), subject);
    serde_json::to_vec(&body).expect("plain values encode")
}

fn request_pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n")
}

/// Host, port and path of an `https` address.
fn parts(url: &str) -> Result<(&str, u16, &str), String> {
    let rest = url.strip_prefix("https://").ok_or("its address does not begin with https://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| format!("{port} is no port"))?)
        }
        _ => (authority, 443),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !plain || host.contains('@') {
        return Err("its address names no host".into());
    }
    Ok((host, port, if path.is_empty() { "/" } else { path }))
}

fn exchange(me: &NodeIdentity, request: &Request) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (host, port, path) = parts(&request.url)?;
    let mut roots = me.roots();
    roots.add_parsable_certificates(certificates_from_pem(&request.root_pem).map_err(|error| text(&error))?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| text(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(me.chain().to_vec(), me.key().to_tls())
        .map_err(|error| text(&error))?;
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(host.to_string()).map_err(|error| text(&error))?;
    let tls = ClientConnection::new(Arc::new(config), name).map_err(|error| text(&error))?;
    let addresses = (host, port).to_socket_addrs().map_err(|error| text(&error))?;
    let mut socket = Err("its name has no address".to_string());
    for address in addresses {
        socket = TcpStream::connect_timeout(&address, EXTERNAL_CA_WAIT).map_err(|error| text(&error));
        if socket.is_ok() {
            break;
        }
    }
    let socket = socket?;
    let wait: Option<Duration> = Some(EXTERNAL_CA_WAIT);
    socket
        .set_read_timeout(wait)
        .and_then(|()| socket.set_write_timeout(wait))
        .map_err(|error| text(&error))?;
    let mut stream = StreamOwned::new(tls, socket);
    let body = body(request);
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).map_err(|error| text(&error))?;
    let mut answer = Vec::new();
    let limit = EXTERNAL_CA_ANSWER_BYTES_MAX as u64 + 1;
    match (&mut stream).take(limit).read_to_end(&mut answer) {
        Ok(_) => {}
        // Some servers end without TLS's goodbye; whether the answer is whole is seen by reading it.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(text(&error)),
    }
    if answer.len() > EXTERNAL_CA_ANSWER_BYTES_MAX {
        return Err("its answer is too large".into());
    }
    Ok(answer)
}

/// The certificate in an answer, if it is what was asked for.
fn check(request: &Request, answer: Vec<u8>) -> Result<String, String> {
    let leaf = certificate_in(&answer)?;
    let wrong = |error: &dyn std::fmt::Display| format!("its certificate cannot be used: {error}");
    let chain = certificates_from_pem(&leaf).map_err(|error| wrong(&error))?;
    let roots = certificates_from_pem(&request.root_pem).map_err(|error| wrong(&error))?;
    let facts = NodeCertificate::from_der(&chain[0]).map_err(|error| wrong(&error))?;
    if (facts.node, facts.cluster, facts.role) != (request.node, request.cluster, request.role) {
        return Err(wrong(&"it is for somebody else"));
    }
    if !request.csr.windows(facts.public_key.len()).any(|part| part == facts.public_key) {
        return Err(wrong(&"it is for another key"));
    }
    check_chain(&facts, &chain, &roots).map_err(|reason| wrong(&reason))?;
    debug_assert!(!root_store(&roots).is_empty());
    Ok(leaf)
}

/// Reads one answer of CFSSL over HTTP.
pub fn certificate_in(answer: &[u8]) -> Result<String, String> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("its answer breaks off")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.lines().next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_string();
    let body: Result<Answer, _> = serde_json::from_slice(&answer[end + 4..]);
    match body {
        Ok(Answer { success: true, result: Some(signed), .. }) => Ok(signed.certificate),
        Ok(Answer { errors, .. }) => {
            let said: Vec<String> = errors.into_iter().map(|error| shown(&error.message)).collect();
            Err(format!("it did not sign (HTTP {}): {}", shown(&status), said.join("; ")))
        }
        Err(_) => Err(format!("its answer is not CFSSL's (HTTP {})", shown(&status))),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        #[rustfmt::skip]
        let cases = [
            ("https://ca.example:8888/api/v1/cfssl/sign", Ok(("ca.example", 8888, "/api/v1/cfssl/sign"))),
            ("https://ca",                                Ok(("ca", 443, "/"))),
            ("https://[fd00::1]:1/x",                     Ok(("fd00::1", 1, "/x"))),
            ("https://[fd00::1]/x",                       Ok(("fd00::1", 443, "/x"))),
            ("http://ca/x",                               Err("its address does not begin with https://".into())),
            ("https:///x",                                Err("its address names no host".into())),
            ("https://user@ca/x",                         Err("its address names no host".into())),
            ("https://ca/x HTTP/1.1\r\nEvil: 1",          Err("its address names no host".into())),
            ("https://ca:x/",                             Err("x is no port".to_string())),
        ];
        for (url, expected) in cases {
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn answers() {
        #[rustfmt::skip]
        let cases = [
            ("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"success\":true,\"result\":{\"certificate\":\"PEM\"},\"errors\":[]}", Ok("PEM")),
            ("HTTP/1.0 400 Bad\r\n\r\n{\"success\":false,\"errors\":[{\"code\":1,\"message\":\"no\\u001b[2J\"}]}", Err("it did not sign (HTTP 400): no[2J")),
            ("HTTP/1.0 500 Oops\r\n\r\nhtml", Err("its answer is not CFSSL's (HTTP 500)")),
            ("HTTP/1.0 200 OK\r\n", Err("its answer breaks off")),
            ("", Err("its answer breaks off")),
        ];
        for (answer, expected) in cases {
            let found = certificate_in(answer.as_bytes());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(head in ".{0,40}", body: Vec<u8>) {
            let _ = certificate_in(&[head.as_bytes(), b"\r\n\r\n", &body].concat());
        }
    }
}
