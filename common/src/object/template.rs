//! Templates in a task's spec: `{{.Service.Name}}` and its like, in env, hostname, mounts and volume options.
//!
//! The part of Go's text templates that services use: fields, `index .Service.Labels "key"`, literals, comments and
//! the trimming of spaces. Anything else is an error that names it, when a service is created and not only when its
//! tasks start. Whoever runs the task fills them in.

use std::collections::BTreeMap;

use super::container::ContainerSpec;
use super::node::Platform;
use super::{NodeId, ServiceId, Slot, TaskId, TaskSpec};
use crate::limits::SPEC_TEMPLATES_BYTES_MAX;

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expanding {what} failed: {reason}")]
pub struct TemplateError {
    /// Where it stands: env, hostname or mounts.
    pub what: &'static str,
    pub reason: String,
}

/// What the placeholders of one task stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    pub service: ServiceId,
    pub service_name: &'a str,
    /// None: not known yet, and any label is there.
    pub service_labels: Option<&'a BTreeMap<String, String>>,
    pub node: NodeId,
    pub node_hostname: &'a str,
    pub platform: &'a Platform,
    pub task: TaskId,
    pub task_name: &'a str,
    pub slot: Slot,
}

/// Whether every template of a spec can be filled in, as far as that is known before there is a task.
pub fn check_templates(spec: &TaskSpec) -> Result<(), TemplateError> {
    if !has_templates(&spec.container) {
        return Ok(());
    }
    let platform = Platform { architecture: "architecture".into(), os: "os".into() };
    let values = Values {
        service: ServiceId(1),
        service_name: "service",
        service_labels: None,
        node: NodeId(1),
        node_hostname: "node",
        platform: &platform,
        task: TaskId(1),
        task_name: "service.1.task",
        slot: Slot::Number(1),
    };
    fill_in(&mut spec.container.clone(), &values)
}

/// Whether there is anything to fill in.
pub fn has_templates(spec: &ContainerSpec) -> bool {
    let volumes = spec.mounts.iter().filter_map(|mount| mount.volume.as_ref());
    let options = volumes.flat_map(|volume| {
        volume.labels.values().chain(volume.driver.iter().flat_map(|driver| driver.options.values()))
    });
    let paths = spec.mounts.iter().flat_map(|mount| [&mount.source, &mount.target]);
    spec.env.iter().chain([&spec.hostname]).chain(paths).chain(options).any(|text| text.contains("{{"))
}

/// Fills in all templates of a task.
pub fn fill_in(spec: &mut ContainerSpec, values: &Values<'_>) -> Result<(), TemplateError> {
    let mut left = SPEC_TEMPLATES_BYTES_MAX;
    let mut fill = |what: &'static str, text: &mut String| {
        if text.contains("{{") {
            *text = expand(text, values, left).map_err(|reason| TemplateError { what, reason })?;
            left = left.saturating_sub(text.len());
        }
        Ok(())
    };
    spec.env.iter_mut().try_for_each(|text| fill("env", text))?;
    for mount in &mut spec.mounts {
        fill("mounts", &mut mount.source)?;
        fill("mounts", &mut mount.target)?;
        let Some(volume) = &mut mount.volume else { continue };
        volume.labels.values_mut().try_for_each(|text| fill("mounts", text))?;
        if let Some(driver) = &mut volume.driver {
            driver.options.values_mut().try_for_each(|text| fill("mounts", text))?;
        }
    }
    fill("hostname", &mut spec.hostname)
}

/// Fills in one text that may come to `bytes_max`.
fn expand(text: &str, values: &Values<'_>, bytes_max: usize) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let action = Action::read(after).map_err(|reason| format!("{reason} in template {}", shown(text)))?;
        out.push_str(if action.trims_before { before.trim_end() } else { before });
        let value = action
            .term
            .map_or(Ok(String::new()), |term| term.value(values))
            .map_err(|reason| format!("{reason} in template {}", shown(text)))?;
        out.push_str(&value);
        if out.len() > bytes_max {
            return Err(format!("it comes to more than {bytes_max} bytes"));
        }
        rest = if action.trims_after { action.rest.trim_start() } else { action.rest };
    }
    out.push_str(rest);
    Ok(out)
}

