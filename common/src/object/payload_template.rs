//! Secrets and configs that are templates: filled in for each task, on its node, with `secret "target"`,
//! `config "target"` and `env "NAME"` beside what other templates know.
//!
//! Only what the task itself has can be named: its own references by their targets, its own environment. A secret or
//! config comes in as it is, not filled in. Why one cannot be filled in is said without a word of a secret.

use zeroize::Zeroizing;

use super::PayloadKind;
use super::sensitive::SensitiveBytes;
use super::template::{Lookup, Reason, Scope, Values, expand};
use crate::limits::PAYLOAD_FILLED_BYTES_MAX;

/// What a template may name.
pub struct Known<'a> {
    pub values: Values<'a>,
    /// `NAME=value`, filled in.
    pub env: &'a [String],
    /// The task's files by kind and target.
    pub files: &'a [(PayloadKind, &'a str, &'a SensitiveBytes)],
}

/// Fills in one payload; the error says why it cannot be.
pub fn fill_in(
    kind: PayloadKind,
    template: &SensitiveBytes,
    known: &Known<'_>,
) -> Result<SensitiveBytes, String> {
    let text = std::str::from_utf8(template.reveal()).map_err(|_| "it is a template, and no text")?;
    let lookup = |function: &str, name: &str| known.look_up(function, name);
    let lookup: &Lookup<'_> = &lookup;
    // Never moved to a larger place, which would leave a copy behind.
    let mut filled = Zeroizing::new(String::with_capacity(PAYLOAD_FILLED_BYTES_MAX));
    expand(text, &Scope::of_payload(&known.values, lookup), PAYLOAD_FILLED_BYTES_MAX, &mut filled).map_err(
        |reason| match kind {
            PayloadKind::Secret => reason.general.to_string(),
            PayloadKind::Config => reason.exact,
        },
    )?;
    Ok(SensitiveBytes::new(filled.as_bytes().to_vec()))
}

impl Known<'_> {
    fn look_up(&self, function: &str, name: &str) -> Result<String, Reason> {
        let kind = match function {
            "env" => return self.variable(name),
            "secret" => PayloadKind::Secret,
            _ => PayloadKind::Config,
        };
        let found = self.files.iter().find(|(other, target, _)| *other == kind && *target == name);
        let (_, _, data) = found.ok_or_else(|| {
            let general = "it names a secret or config that the task does not have";
            Reason::new(general, format!("{kind} target {name} not found"))
        })?;
        let text = std::str::from_utf8(data.reveal()).map_err(|_| {
            Reason::new(
                "it names a secret or config that is no text",
                format!("{kind} target {name} is no text"),
            )
        })?;
        Ok(text.into())
    }

    fn variable(&self, name: &str) -> Result<String, Reason> {
        let entry = |entry: &String| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_string());
        self.env.iter().rev().find_map(entry).ok_or_else(|| {
            let general = "it names a variable that the task does not have";
            Reason::new(general, format!("environment variable {name} not found"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::node::Platform;
    use crate::object::{NodeId, ServiceId, Slot, TaskId};

    fn filled(kind: PayloadKind, template: &[u8]) -> Result<String, String> {
        let platform = Platform { architecture: "x86_64".into(), os: "linux".into() };
        let values = Values {
            service: ServiceId(7),
            service_name: "web",
            service_labels: None,
            node: NodeId(3),
            node_hostname: "n1",
            platform: &platform,
            task: TaskId(5),
            task_name: "web.2.five",
            slot: Slot::Number(2),
        };
        let bytes = |text: &[u8]| SensitiveBytes::new(text.to_vec());
        let (password, config, raw) = (bytes(b"hunter2"), bytes(b"on"), bytes(b"\xff"));
        let files = [
            (PayloadKind::Secret, "password", &password),
            (PayloadKind::Config, "flag", &config),
            (PayloadKind::Secret, "raw", &raw),
        ];
        let known = Known { values, env: &["A=1".into(), "A=2".into()], files: &files };
        let filled = fill_in(kind, &bytes(template), &known)?;
        Ok(String::from_utf8(filled.reveal().to_vec()).unwrap())
    }

    #[test]
    fn a_payload_speaks_of_what_its_task_has() {
        let template =
            br#"{{.Service.Name}}@{{.Node.Hostname}} {{secret "password"}} {{config "flag"}} {{env "A"}}"#;
        assert_eq!(filled(PayloadKind::Config, template).unwrap(), "web@n1 hunter2 on 2");
        let joined = br#"{{join ":" (env "A") (secret "password")}}"#;
        assert_eq!(filled(PayloadKind::Secret, joined).unwrap(), "2:hunter2");
        assert_eq!(filled(PayloadKind::Secret, b"plain").unwrap(), "plain");
    }

    #[test]
    fn why_it_fails_is_said_without_a_secret() {
        #[rustfmt::skip]
        let cases: [(&[u8], &str, &str); 6] = [ // template, of a config, of a secret
            (br#"{{secret "none"}}"#,  "secret target none not found", "does not have"),
            (br#"{{config "password"}}"#, "config target password not found", "does not have"),
            (br#"{{env "HOME"}}"#,     "environment variable HOME not found", "a variable"),
            (br#"{{secret "raw"}}"#,   "is no text", "is no text"),
            (b"{{hunter2}}",           "function \"hunter2\" not defined", "a function that is not defined"),
            (b"\xff{{",                "no text", "no text"),
        ];
        for (template, config, secret) in cases {
            let error = filled(PayloadKind::Config, template).unwrap_err();
            assert!(error.contains(config), "{error}");
            let error = filled(PayloadKind::Secret, template).unwrap_err();
            let is_shown =
                ["hunter2", "none", "password", "HOME", "raw"].iter().any(|word| error.contains(word));
            assert!(error.contains(secret) && !is_shown, "{error}");
        }
        let large = "{{secret \"password\"}}".repeat(PAYLOAD_FILLED_BYTES_MAX / 7 + 1);
        assert!(filled(PayloadKind::Secret, large.as_bytes()).unwrap_err().contains("too many bytes"));
    }
}
