//! Whether a text names an image: `[host[:port]/]path[:tag][@digest]`, as Docker's reference grammar has it.

use super::super::error::ApiError;
use super::super::target::shortened;

const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
const DIGEST_DIGITS_MIN: usize = 32;

pub fn check(image: &str) -> Result<(), ApiError> {
    if image.is_empty() {
        return Err(ApiError::invalid("ContainerSpec: image reference must be provided"));
    }
    if is_reference(image) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("ContainerSpec: {:?} is not a valid repository/tag", shortened(image))))
}

fn is_reference(image: &str) -> bool {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    // A colon after the last slash begins a tag; before it, a port.
    let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[path_start..].split_once(':') {
        Some((last, tag)) => (&rest[..path_start + last.len()], Some(tag)),
        None => (rest, None),
    };
    let is_bare_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    !is_bare_id && is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

fn is_name(name: &str) -> bool {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return false;
    }
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_meant_as_host(first) => (Some(first), rest),
        _ => (None, name),
    };
    host.is_none_or(is_host) && path.split('/').all(is_path_component)
}

fn is_meant_as_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
    }
    let (names, port) = match host.find(':') {
        Some(colon) => host.split_at(colon),
        None => (host, ""),
    };
    (port.is_empty() || is_port(port))
        && names.split('.').all(|part| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
        })
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Lower-case letters and digits, with single dots, one or two underscores or any number of hyphens between.
fn is_path_component(component: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_letter(*first) || !is_letter(*last) {
        return false;
    }
    bytes.split(|byte| is_letter(*byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, digits)) = digest.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let is_known_length = match algorithm {
        "sha256" => digits.len() == 64,
        "sha384" => digits.len() == 96,
        "sha512" => digits.len() == 128,
        _ => digits.len() >= DIGEST_DIGITS_MIN,
    };
    algorithm.split(['+', '.', '-', '_']).all(is_part)
        && is_known_length
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_are_docker_s() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let good = [
            "nginx",
            "nginx:1.25",
            "library/nginx:latest",
            "localhost/x",
            "localhost:5000/x/y-z:Tag_1",
            "Registry.example.com:443/a__b/c.d",
            "[2001:db8::1]:5000/x",
            "a--b",
            &format!("nginx@{digest}"),
            &format!("r.io/nginx:1@{digest}"),
        ];
        for image in good {
            assert!(is_reference(image), "{image}");
        }
        let bad = [
            ":",
            "nginx:",
            "UPPER",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a b",
            "ä",
            "nginx:-x",
            "nginx:a:b",
            "nginx@",
            "nginx@sha256:abc",
            "[::1/x",
            "host.:x/y",
            &"a".repeat(64),
            &"a".repeat(256),
            &format!("x:{}", "t".repeat(129)),
        ];
        for image in bad {
            assert!(!is_reference(image), "{image}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = is_reference(&text);
        }
    }
}
