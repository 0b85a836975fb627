//! `--ready-http PORT/PATH`: the address of a readiness check within a task.

use super::number;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub port: u16,
    pub path: String,
}

pub fn http(text: &str) -> Result<Http, String> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    if path.contains(char::is_whitespace) || path.contains(char::is_control) {
        return Err(format!("invalid path \"/{path}\": it contains whitespace"));
    }
    Ok(Http { port: self::port(port)?, path: format!("/{path}") })
}

pub fn port(text: &str) -> Result<u16, String> {
    match number::decimal(text, 16).ok().and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok(port),
        _ => Err(format!("invalid port {text:?}: it is a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn addresses_of_checks() {
        let http = |text| super::http(text).map(|http| format!("{} {}", http.port, http.path));
        #[rustfmt::skip]
        let cases = [
            ("8080/health?x=1", Ok("8080 /health?x=1")), ("80", Ok("80 /")), ("80/", Ok("80 /")), ("80/a/b", Ok("80 /a/b")),
            ("/health", Err("invalid port \"\": it is a number from 1 to 65535")),
            ("0/x", Err("invalid port \"0\": it is a number from 1 to 65535")),
            ("80/a b", Err("invalid path \"/a b\": it contains whitespace")),
        ];
        for (text, expected) in cases {
            assert_eq!(
                http(text).as_deref(),
                expected.map_err(str::to_owned).as_ref().map(|text| *text),
                "{text}"
            );
        }
    }
}