/// The start of a text, for errors: an env entry may be long, and may hold a password further on.
fn shown(text: &str) -> String {
    let start = text.find("{{").unwrap_or_default();
    let part: String = text[start..].chars().take(40).collect();
    format!("{part:?}")
}

/// What stands between `{{` and `}}`.
struct Action<'a> {
    term: Option<Term>,
    trims_before: bool,
    trims_after: bool,
    rest: &'a str,
}

enum Term {
    Literal(String),
    /// `.Service.Name` as its words.
    Field(Vec<String>),
    /// `index .Service.Labels "key"`.
    Index(Vec<String>, String),
}

impl<'a> Action<'a> {
    /// Reads from after `{{` to after `}}`.
    fn read(text: &'a str) -> Result<Self, String> {
        let trims_before = text.starts_with("- ") || text.starts_with("-\t") || text.starts_with("-\n");
        let mut rest = if trims_before { text[1..].trim_start() } else { text.trim_start() };
        if let Some(comment) = rest.strip_prefix("/*") {
            let (_, after) = comment.split_once("*/").ok_or("a comment without end")?;
            let (trims_after, rest) = close(after).ok_or("something after a comment")?;
            return Ok(Self { term: None, trims_before, trims_after, rest });
        }
        let mut tokens = Vec::new();
        loop {
            if let Some((trims_after, rest)) = close(rest) {
                let term = Some(Term::from(tokens)?);
                return Ok(Self { term, trims_before, trims_after, rest });
            }
            let (token, after) = Token::read(rest.trim_start())?;
            tokens.push(token);
            rest = after;
            // `index .Service.Labels "key"` is the longest there is.
            if tokens.len() > 3 {
                return Err("more than one value".into());
            }
        }
    }
}

/// The end of an action: whether it trims what follows, and what follows.
fn close(text: &str) -> Option<(bool, &str)> {
    let tight = text.trim_start();
    if let Some(rest) = tight.strip_prefix("}}") {
        return Some((false, rest));
    }
    let spaced = tight.len() < text.len();
    tight.strip_prefix("-}}").filter(|_| spaced).map(|rest| (true, rest))
}

enum Token {
    Literal(String),
    Field(Vec<String>),
    Word(String),
}

impl Token {
    fn read(text: &str) -> Result<(Self, &str), String> {
        let mut chars = text.char_indices();
        match chars.next() {
            None => Err("an action without `}}`".into()),
            Some((_, '"')) => quoted(&text[1..]),
            Some((_, '`')) => {
                let (literal, rest) = text[1..].split_once('`').ok_or("a text without its end")?;
                Ok((Token::Literal(literal.into()), rest))
            }
            Some((_, first)) if first == '.' || first == '_' || first.is_alphanumeric() => {
                let is_part = |c: char| c == '.' || c == '_' || c.is_alphanumeric();
                let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
                let (word, rest) = text.split_at(end);
                match word.strip_prefix('.') {
                    Some(path) => Ok((Token::Field(path.split('.').map(String::from).collect()), rest)),
                    None => Ok((Token::Word(word.into()), rest)),
                }
            }
            Some((_, other)) => Err(format!("unexpected {other:?}")),
        }
    }
}

/// Reads the rest of a text in double quotes.
fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut literal = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Literal(literal), &text[at + 1..])),
            '\\' => literal.push(match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(plain @ ('"' | '\\' | '\'')) => plain,
                _ => return Err("an unknown escape".into()),
            }),
            '\n' => break,
            c => literal.push(c),
        }
    }
    Err("a text without its end".into())
}

