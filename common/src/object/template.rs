//! Templates in a task's spec: `{{.Service.Name}}` and its like, in env, hostname, mounts and volume options.
//!
//! The part of Go's text templates that services use: fields, `index .Service.Labels "key"`, `join "," "a" "b"`,
//! literals, parentheses, comments and the trimming of spaces. Anything else is an error that names it, when a service
//! is created and not only when its tasks start. Whoever runs the task fills them in.
//!
//! Secrets and configs may be templates too: see `payload_template`.

use std::collections::BTreeMap;

use super::container::ContainerSpec;
use super::node::Platform;
use super::{NodeId, ServiceId, Slot, TaskId, TaskSpec};
use crate::limits::{SPEC_TEMPLATES_BYTES_MAX, TEMPLATE_DEPTH_MAX};

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
            let mut filled = String::new();
            expand(text, &Scope::plain(values), left, &mut filled)
                .map_err(|reason| TemplateError { what, reason: reason.said_of(text) })?;
            *text = filled;
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

/// Why one text cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// Without a word of the text, which may be a secret.
    pub general: &'static str,
    pub exact: String,
}

impl Reason {
    pub fn new(general: &'static str, exact: String) -> Self {
        Self { general, exact }
    }

    fn said_of(self, text: &str) -> String {
        format!("{} in template {}", self.exact, shown(text))
    }
}

impl From<&'static str> for Reason {
    fn from(general: &'static str) -> Self {
        Self { general, exact: general.into() }
    }
}

/// Looks up what a function of payloads stands for: `secret`, `config` or `env`, and its argument.
pub(super) type Lookup<'a> = dyn Fn(&str, &str) -> Result<String, Reason> + 'a;

/// What a text may speak of.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    values: &'a Values<'a>,
    /// None where these functions are not known.
    lookup: Option<&'a Lookup<'a>>,
}

impl<'a> Scope<'a> {
    fn plain(values: &'a Values<'a>) -> Self {
        Self { values, lookup: None }
    }

    pub fn of_payload(values: &'a Values<'a>, lookup: &'a Lookup<'a>) -> Self {
        Self { values, lookup: Some(lookup) }
    }
}

/// Fills in one text that may come to `bytes_max`, at the end of `out`.
pub(super) fn expand(
    text: &str,
    scope: &Scope<'_>,
    bytes_max: usize,
    out: &mut String,
) -> Result<(), Reason> {
    let begin = out.len();
    let add = |out: &mut String, part: &str| {
        if out.len() - begin + part.len() > bytes_max {
            return Err(Reason::new(
                "it comes to too many bytes",
                format!("it comes to more than {bytes_max} bytes"),
            ));
        }
        out.push_str(part);
        Ok(())
    };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let action = Action::read(after)?;
        add(out, if action.trims_before { before.trim_end() } else { before })?;
        if let Some(term) = action.term {
            let value = zeroize::Zeroizing::new(term.value(scope)?);
            add(out, &value)?;
        }
        rest = if action.trims_after { action.rest.trim_start() } else { action.rest };
    }
    add(out, rest)
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
    /// A function and its arguments.
    Call(String, Vec<Term>),
}

impl<'a> Action<'a> {
    /// Reads from after `{{` to after `}}`.
    fn read(text: &'a str) -> Result<Self, Reason> {
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
                let mut tokens = tokens.into_iter().peekable();
                let term = Term::read(&mut tokens, 0)?;
                if tokens.next().is_some() {
                    return Err("more than one value".into());
                }
                return Ok(Self { term: Some(term), trims_before, trims_after, rest });
            }
            let (token, after) = Token::read(rest.trim_start())?;
            tokens.push(token);
            rest = after;
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
    Open,
    Close,
}

impl Token {
    fn read(text: &str) -> Result<(Self, &str), Reason> {
        let mut chars = text.char_indices();
        match chars.next() {
            None => Err("an action without `}}`".into()),
            Some((_, '(')) => Ok((Token::Open, &text[1..])),
            Some((_, ')')) => Ok((Token::Close, &text[1..])),
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
            Some((_, other)) => Err(Reason::new("an unexpected character", format!("unexpected {other:?}"))),
        }
    }
}

