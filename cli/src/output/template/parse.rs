//! Tokens to a tree. Everything that can be known before there is data is refused here.

use common::limits::TEMPLATE_DEPTH_MAX;

use super::functions;
use super::lex::{Kind, Token};
use super::{TemplateError, parse_error};

#[derive(Debug)]
pub enum Node {
    Text(String),
    Print(Pipe),
    If { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { pipe: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

/// `$a, $b := first | second | third`
#[derive(Debug)]
pub struct Pipe {
    pub variables: Vec<String>,
    pub declares: bool,
    pub commands: Vec<Command>,
    pub place: Place,
}

/// A value, or a function with its arguments.
#[derive(Debug)]
pub struct Command {
    pub arguments: Vec<Term>,
    pub place: Place,
}

/// Bytes of the source, for error texts.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub start: usize,
    pub end: usize,
    /// Where an error is said to be: for `.A.B` that is `.B`, as in Go.
    pub at: usize,
}

#[derive(Debug)]
pub struct Term {
    pub kind: TermKind,
    pub place: Place,
}

#[derive(Debug)]
pub enum TermKind {
    Dot,
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    String(String),
    Function(String),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Pipe(Box<Pipe>),
    /// `(pipe).A.B`
    Chain(Box<Pipe>, Vec<String>),
}

pub fn parse(source: &str, tokens: Vec<Token>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { source, tokens, next: 0, depth: 0, ranges: 0, variables: vec!["$".into()] };
    let (nodes, end) = parser.list()?;
    match end {
        ListEnd::Source => Ok(nodes),
        ListEnd::End(at) => parser.fail(at, "unexpected {{end}}"),
        ListEnd::Else(at) => parser.fail(at, "unexpected {{else}}"),
    }
}

struct Parser<'s> {
    source: &'s str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    ranges: usize,
    /// Names in scope.
    variables: Vec<String>,
}

/// What ended a list of nodes; the parser stands behind `end`, or behind the word `else`.
enum ListEnd {
    Source,
    End(usize),
    Else(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    If,
    With,
    Range,
}

impl Block {
    fn word(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

type Parsed<T> = Result<T, TemplateError>;

impl Parser<'_> {
    fn fail<T>(&self, at: usize, what: impl std::fmt::Display) -> Parsed<T> {
        Err(parse_error(self.source, at, what))
    }

    fn peek(&self) -> &Token {
        // The last token is `End`, and nothing steps over it.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn shown(&self, token: &Token) -> String {
        match &token.kind {
            Kind::End => "EOF".into(),
            _ => format!("{:?}", self.source.get(token.at..token.end).unwrap_or_default().trim()),
        }
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Parsed<T> {
        match token.kind {
            Kind::Close => self.fail(token.at, format!("unexpected \"}}}}\" in {context}")),
            _ => self.fail(token.at, format!("unexpected {} in {context}", self.shown(token))),
        }
    }

    fn deeper<T>(&mut self, what: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == TEMPLATE_DEPTH_MAX {
            let at = self.peek().at;
            return self.fail(at, format!("nested deeper than {TEMPLATE_DEPTH_MAX}"));
        }
        self.depth += 1;
        let result = what(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self) -> Parsed<(Vec<Node>, ListEnd)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.take();
            match token.kind {
                Kind::Text(text) => nodes.push(Node::Text(text)),
                Kind::End => return Ok((nodes, ListEnd::Source)),
                _ => match self.action()? {
                    Action::Node(node) => nodes.push(node),
                    Action::Ends(end) => return Ok((nodes, end)),
                },
            }
        }
    }

    /// Behind `{{`.
    fn action(&mut self) -> Parsed<Action> {
        let first = self.peek().clone();
        let word = match &first.kind {
            Kind::Word(word) => word.as_str(),
            _ => "",
        };
        let block = match word {
            "if" => Some(Block::If),
            "with" => Some(Block::With),
            "range" => Some(Block::Range),
            _ => None,
        };
        if let Some(block) = block {
            self.next += 1;
            return self.deeper(|parser| parser.block(block, first.at)).map(Action::Node);
        }
        match word {
            "end" => {
                self.next += 1;
                self.expect_close("end")?;
                Ok(Action::Ends(ListEnd::End(first.at)))
            }
            "else" => {
                self.next += 1;
                Ok(Action::Ends(ListEnd::Else(first.at)))
            }
            "break" | "continue" => {
                self.next += 1;
                self.expect_close(word)?;
                if self.ranges == 0 {
                    return self.fail(first.at, format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                Ok(Action::Node(if word == "break" { Node::Break } else { Node::Continue }))
            }
            "define" | "template" | "block" => {
                self.fail(first.at, format!("{{{{{word}}}}} is not supported"))
            }
            _ => {
                let pipe = self.pipe("command", Ends::Close, false)?;
                self.expect_close("command")?;
                Ok(Action::Node(Node::Print(pipe)))
            }
        }
    }

    fn expect_close(&mut self, context: &str) -> Parsed<()> {
        let token = self.take();
        if token.kind == Kind::Close { Ok(()) } else { self.unexpected(&token, context) }
    }

    /// Behind `{{if`, `{{with` or `{{range`, up to and with its `{{end}}`.
    fn block(&mut self, block: Block, at: usize) -> Parsed<Node> {
        let variables = self.variables.len();
        let pipe = self.pipe(block.word(), Ends::Close, block == Block::Range)?;
        self.expect_close(block.word())?;
        self.ranges += usize::from(block == Block::Range);
        let (body, end) = self.list()?;
        self.ranges -= usize::from(block == Block::Range);
        let otherwise = match end {
            ListEnd::Source => return self.fail(at, "unexpected EOF"),
            ListEnd::End(_) => Vec::new(),
            ListEnd::Else(at) => self.otherwise(block, at)?,
        };
        self.variables.truncate(variables);
        Ok(match block {
            Block::If => Node::If { pipe, then: body, otherwise },
            Block::With => Node::With { pipe, then: body, otherwise },
            Block::Range => Node::Range { pipe, body, otherwise },
        })
    }

    /// Behind `{{else`, up to and with the `{{end}}`, which `{{else if}}` and its `{{if}}` share.
    fn otherwise(&mut self, block: Block, at: usize) -> Parsed<Vec<Node>> {
        let next = self.peek().clone();
        match (&next.kind, block) {
            (Kind::Word(word), Block::If | Block::With) if word == block.word() => {
                self.next += 1;
                return self.deeper(|parser| parser.block(block, next.at)).map(|node| vec![node]);
            }
            _ => self.expect_close("else")?,
        }
        let (nodes, end) = self.list()?;
        match end {
            ListEnd::End(_) => Ok(nodes),
            ListEnd::Else(at) => self.fail(at, "expected end; found {{else}}"),
            ListEnd::Source => self.fail(at, "unexpected EOF"),
        }
    }

    fn pipe(&mut self, context: &str, ends: Ends, in_range: bool) -> Parsed<Pipe> {
        let start = self.peek().at;
        let (variables, declares) = self.declarations(context, in_range)?;
        let mut commands = Vec::new();
        loop {
            let token = self.peek().clone();
            let ended = match ends {
                Ends::Close => token.kind == Kind::Close,
                Ends::Paren => token.kind == Kind::ParenClose,
            };
            if ended {
                break;
            }
            match token.kind {
                Kind::End => return self.fail(start, "unclosed action"),
                Kind::Close => return self.fail(token.at, "unclosed left paren"),
                Kind::ParenClose => return self.fail(token.at, "unexpected right paren"),
                _ => commands.push(self.command(context)?),
            }
        }
        let end = self.tokens[self.next.saturating_sub(1)].end;
        if commands.is_empty() {
            return self.fail(start, format!("missing value for {context}"));
        }
        for (index, command) in commands.iter().enumerate().skip(1) {
            let executable = match command.arguments[0].kind {
                TermKind::Function(_) | TermKind::Field(_) | TermKind::Variable(..) | TermKind::Chain(..) => {
                    true
                }
                TermKind::Pipe(_) => true,
                TermKind::Dot | TermKind::Nil | TermKind::Bool(_) => false,
                TermKind::Int(_) | TermKind::Float(_) | TermKind::String(_) => false,
            };
            if !executable {
                let stage = index + 1;
                return self
                    .fail(command.place.at, format!("non executable command in pipeline stage {stage}"));
            }
        }
        // In scope from here on: not in its own value.
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, declares, commands, place: Place { start, end, at: start } })
    }

    /// `$x :=`, `$x =`, or in a range `$key, $value :=`.
    fn declarations(&mut self, context: &str, in_range: bool) -> Parsed<(Vec<String>, bool)> {
        let kind_at = |parser: &Self, offset: usize| {
            parser.tokens.get(parser.next + offset).map_or(Kind::End, |token| token.kind.clone())
        };
        let Kind::Variable(first) = kind_at(self, 0) else { return Ok((Vec::new(), false)) };
        let mut names = vec![first];
        let mut length = 1;
        if kind_at(self, 1) == Kind::Comma {
            let Kind::Variable(second) = kind_at(self, 2) else {
                return self.fail(self.peek().at, "range can only initialize variables");
            };
            if !in_range {
                return self.fail(self.peek().at, format!("too many declarations in {context}"));
            }
            names.push(second);
            length = 3;
        }
        let declares = match kind_at(self, length) {
            Kind::Declare => true,
            Kind::Assign => false,
            _ if length == 1 => return Ok((Vec::new(), false)),
            _ => return self.fail(self.peek().at, "expected :="),
        };
        for name in names.iter().filter(|_| !declares) {
            self.check_variable(name, self.peek().at)?;
        }
        self.next += length + 1;
        Ok((names, declares))
    }

    fn check_variable(&self, name: &str, at: usize) -> Parsed<()> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        self.fail(at, format!("undefined variable {name:?}"))
    }