impl Term {
    fn from(tokens: Vec<Token>) -> Result<Self, String> {
        let mut tokens = tokens.into_iter();
        match (tokens.next(), tokens.next(), tokens.next()) {
            (None, ..) => Err("an action without a value".into()),
            (Some(Token::Literal(text)), None, None) => Ok(Term::Literal(text)),
            (Some(Token::Field(path)), None, None) => Ok(Term::Field(path)),
            (Some(Token::Word(word)), Some(Token::Field(path)), Some(Token::Literal(key)))
                if word == "index" =>
            {
                Ok(Term::Index(path, key))
            }
            (Some(Token::Word(word)), ..) if word == "index" => Err("index wants a field and a text".into()),
            (Some(Token::Word(word)), ..) => Err(format!("function {word:?} not defined")),
            (Some(Token::Literal(_) | Token::Field(_)), ..) => Err("more than one value".into()),
        }
    }

    fn value(self, values: &Values<'_>) -> Result<String, String> {
        match self {
            Term::Literal(text) => Ok(text),
            Term::Field(path) => field(&path, values),
            // As in Go, a key that is not there is an empty text here, and an error as a field.
            Term::Index(path, key) => match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["Service", "Labels"] => {
                    Ok(values.service_labels.and_then(|labels| labels.get(&key)).cloned().unwrap_or_default())
                }
                _ => Err(format!("cannot index .{}", path.join("."))),
            },
        }
    }
}

