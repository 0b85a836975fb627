//! Small values of services' flags: generic resources, placement preferences, host names, addresses, sizes.

use std::net::IpAddr;

use super::size;

/// `--generic-resource KIND=AMOUNT`
pub fn generic_resource(text: &str) -> Result<(String, i64), String> {
    let Some((kind, value)) = text.split_once('=').filter(|(kind, _)| !kind.is_empty()) else {
        return Err(format!("invalid generic-resource format `{text}` expected `name=value`"));
    };
    match value.parse::<i64>() {
        Ok(amount) if amount >= 0 => Ok((kind.into(), amount)),
        Ok(amount) => Err(format!("invalid generic resource specification: {kind}={amount} is negative")),
        Err(_) => Err(format!(
            "invalid generic-resource request `{kind}={value}`, Named Generic Resources is not supported for service \
             create or update"
        )),
    }
}

/// `--placement-pref spread=node.labels.rack`: what to spread over.
pub fn placement_preference(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("spread", over)) => Ok(over.into()),
        Some((strategy, _)) if !strategy.is_empty() => {
            Err(format!("unsupported placement preference {strategy} (only spread is supported)"))
        }
        _ => Err("placement preference must be of the format \"<strategy>=<arg>\"".into()),
    }
}

/// `--host NAME:ADDRESS` as a line of a hosts file.
pub fn host(text: &str) -> Result<String, String> {
    let pair = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = pair.filter(|(name, _)| !name.is_empty() && !name.contains(':')) else {
        return Err(format!("bad format for add-host: {text:?}"));
    };
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {bare:?}"));
    }
    Ok(format!("{bare} {name}"))
}

/// `--dns ADDRESS`
pub fn ip(text: &str) -> Result<String, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// `--dns-search DOMAIN`; a single dot means: no domain.
pub fn domain(text: &str) -> Result<String, String> {
    let domain = text.trim_matches(' ');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    let has_letter = domain.bytes().any(|byte| byte.is_ascii_alphabetic());
    if domain == "." || (domain.len() < 255 && has_letter && labels.split('.').all(is_label)) {
        Ok(domain.into())
    } else {
        Err(format!("{domain} is not a valid domain"))
    }
}

/// `--memory-swap`: a size, or -1 for no limit.
pub fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { size::parse(text).map_err(|error| error.to_string()) }
}

/// `--credential-spec config://…|file://…|registry://…`: which member of the spec, and its value.
pub fn credential_spec(text: &str) -> Result<Option<(&'static str, String)>, String> {
    match text.split_once("://") {
        _ if text.is_empty() => Ok(None),
        Some(("config", value)) => Ok(Some(("Config", value.into()))),
        Some(("file", value)) => Ok(Some(("File", value.into()))),
        Some(("registry", value)) => Ok(Some(("Registry", value.into()))),
        _ => Err(
            "invalid credential spec: value must be prefixed with \"config://\", \"file://\", or \"registry://\"".into(),
        ),
    }
}

/// `key=value` of drivers' options and kernel parameters: anything goes, a key alone has the empty value.
pub fn option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err(format!("invalid option {text:?}: the key is empty (expected key=value)")),
        (key, value) => Ok((key.into(), value.into())),
    }
}

/// Capabilities have one spelling: `net_admin` is `CAP_NET_ADMIN`.
pub fn capability(text: &str) -> String {
    let name = text.trim().to_uppercase();
    if name == "ALL" || name == "RESET" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_and_their_errors() {
        let joined = |pair: (String, i64)| format!("{} {}", pair.0, pair.1);
        #[rustfmt::skip]
        let cases = [
            (generic_resource("gpu=2").map(joined), Ok("gpu 2")),
            (generic_resource("gpu").map(joined), Err("invalid generic-resource format `gpu` expected `name=value`")),
            (generic_resource("gpu=-1").map(joined), Err("invalid generic resource specification: gpu=-1 is negative")),
            (generic_resource("gpu=a").map(joined),
             Err("invalid generic-resource request `gpu=a`, Named Generic Resources is not supported for service create or update")),
            (placement_preference("spread=node.labels.a=b"), Ok("node.labels.a=b")),
            (placement_preference("binpack=x"), Err("unsupported placement preference binpack (only spread is supported)")),
            (placement_preference("x"), Err("placement preference must be of the format \"<strategy>=<arg>\"")),
            (host("db:10.0.0.1"), Ok("10.0.0.1 db")), (host("db=::1"), Ok("::1 db")), (host("db:[::1]"), Ok("::1 db")),
            (host("db:::1"), Ok("::1 db")), (host("db:host-gateway"), Ok("host-gateway db")),
            (host("db"), Err("bad format for add-host: \"db\"")), (host(":1.2.3.4"), Err("bad format for add-host: \":1.2.3.4\"")),
            (host("db:x"), Err("invalid IP address in add-host: \"x\"")),
            (ip(" 10.0.0.1"), Ok("10.0.0.1")), (ip("0:0:0:0:0:0:0:1"), Ok("::1")), (ip("x"), Err("IP address is not correctly formatted: x")),
            (domain("example.com"), Ok("example.com")), (domain("."), Ok(".")), (domain("a.b."), Ok("a.b.")),
            (domain("1.2"), Err("1.2 is not a valid domain")), (domain("-a.b"), Err("-a.b is not a valid domain")), (domain("a..b"), Err("a..b is not a valid domain")),
            (swap("-1").map(|bytes| bytes.to_string()), Ok("-1")), (swap("1k").map(|bytes| bytes.to_string()), Ok("1024")),
            (swap("x").map(|bytes| bytes.to_string()), Err("invalid size: \"x\"")),
            (credential_spec("file://x").map(|spec| format!("{spec:?}")), Ok("Some((\"File\", \"x\"))")),
            (credential_spec("").map(|spec| format!("{spec:?}")), Ok("None")),
            (credential_spec("x").map(|spec| format!("{spec:?}")),
             Err("invalid credential spec: value must be prefixed with \"config://\", \"file://\", or \"registry://\"")),
            (Ok(capability("net_admin")), Ok("CAP_NET_ADMIN")), (Ok(capability("CAP_Kill ")), Ok("CAP_KILL")), (Ok(capability("all")), Ok("ALL")),
        ];
        for (seen, expected) in cases {
            assert_eq!(seen.as_deref(), expected.map_err(str::to_owned).as_ref().map(|text| *text));
        }
    }
}
