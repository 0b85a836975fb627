//! References of images as people write them: `nginx`, `registry:5000/team/app:1.2@sha256:…`.

/// A reference in its parts, all of them as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'t> {
    pub name: &'t str,
    pub tag: Option<&'t str>,
    pub digest: Option<&'t str>,
}

const REGISTRY_DEFAULT: &str = "docker.io";

/// None when it is no reference at all; the daemon says why.
pub fn parse(text: &str) -> Option<Image<'_>> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let after_path = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[after_path..].find(':') {
        Some(colon) => (&rest[..after_path + colon], Some(&rest[after_path + colon + 1..])),
        None => (rest, None),
    };
    let is_tag = |tag: &str| {
        tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            && (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
    };
    let is_digest =
        |digest: &str| digest.split_once(':').is_some_and(|(kind, hex)| !kind.is_empty() && !hex.is_empty());
    let (_, path) = split_registry(name);
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte))
    };
    let valid = path.split('/').all(is_part) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    valid.then_some(Image { name, tag, digest })
}

/// As lists show it: a tag makes the digest dispensable, and Docker's own registry is not named.
pub fn shown(text: &str) -> String {
    match parse(text) {
        Some(image) if image.tag.is_some() => image.without_digest(),
        _ => text.to_owned(),
    }
}

impl Image<'_> {
    /// As people write it, with `:latest` where nothing says which one.
    pub fn tagged(&self) -> String {
        let tag = if self.digest.is_none() { Some(self.tag.unwrap_or("latest")) } else { self.tag };
        joined(&familiar(self.name), tag, self.digest)
    }

    /// Name and tag, without the digest.
    pub fn without_digest(&self) -> String {
        joined(&familiar(self.name), self.tag, if self.tag.is_none() { self.digest } else { None })
    }

    /// The same image by its content.
    pub fn pinned(&self, digest: &str) -> String {
        joined(&familiar(self.name), self.tag, Some(self.digest.unwrap_or(digest)))
    }

    /// Host of the registry, `docker.io` where none is named.
    pub fn registry(&self) -> &str {
        split_registry(self.name).0
    }
}

fn joined(name: &str, tag: Option<&str>, digest: Option<&str>) -> String {
    let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
    let digest = digest.map_or_else(String::new, |digest| format!("@{digest}"));
    format!("{name}{tag}{digest}")
}

fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (REGISTRY_DEFAULT, path),
        Some((host, path))
            if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() =>
        {
            (host, path)
        }
        _ => (REGISTRY_DEFAULT, name),
    }
}

/// `docker.io/library/nginx` is `nginx` to people.
fn familiar(name: &str) -> String {
    match split_registry(name) {
        (REGISTRY_DEFAULT, path) => {
            path.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(path).into()
        }
        (host, path) => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_in_their_forms() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let with_digest = format!("nginx:1@{digest}");
        #[rustfmt::skip]
        let cases = [ // as written, tagged, without digest, registry
            ("nginx", "nginx:latest", "nginx", "docker.io"),
            ("nginx:1.27", "nginx:1.27", "nginx:1.27", "docker.io"),
            ("docker.io/library/nginx", "nginx:latest", "nginx", "docker.io"),
            ("index.docker.io/team/app:1", "team/app:1", "team/app:1", "docker.io"),
            ("team/app", "team/app:latest", "team/app", "docker.io"),
            ("localhost/app", "localhost/app:latest", "localhost/app", "localhost"),
            ("r.example:5000/a/b:2", "r.example:5000/a/b:2", "r.example:5000/a/b:2", "r.example:5000"),
            ("r.example:5000/a", "r.example:5000/a:latest", "r.example:5000/a", "r.example:5000"),
            (with_digest.as_str(), with_digest.as_str(), "nginx:1", "docker.io"),
        ];
        for (text, tagged, without_digest, registry) in cases {
            let image = parse(text).expect(text);
            assert_eq!(
                (image.tagged().as_str(), image.without_digest().as_str(), image.registry()),
                (tagged, without_digest, registry),
                "{text}"
            );
        }
        assert_eq!(parse("nginx:1").expect("valid").pinned(&digest), with_digest);
        for text in ["", "Nginx", "a//b", "nginx:", "nginx@x", "nginx:a b", ":1", "/a", "a/"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-cA/:@.-]{0,20}") {
            if let Some(image) = parse(&text) {
                let tagged = image.tagged();
                prop_assert_eq!(parse(&tagged).map(|again| again.tagged()), Some(tagged));
            }
        }
    }
}