/// Reads the rest of a text in double quotes.
fn quoted(text: &str) -> Result<(Token, &str), Reason> {
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
    /// A value, or a function with all that follows it.
    fn read(
        tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>,
        depth: usize,
    ) -> Result<Self, Reason> {
        if depth > TEMPLATE_DEPTH_MAX {
            return Err("too many parentheses within each other".into());
        }
        let Some(token) = tokens.next() else { return Err("an action without a value".into()) };
        let operand = |token: Token, tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>| match token
        {
            Token::Literal(text) => Ok(Term::Literal(text)),
            Token::Field(path) => Ok(Term::Field(path)),
            Token::Word(word) => Err(not_defined(&word)),
            Token::Close => Err("a parenthesis without its beginning".into()),
            Token::Open => {
                let inner = Term::read(tokens, depth + 1)?;
                match tokens.next() {
                    Some(Token::Close) => Ok(inner),
                    Some(_) => Err("more than one value".into()),
                    None => Err("a parenthesis without its end".into()),
                }
            }
        };
        let Token::Word(word) = token else { return operand(token, tokens) };
        let mut arguments = Vec::new();
        while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Close)) {
            arguments.push(operand(token, tokens)?);
        }
        Ok(Term::Call(word, arguments))
    }

    fn value(self, scope: &Scope<'_>) -> Result<String, Reason> {
        match self {
            Term::Literal(text) => Ok(text),
            Term::Field(path) => field(&path, scope.values),
            Term::Call(word, arguments) => call(&word, arguments, scope),
        }
    }
}

fn call(word: &str, arguments: Vec<Term>, scope: &Scope<'_>) -> Result<String, Reason> {
    match (word, scope.lookup) {
        ("index", _) => index(arguments, scope.values),
        ("join", _) => {
            let values: Result<Vec<String>, Reason> =
                arguments.into_iter().map(|term| term.value(scope)).collect();
            let values = zeroize::Zeroizing::new(values?);
            let (between, parts) =
                values.split_first().ok_or("join wants a text to put between the others")?;
            Ok(parts.join(between))
        }
        ("secret" | "config" | "env", Some(lookup)) => {
            let mut arguments = arguments.into_iter();
            match (arguments.next(), arguments.next()) {
                (Some(name), None) => lookup(word, &name.value(scope)?),
                _ => Err("secret, config and env want one text".into()),
            }
        }
        _ => Err(not_defined(word)),
    }
}

fn not_defined(word: &str) -> Reason {
    Reason::new("it names a function that is not defined", format!("function {word:?} not defined"))
}

/// As in Go, a key that is not there is an empty text here, and an error as a field.
fn index(arguments: Vec<Term>, values: &Values<'_>) -> Result<String, Reason> {
    match &arguments[..] {
        [Term::Field(path), Term::Literal(key)] if path == &["Service", "Labels"] => {
            Ok(values.service_labels.and_then(|labels| labels.get(key)).cloned().unwrap_or_default())
        }
        [Term::Field(path), Term::Literal(_)] => Err(Reason::new(
            "it takes the index of what has none",
            format!("cannot index .{}", path.join(".")),
        )),
        _ => Err("index wants a field and a text".into()),
    }
}

fn field(path: &[String], values: &Values<'_>) -> Result<String, Reason> {
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
            Some(labels) => labels.get(key).cloned().ok_or_else(|| {
                Reason::new("it names a label that is not there", format!("map has no entry for key {key:?}"))
            })?,
        },
        ["Node", "ID"] => values.node.to_string(),
        ["Node", "Hostname"] => values.node_hostname.into(),
        ["Node", "Platform", "Architecture"] => values.platform.architecture.clone(),
        ["Node", "Platform", "OS"] => values.platform.os.clone(),
        ["Task", "ID"] => values.task.to_string(),
        ["Task", "Name"] => values.task_name.into(),
        ["Task", "Slot"] => values.slot.to_string(),
        _ => {
            let exact = format!("there is no .{}", path.join("."));
            return Err(Reason::new("it names a field that is not there", exact));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::container::{Driver, Mount, VolumeOptions};
    use proptest::prelude::*;

    fn expanded(text: &str, values: &Values<'_>) -> Result<String, String> {
        let mut out = String::new();
        let filled = expand(text, &Scope::plain(values), 1_000, &mut out);
        filled.map(|()| out).map_err(|reason| reason.exact)
    }

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
            ("{{join \"-\" .Service.Name (join `+` \"a\" \"b\") .Task.Slot}}", "web-a+b-2"),
            ("{{(.Task.Slot)}}",                             "2"),
            ("single } and { and }}",                        "single } and { and }}"),
        ];
        for (template, filled) in cases {
            let got = with_values(Slot::Number(2), |values| expanded(template, values));
            assert_eq!(got.as_deref(), Ok(filled), "{template}");
        }
        let slot = with_values(Slot::Node(NodeId(3)), |values| expanded("{{.Task.Slot}}", values));
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
            ("{{join}}",                 "join wants"),
            ("{{(.Task.ID}}",            "without its end"),
            ("{{.Task.ID)}}",            "more than one value"),
            ("{{)}}",                    "without its beginning"),
        ];
        for (template, reason) in cases {
            let error = with_values(Slot::Number(2), |values| expanded(template, values)).unwrap_err();
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
            let _ = with_values(Slot::Number(2), |values| expanded(&text, values));
        }
    }
}
