//! Walks the tree of a template over data.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use common::limits::{TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_WORK_MAX};
use serde_json::Value as Json;

use super::functions::{self, Set};
use super::parse::{Command, Node, Pipe, Place, Term, TermKind};
use super::value::{Value, sorted};
use super::{TemplateError, position};

pub fn run(source: &str, nodes: &[Node], data: &Json, functions: Set) -> Result<String, TemplateError> {
    let root = Value::of(data);
    let mut run = Run {
        source,
        functions,
        variables: vec![("$", root.clone())],
        out: Output::default(),
        work_left: TEMPLATE_WORK_MAX,
    };
    run.list(nodes, &root)?;
    Ok(run.out.text)
}

struct Run<'t, 'd> {
    source: &'t str,
    functions: Set,
    /// The newest of a name is the one in scope.
    variables: Vec<(&'t str, Value<'d>)>,
    out: Output,
    work_left: u64,
}

/// Text that refuses to grow beyond its limit.
#[derive(Default)]
pub struct Output {
    pub text: String,
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    Through,
    Break,
    Continue,
}

type Ran<T> = Result<T, TemplateError>;

impl<'t, 'd> Run<'t, 'd> {
    fn fail<T>(&self, place: Place, what: impl fmt::Display) -> Ran<T> {
        let (line, column) = position(self.source, place.at);
        let text = self.source.get(place.start..place.end).unwrap_or_default();
        Err(TemplateError(format!(":{line}:{column}: executing \"\" at <{text}>: {what}")))
    }

    fn spend(&mut self, work: usize, place: Place) -> Ran<()> {
        match self.work_left.checked_sub(work as u64) {
            Some(left) => {
                self.work_left = left;
                Ok(())
            }
            None => self.fail(place, "the template takes too much work"),
        }
    }

    fn spend_bytes(&mut self, bytes: usize, place: Place) -> Ran<()> {
        self.spend(1 + bytes / 16, place)
    }

    /// Texts and the lists that `split` makes are copies; everything else is part of the data.
    fn spend_value(&mut self, value: &Value<'d>, place: Place) -> Ran<()> {
        match value {
            Value::Text(text) => self.spend_bytes(text.len(), place),
            Value::MadeList(list) => self.spend(list.len(), place),
            _ => self.spend(1, place),
        }
    }