    /// Terms up to `|`, which is taken, or to the end of the pipe, which is not.
    fn command(&mut self, context: &str) -> Parsed<Command> {
        let start = self.peek().at;
        let mut arguments = Vec::new();
        loop {
            let term = self.term()?;
            let is_term = term.is_some();
            arguments.extend(term);
            let next = self.peek().clone();
            match next.kind {
                Kind::Pipe => {
                    self.next += 1;
                    if matches!(self.peek().kind, Kind::Close | Kind::ParenClose | Kind::Pipe) {
                        return self.fail(next.at, format!("missing value for {context}"));
                    }
                    break;
                }
                Kind::Close | Kind::ParenClose | Kind::End => break,
                _ if next.space_before && is_term => {}
                _ => return self.unexpected(&next, "operand"),
            }
        }
        match arguments.last() {
            Some(last) => {
                let place = Place { start, end: last.place.end, at: start };
                Ok(Command { arguments, place })
            }
            None => self.fail(start, "empty command"),
        }
    }

    fn term(&mut self) -> Parsed<Option<Term>> {
        let token = self.peek().clone();
        let (at, end) = (token.at, token.end);
        let kind = match token.kind {
            Kind::Dot => TermKind::Dot,
            Kind::Int(value) => TermKind::Int(value),
            Kind::Float(value) => TermKind::Float(value),
            Kind::String(text) => TermKind::String(text),
            Kind::Word(word) => match word.as_str() {
                "nil" => TermKind::Nil,
                "true" => TermKind::Bool(true),
                "false" => TermKind::Bool(false),
                name if functions::is_known(name) => TermKind::Function(word),
                "if" | "with" | "range" | "end" | "else" | "break" | "continue" | "define" | "template"
                | "block" => {
                    return self.fail(at, format!("unexpected <{word}> in operand"));
                }
                _ => return self.fail(at, format!("function {word:?} not defined")),
            },
            Kind::Field(name) => {
                self.next += 1;
                return self.fields(at, end, vec![name], TermKind::Field).map(Some);
            }
            Kind::Variable(name) => {
                self.check_variable(&name, at)?;
                self.next += 1;
                return self.fields(at, end, Vec::new(), |fields| TermKind::Variable(name, fields)).map(Some);
            }
            Kind::ParenOpen => {
                self.next += 1;
                let pipe = self.deeper(|parser| parser.pipe("parenthesized pipeline", Ends::Paren, false))?;
                let close = self.take();
                let pipe = Box::new(pipe);
                return self
                    .fields(at, close.end, Vec::new(), |fields| match fields.is_empty() {
                        true => TermKind::Pipe(pipe),
                        false => TermKind::Chain(pipe, fields),
                    })
                    .map(Some);
            }
            _ => return Ok(None),
        };
        self.next += 1;
        let next = self.peek();
        if matches!(next.kind, Kind::Field(_)) && !next.space_before {
            let term = &self.source[at..end];
            return self.fail(at, format!("unexpected . after term {term:?}"));
        }
        Ok(Some(Term { kind, place: Place { start: at, end, at } }))
    }

    /// Takes the `.B.C` that follow the token at `start` without space.
    fn fields(
        &mut self,
        start: usize,
        end: usize,
        mut names: Vec<String>,
        kind: impl FnOnce(Vec<String>) -> TermKind,
    ) -> Parsed<Term> {
        let mut place = Place { start, end, at: start };
        while let Token { kind: Kind::Field(name), at, end, space_before: false } = self.peek().clone() {
            if place.at == start {
                place.at = at;
            }
            names.push(name);
            place.end = end;
            self.next += 1;
        }
        Ok(Term { kind: kind(names), place })
    }
}

enum Action {
    Node(Node),
    Ends(ListEnd),
}

/// What closes a pipe.
#[derive(Clone, Copy)]
enum Ends {
    Close,
    Paren,
}