fn field(path: &[String], values: &Values<'_>) -> Result<String, String> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["Service", "ID"] => values.service.to_string(),
        ["Service", "Name"] => values.service_name.into(),
        ["Service", "Labels"] => {
            let pairs = values.service_labels.into_iter().flatten();
            format!(
                "map[{}]",
                pairs.map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(" ")
            )
        }
        ["Service", "Labels", key] => match values.service_labels {
            None => String::new(),
            Some(labels) => labels.get(key).cloned().ok_or(format!("map has no entry for key {key:?}"))?,
        },
        ["Node", "ID"] => values.node.to_string(),
        ["Node", "Hostname"] => values.node_hostname.into(),
        ["Node", "Platform", "Architecture"] => values.platform.architecture.clone(),
        ["Node", "Platform", "OS"] => values.platform.os.clone(),
        ["Task", "ID"] => values.task.to_string(),
        ["Task", "Name"] => values.task_name.into(),
        ["Task", "Slot"] => values.slot.to_string(),
        _ => return Err(format!("there is no .{}", path.join("."))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::container::{Driver, Mount, VolumeOptions};
    use proptest::prelude::*;

    fn with_values<T>(slot: Slot, use_them: impl FnOnce(&Values<'_>) -> T) -> T {
        let labels = BTreeMap::from([("zone".to_string(), "a".to_string()), ("a.b".into(), "dots".into())]);
        let platform = Platform { architecture: "x86_64".into(), os: "linux".into() };
        use_them(&Values {
            service: ServiceId(7),
            service_name: "web",
            service_labels: Some(&labels),
            node: NodeId(3),
            node_hostname: "n1",
            platform: &platform,
            task: TaskId(5),
            task_name: "web.2.five",
            slot,
        })
    }

    #[test]
    fn placeholders_are_filled_in() {
        #[rustfmt::skip]
        let cases = [ // template, what it becomes
            ("plain",                                        "plain"),
            ("{{.Service.Name}}-{{ .Task.Slot }}",           "web-2"),
            ("{{.Service.ID}}",                              "0000000000000000000000007"),
            ("{{.Node.Hostname}}/{{.Node.ID}}",              "n1/0000000000000000000000003"),
            ("{{.Node.Platform.OS}} {{.Node.Platform.Architecture}}", "linux x86_64"),
            ("{{.Task.ID}} {{.Task.Name}}",                  "0000000000000000000000005 web.2.five"),
            ("{{index .Service.Labels \"a.b\"}}",            "dots"),
            ("{{index .Service.Labels `none`}}",             ""),
            ("{{.Service.Labels.zone}}",                     "a"),
            ("{{.Service.Labels}}",                          "map[a.b:dots zone:a]"),
            ("{{\"{{\"}}.ID{{`}}`}}",                        "{{.ID}}"),
            ("a {{- \" b\" -}}   c",                         "a bc"),
            ("x{{/* said to nobody */}}y",                   "xy"),
            ("{{ \"tab\\t\\\"\" }}",                         "tab\t\""),
            ("single } and { and }}",                        "single } and { and }}"),
        ];
        for (template, filled) in cases {
            let got = with_values(Slot::Number(2), |values| expand(template, values, 1_000));
            assert_eq!(got.as_deref(), Ok(filled), "{template}");
        }
        let slot = with_values(Slot::Node(NodeId(3)), |values| expand("{{.Task.Slot}}", values, 1_000));
        assert_eq!(slot.unwrap(), "0000000000000000000000003");
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        #[rustfmt::skip]
        let cases = [ // template, part of the reason
            ("{{.Service.Nope}}",        "there is no .Service.Nope"),
            ("{{.Service}}",             "there is no .Service"),
            ("{{.Service.Labels.none}}", "map has no entry for key \"none\""),
            ("{{.Task.Slot",             "without `}}`"),
            ("{{}}",                     "without a value"),
            ("{{env \"HOME\"}}",         "function \"env\" not defined"),
            ("{{index .Node.ID \"x\"}}", "cannot index .Node.ID"),
            ("{{.Task.Slot | printf}}",  "unexpected '|'"),
            ("{{\"open}}",               "without its end"),
            ("{{.Task.ID .Task.ID}}",    "more than one value"),
        ];
        for (template, reason) in cases {
            let error = with_values(Slot::Number(2), |values| expand(template, values, 1_000)).unwrap_err();
            assert!(error.contains(reason), "{template}: {error}");
        }
    }

    #[test]
    fn every_place_that_takes_templates_is_checked_and_filled_in() {
        let text = || "{{.Task.Slot}}".to_string();
        let options = VolumeOptions {
            labels: BTreeMap::from([("l".into(), text())]),
            driver: Some(Driver { name: "d".into(), options: BTreeMap::from([("o".into(), text())]) }),
            ..VolumeOptions::default()
        };
        let mount = Mount { source: text(), target: text(), volume: Some(options), ..Mount::default() };
        let mut spec =
            ContainerSpec { env: vec![text()], hostname: text(), mounts: vec![mount], ..Default::default() };
        assert!(has_templates(&spec));
        with_values(Slot::Number(2), |values| fill_in(&mut spec, values)).unwrap();
        assert!(!has_templates(&spec));
        let volume = spec.mounts[0].volume.as_ref().unwrap();
        let filled = [&spec.env[0], &spec.hostname, &spec.mounts[0].source, &spec.mounts[0].target];
        assert!(filled.into_iter().all(|text| text == "2"));
        assert_eq!((&volume.labels["l"][..], &volume.driver.as_ref().unwrap().options["o"][..]), ("2", "2"));

        let mut bad = TaskSpec::default();
        bad.container.hostname = "{{.Nope}}".into();
        let error = check_templates(&bad).unwrap_err().to_string();
        assert_eq!(error, "expanding hostname failed: there is no .Nope in template \"{{.Nope}}\"");
    }

    #[test]
    fn small_templates_do_not_become_large_texts() {
        let labels = BTreeMap::from([("k".to_string(), "v".repeat(1 << 20))]);
        let mut spec = ContainerSpec { env: vec!["{{.Service.Labels.k}}".repeat(64)], ..Default::default() };
        let filled = with_values(Slot::Number(1), |values| {
            fill_in(&mut spec, &Values { service_labels: Some(&labels), ..*values })
        });
        assert!(filled.unwrap_err().to_string().contains("comes to more than"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[{}.\"`a-zA-Z /*|\\\\ä-]{0,40}") {
            let _ = with_values(Slot::Number(2), |values| expand(&text, values, 1_000));
        }
    }
}