    fn list(&mut self, nodes: &'t [Node], dot: &Value<'d>) -> Ran<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Through {
                return Ok(flow);
            }
        }
        Ok(Flow::Through)
    }

    fn node(&mut self, node: &'t Node, dot: &Value<'d>) -> Ran<Flow> {
        const WHOLE: Place = Place { start: 0, end: 0, at: 0 };
        match node {
            Node::Text(text) => {
                self.spend_bytes(text.len(), WHOLE)?;
                self.write(WHOLE, |out| out.write_str(text))?;
            }
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    let before = self.out.text.len();
                    self.write(pipe.place, |out| value.write(out))?;
                    self.spend_bytes(self.out.text.len() - before, pipe.place)?;
                }
            }
            Node::If { pipe, then, otherwise } => return self.choose(pipe, then, otherwise, dot, false),
            Node::With { pipe, then, otherwise } => return self.choose(pipe, then, otherwise, dot, true),
            Node::Range { pipe, body, otherwise } => return self.range(pipe, body, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Through)
    }

    fn write(&mut self, place: Place, write: impl FnOnce(&mut Output) -> fmt::Result) -> Ran<()> {
        match write(&mut self.out) {
            Ok(()) => Ok(()),
            Err(fmt::Error) => self.fail(place, too_large()),
        }
    }

    fn choose(
        &mut self,
        pipe: &'t Pipe,
        then: &'t [Node],
        otherwise: &'t [Node],
        dot: &Value<'d>,
        with: bool,
    ) -> Ran<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(pipe, dot)?;
        let flow = match value.is_true() {
            true if with => self.list(then, &value)?,
            true => self.list(then, dot)?,
            false => self.list(otherwise, dot)?,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(
        &mut self,
        pipe: &'t Pipe,
        body: &'t [Node],
        otherwise: &'t [Node],
        dot: &Value<'d>,
    ) -> Ran<Flow> {
        let scope = self.variables.len();
        let over = self.commands(pipe, dot)?;
        let pairs: Box<dyn Iterator<Item = (Value<'d>, Value<'d>)>> = match &over {
            Value::Missing | Value::Nil => Box::new(std::iter::empty()),
            Value::Int(count) => Box::new((0..*count).map(|index| (Value::Int(index), Value::Int(index)))),
            Value::List(_) | Value::MadeList(_) => {
                let list = over.clone();
                let elements = (0..).map_while(move |index| list.element(index));
                Box::new((0..).map(Value::Int).zip(elements))
            }
            Value::Map { map, .. } => {
                self.spend(map.len(), pipe.place)?;
                let entries = sorted(map).into_iter();
                Box::new(
                    entries
                        .map(|(key, value)| (Value::Text(super::value::Text::Data(key)), Value::of(value))),
                )
            }
            Value::Bool(_) | Value::Float(_) | Value::Text(_) => {
                return self.fail(pipe.place, format!("range can't iterate over {}", shown(&over)));
            }
        };
        let mut any = false;
        for (key, value) in pairs {
            any = true;
            self.spend(1, pipe.place)?;
            match pipe.variables.as_slice() {
                [] => {}
                [one] => self.set(one, value.clone(), pipe.declares),
                [first, second, ..] => {
                    self.set(first, key, pipe.declares);
                    self.set(second, value.clone(), pipe.declares);
                }
            }
            let flow = self.list(body, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if any { Flow::Through } else { self.list(otherwise, dot)? };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn set(&mut self, name: &'t str, value: Value<'d>, declares: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        match known {
            Some(slot) if !declares => slot.1 = value,
            _ => self.variables.push((name, value)),
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value<'d>) -> Ran<Value<'d>> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.declares);
        }
        Ok(value)
    }

    /// The value of a pipe: each command gets what the one before it gave as its last argument.
    fn commands(&mut self, pipe: &'t Pipe, dot: &Value<'d>) -> Ran<Value<'d>> {
        let mut piped = None;
        for command in &pipe.commands {
            piped = Some(self.command(command, dot, piped)?);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &'t Command, dot: &Value<'d>, piped: Option<Value<'d>>) -> Ran<Value<'d>> {
        self.spend(1, command.place)?;
        let (first, rest) = match command.arguments.split_first() {
            Some(parts) => parts,
            None => return self.fail(command.place, "empty command"),
        };
        if let TermKind::Function(name) = &first.kind {
            return self.call(name, command, rest, dot, piped);
        }
        if !rest.is_empty() || piped.is_some() {
            let text = self.source.get(first.place.start..first.place.end).unwrap_or_default();
            return self.fail(first.place, format!("can't give argument to non-function {text}"));
        }
        if matches!(first.kind, TermKind::Nil) {
            return self.fail(first.place, "nil is not a command");
        }
        self.term(first, dot)
    }

    fn call(
        &mut self,
        name: &str,
        command: &'t Command,
        rest: &'t [Term],
        dot: &Value<'d>,
        piped: Option<Value<'d>>,
    ) -> Ran<Value<'d>> {
        // `and` and `or` look at no more arguments than they need.
        let stop_at = match name {
            "and" => Some(false),
            "or" => Some(true),
            _ => None,
        };
        let mut arguments = VecDeque::with_capacity(rest.len() + 1);
        for term in rest {
            let value = self.term(term, dot)?;
            if stop_at == Some(value.is_true()) {
                return Ok(value);
            }
            arguments.push_back(value);
        }
        arguments.extend(piped);
        for value in &arguments {
            if let Value::Text(text) = value {
                self.spend_bytes(text.len(), command.place)?;
            }
        }
        match functions::call(self.functions, name, arguments.make_contiguous()) {
            Ok(value) => {
                self.spend_value(&value, command.place)?;
                Ok(value)
            }
            Err(functions::CallError::Arguments { wanted, got }) => self.fail(
                command.arguments[0].place,
                format!("wrong number of args for {name}: want {wanted} got {got}"),
            ),
            Err(functions::CallError::Failed(what)) => {
                self.fail(command.place, format!("error calling {name}: {what}"))
            }
        }
    }

    fn term(&mut self, term: &'t Term, dot: &Value<'d>) -> Ran<Value<'d>> {
        self.spend(1, term.place)?;
        match &term.kind {
            TermKind::Dot => Ok(dot.clone()),
            TermKind::Nil => Ok(Value::Nil),
            TermKind::Bool(value) => Ok(Value::Bool(*value)),
            TermKind::Int(value) => Ok(Value::Int(*value)),
            TermKind::Float(value) => Ok(Value::Float(*value)),
            TermKind::String(text) => {
                self.spend_bytes(text.len(), term.place)?;
                Ok(Value::made(text.as_str()))
            }
            TermKind::Function(name) => match functions::call(self.functions, name, &[]) {
                Ok(value) => Ok(value),
                Err(functions::CallError::Arguments { wanted, got }) => {
                    self.fail(term.place, format!("wrong number of args for {name}: want {wanted} got {got}"))
                }
                Err(functions::CallError::Failed(what)) => {
                    self.fail(term.place, format!("error calling {name}: {what}"))
                }
            },
            TermKind::Field(names) => self.fields(dot.clone(), names, term.place),
            TermKind::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = known.map_or(Value::Nil, |(_, value)| value.clone());
                self.fields(value, names, term.place)
            }
            TermKind::Pipe(pipe) => self.pipe(pipe, dot),
            TermKind::Chain(pipe, names) => {
                let value = self.pipe(pipe, dot)?;
                self.fields(value, names, term.place)
            }
        }
    }

    fn fields(&mut self, mut value: Value<'d>, names: &[String], place: Place) -> Ran<Value<'d>> {
        for name in names {
            value = match value.field(name) {
                Ok(value) => value,
                Err(what) => return self.fail(place, what),
            };
        }
        Ok(value)
    }
}

pub fn too_large() -> String {
    format!("the output is larger than {TEMPLATE_OUTPUT_BYTES_MAX} bytes")
}

/// A value in an error text.
fn shown(value: &Value<'_>) -> String {
    let mut out = Output::default();
    let _ = value.write(&mut out);
    out.text.chars().take(80).collect()
}
