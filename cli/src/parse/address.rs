//! `--listen-addr`: an address or interface, with the cluster's port when none is given.

const DEFAULT_HOST: &str = "0.0.0.0";
const DEFAULT_PORT: &str = "2377";

/// The default of `--listen-addr`.
pub const LISTEN_DEFAULT: &str = "0.0.0.0:2377";

/// Completes `<ip|interface>[:port]`; whether the interface exists is for the daemon to say.
pub fn listen(text: &str) -> Result<String, String> {
    let bad = || format!("invalid address {text:?} (format: \"<ip|interface>[:port]\")");
    let (host, port) = match text {
        // An IPv6 address alone has colons of its own.
        bare if bare.parse::<std::net::Ipv6Addr>().is_ok() => (format!("[{bare}]"), DEFAULT_PORT),
        bracketed if bracketed.starts_with('[') => {
            let (host, rest) = bracketed[1..].split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            let port = if rest.is_empty() { DEFAULT_PORT } else { rest.strip_prefix(':').ok_or_else(bad)? };
            (format!("[{host}]"), port)
        }
        plain => {
            let (host, port) = plain.split_once(':').unwrap_or((plain, DEFAULT_PORT));
            (if host.is_empty() { DEFAULT_HOST } else { host }.to_owned(), port)
        }
    };
    match port.parse::<u16>() {
        Ok(_) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(format!("{host}:{port}")),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_get_a_port() {
        #[rustfmt::skip]
        let cases = [
            ("0.0.0.0:2377", Some("0.0.0.0:2377")), ("10.0.0.1", Some("10.0.0.1:2377")), ("eth0", Some("eth0:2377")),
            ("eth0:99", Some("eth0:99")), (":99", Some("0.0.0.0:99")), ("", Some("0.0.0.0:2377")),
            ("::1", Some("[::1]:2377")), ("[::]", Some("[::]:2377")), ("[::]:99", Some("[::]:99")),
            ("eth0:x", None), ("eth0:", None), ("a:1:2", None), ("[::", None), ("[eth0]:1", None), ("[::]99", None),
            ("a:70000", None), ("a:+1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(listen(text).ok().as_deref(), expected, "{text}");
        }
    }
}
