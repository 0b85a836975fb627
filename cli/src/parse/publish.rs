//! `--publish [PUBLISHED:]TARGET[/PROTOCOL]` and `--publish published=8080,target=80,protocol=tcp,mode=host`.

use serde_json::{Value, json};

use super::csv;
use super::number;

/// One port of a service. The short form has ranges, which become several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub protocol: String,
    pub target: u64,
    /// 0 means: the cluster finds a free one.
    pub published: u64,
    pub mode: String,
}

/// What one flag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub Vec<Port>);

impl Port {
    pub fn to_json(&self) -> Value {
        let mut port =
            json!({"Protocol": self.protocol, "TargetPort": self.target, "PublishMode": self.mode});
        if self.published != 0 {
            port["PublishedPort"] = self.published.into();
        }
        port
    }
}

pub fn parse(text: &str) -> Result<Ports, String> {
    if csv::is_long_form(text) { long(text).map(|port| Ports(vec![port])) } else { short(text).map(Ports) }
}

fn long(text: &str) -> Result<Port, String> {
    let mut port = Port { protocol: "tcp".into(), target: 0, published: 0, mode: "ingress".into() };
    for field in csv::fields(text)? {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field: {field}"));
        };
        let number = |what: &str| {
            number::decimal(value, 16)
                .map_err(|error| format!("invalid {what} port ({value}): value must be an integer: {error}"))
        };
        match key {
            "protocol" if matches!(value, "tcp" | "udp" | "sctp") => port.protocol = value.into(),
            "protocol" => return Err(format!("invalid protocol value '{value}'")),
            "mode" if matches!(value, "ingress" | "host") => port.mode = value.into(),
            "mode" => {
                let expected = "must be either 'ingress' or 'host'";
                return Err(format!("invalid publish mode value ({value}): {expected}"));
            }
            "target" => port.target = number("target")?,
            "published" => port.published = number("published")?,
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    if port.target == 0 { Err("missing mandatory field 'target'".into()) } else { Ok(port) }
}

fn short(text: &str) -> Result<Vec<Port>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    let (before, target) = ports.rsplit_once(':').unwrap_or(("", ports));
    if before.contains(':') || before.contains('.') || before.contains('[') {
        return Err("hostip is not supported".into());
    }
    if target.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let targets = range(target).ok_or_else(|| format!("invalid containerPort: {target}"))?;
    let published = match before {
        "" => None,
        before => Some(range(before).ok_or_else(|| format!("invalid hostPort: {before}"))?),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let port =
        |published, target| Port { protocol: protocol.clone(), target, published, mode: "ingress".into() };
    let size = |(first, last): (u64, u64)| last - first;
    Ok(match published {
        None => (targets.0..=targets.1).map(|target| port(0, target)).collect(),
        // Several published ports of one target.
        Some(published) if size(targets) == 0 => {
            (published.0..=published.1).map(|published| port(published, targets.0)).collect()
        }
        Some(published) if size(published) == size(targets) => (published.0..=published.1)
            .zip(targets.0..)
            .map(|(published, target)| port(published, target))
            .collect(),
        Some(_) => {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {target} and {before}"
            ));
        }
    })
}

/// `80` or `80-90`, none of them 0.
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number::decimal(first, 16).ok()?, number::decimal(last, 16).ok()?);
    (0 < first && first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_short_and_long() {
        #[rustfmt::skip]
        let cases = [
            ("80",                 Ok("0:80/tcp/ingress")),
            ("8080:80",            Ok("8080:80/tcp/ingress")),
            ("8080:80/udp",        Ok("8080:80/udp/ingress")),
            ("8080:80/UDP",        Ok("8080:80/udp/ingress")),
            ("80-82",              Ok("0:80/tcp/ingress 0:81/tcp/ingress 0:82/tcp/ingress")),
            ("8000-8001:80-81",    Ok("8000:80/tcp/ingress 8001:81/tcp/ingress")),
            ("8000-8001:80",       Ok("8000:80/tcp/ingress 8001:80/tcp/ingress")),
            ("target=80",          Ok("0:80/tcp/ingress")),
            ("published=8080,target=80,protocol=sctp,mode=host", Ok("8080:80/sctp/host")),
            ("Mode=HOST,Target=80", Ok("0:80/tcp/host")),
            ("127.0.0.1:80:80",    Err("hostip is not supported")),
            ("[::1]:80:80",        Err("hostip is not supported")),
            ("",                   Err("no port specified: <empty>")),
            ("80:",                Err("no port specified: 80:<empty>")),
            ("80:x",               Err("invalid containerPort: x")),
            ("0",                  Err("invalid containerPort: 0")),
            ("90-80",              Err("invalid containerPort: 90-80")),
            ("x:80",               Err("invalid hostPort: x")),
            ("99999:80",           Err("invalid hostPort: 99999")),
            ("80/icmp",            Err("invalid proto: icmp")),
            ("8000-8002:80-81",    Err("invalid ranges specified for container and host Ports: 80-81 and 8000-8002")),
            ("target=80,protocol=x", Err("invalid protocol value 'x'")),
            ("target=80,mode=x",   Err("invalid publish mode value (x): must be either 'ingress' or 'host'")),
            ("target=x",           Err("invalid target port (x): value must be an integer: invalid syntax")),
            ("target=99999",       Err("invalid target port (99999): value must be an integer: value out of range")),
            ("target=80,published=80-90", Err("invalid published port (80-90): value must be an integer: invalid syntax")),
            ("target=80,ip=x",     Err("invalid field key: ip")),
            ("target=80,mode",     Err("invalid field: mode")),
            ("published=80",       Err("missing mandatory field 'target'")),
        ];
        for (text, expected) in cases {
            let seen = parse(text).map(|Ports(ports)| {
                let shown = ports.iter().map(|port| {
                    format!("{}:{}/{}/{}", port.published, port.target, port.protocol, port.mode)
                });
                shown.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(seen.as_deref(), expected.map_err(str::to_owned).as_ref().map(|text| *text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9:/.tcpudmoe=,\\[]{0,30}") {
            let _ = parse(&text);
        }
    }
}
