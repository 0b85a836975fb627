//! This user's credentials for an image's registry, from Docker's own file and the helpers it names.
//!
//! They are in memory only for as long as the request needs them, and in no error.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use common::limits::{CREDENTIAL_HELPER_TIME_MAX, CREDENTIALS_BYTES_MAX};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::command::edit::text;
use crate::parse::image;
use crate::parse::members::look;

/// How Docker's file calls its own registry.
const DOCKER_REGISTRY: &str = "https://index.docker.io/v1/";

/// `X-Registry-Auth` for an image, as the API takes it. Without credentials it is an empty document.
pub async fn for_image(image: &str) -> anyhow::Result<String> {
    let registry = match image::parse(image).map(|image| image.registry().to_owned()).as_deref() {
        None | Some("docker.io") => DOCKER_REGISTRY.to_owned(),
        Some(host) => host.to_owned(),
    };
    let file = match config_file() {
        Some(path) => read(&path)?,
        None => Value::Null,
    };
    let found = match helper_of(&file, &registry) {
        Some(helper) => ask_helper(&helper, &registry).await?,
        None => from_file(&file, &registry),
    };
    Ok(URL_SAFE.encode(found.unwrap_or_else(|| json!({})).to_string()))
}

fn config_file() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json")).filter(|path| path.exists())
}

fn read(path: &std::path::Path) -> anyhow::Result<Value> {
    let context = || format!("read registry credentials in {}", path.display());
    let size = std::fs::metadata(path).with_context(context)?.len();
    if size > CREDENTIALS_BYTES_MAX as u64 {
        anyhow::bail!("{}: larger than {CREDENTIALS_BYTES_MAX} bytes", context());
    }
    let bytes = std::fs::read(path).with_context(context)?;
    serde_json::from_slice(&bytes).with_context(context)
}

/// The program that keeps the credentials of a registry, when one does.
fn helper_of(file: &Value, registry: &str) -> Option<String> {
    let own = text(file, &["credHelpers", registry]);
    let name = if own.is_empty() { text(file, &["credsStore"]) } else { own };
    // It becomes part of a program's name and must not be a path.
    let is_name =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    Some(name)
        .filter(|name| !name.is_empty() && is_name(name))
        .map(|name| format!("docker-credential-{name}"))
}

fn from_file(file: &Value, registry: &str) -> Option<Value> {
    let host = |name: &str| {
        let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let entries = look(file, &["auths"]).as_object()?;
    let exact = entries.get_key_value(registry);
    let (name, entry) = exact.or_else(|| entries.iter().find(|(name, _)| host(name) == host(registry)))?;
    let mut auth = json!({"serveraddress": name});
    let decoded =
        STANDARD.decode(text(entry, &["auth"])).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((user, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        auth["username"] = user.into();
        auth["password"] = password.trim_end_matches('\0').into();
    }
    for key in ["username", "password", "identitytoken", "registrytoken"] {
        if !text(entry, &[key]).is_empty() {
            auth[key] = text(entry, &[key]).into();
        }
    }
    Some(auth)
}

/// None when the helper has no credentials for this registry.
async fn ask_helper(helper: &str, registry: &str) -> anyhow::Result<Option<Value>> {
    let asked = || format!("ask {helper} for the credentials of {registry}");
    let ask = async {
        let mut command = Command::new(helper);
        command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading says in its own way what is wrong.
            let _ = stdin.write_all(registry.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(CREDENTIALS_BYTES_MAX as u64).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, answer))
    };
    let (status, answer) = match tokio::time::timeout(CREDENTIAL_HELPER_TIME_MAX, ask).await {
        Ok(outcome) => outcome.with_context(asked)?,
        Err(_) => anyhow::bail!("{}: no answer within {CREDENTIAL_HELPER_TIME_MAX:?}", asked()),
    };
    if !status.success() {
        let says = String::from_utf8_lossy(&answer);
        if says.contains("credentials not found") {
            return Ok(None);
        }
        anyhow::bail!("{}: it ended with {status}", asked());
    }
    // What it says instead is not repeated: it may hold the password.
    let answer: Value = serde_json::from_slice(&answer)
        .map_err(|_| anyhow::anyhow!("{}: it is no JSON that came", asked()))?;
    let secret = text(&answer, &["Secret"]);
    Ok(Some(match text(&answer, &["Username"]) {
        "<token>" => json!({"serveraddress": registry, "identitytoken": secret}),
        user => json!({"serveraddress": registry, "username": user, "password": secret}),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_registry() {
        let file = json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": STANDARD.encode("me:pass:word")},
                "https://r.example:5000/v2/": {"identitytoken": "t"},
                "broken": {"auth": "%"},
            },
            "credHelpers": {"ecr.example": "ecr-login", "evil.example": "../../bin/sh"},
        });
        let docker = json!({"serveraddress": DOCKER_REGISTRY, "username": "me", "password": "pass:word"});
        let token = json!({"serveraddress": "https://r.example:5000/v2/", "identitytoken": "t"});
        #[rustfmt::skip]
        let cases = [
            (DOCKER_REGISTRY, Some(docker)), ("r.example:5000", Some(token)), ("other", None),
            ("broken", Some(json!({"serveraddress": "broken"}))),
        ];
        for (registry, expected) in cases {
            assert_eq!(from_file(&file, registry), expected, "{registry}");
        }
        assert_eq!(from_file(&Value::Null, "x"), None);
        assert_eq!(helper_of(&file, "ecr.example").as_deref(), Some("docker-credential-ecr-login"));
        assert_eq!(helper_of(&file, "evil.example"), None);
        assert_eq!(helper_of(&file, "other"), None);
        assert_eq!(helper_of(&json!({"credsStore": "pass"}), "x").as_deref(), Some("docker-credential-pass"));
    }
}
