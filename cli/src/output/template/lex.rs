//! Template text to tokens.

use super::{TemplateError, parse_error};

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Outside of `{{` and `}}`.
    Text(String),
    Open,
    Close,
    /// `.Name`
    Field(String),
    Dot,
    /// `$name`, or `$` alone.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    String(String),
    Int(i128),
    Float(f64),
    Pipe,
    ParenOpen,
    ParenClose,
    Declare,
    Assign,
    Comma,
    End,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub at: usize,
    pub end: usize,
    /// Arguments are separated by space; `.A.B` and `.A .B` differ.
    pub space_before: bool,
}

pub fn tokens(source: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new(), trim_next: false };
    while lexer.text()? {
        lexer.action()?;
    }
    let end = source.len();
    lexer.tokens.push(Token { kind: Kind::End, at: end, end, space_before: false });
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token>,
    /// The action before ended with ` -}}`.
    trim_next: bool,
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn fail<T>(&self, at: usize, what: impl std::fmt::Display) -> Result<T, TemplateError> {
        Err(parse_error(self.source, at, what))
    }

    /// Takes text up to the next `{{`; false at the end of the source. Comments vanish here.
    fn text(&mut self) -> Result<bool, TemplateError> {
        loop {
            let rest = self.rest();
            let (mut text, opens) = match rest.find("{{") {
                Some(length) => (&rest[..length], true),
                None => (rest, false),
            };
            let start = self.at;
            self.at += text.len();
            if std::mem::take(&mut self.trim_next) {
                text = text.trim_start_matches(SPACE);
            }
            let open_at = self.at;
            if opens {
                self.at += 2;
                let after_dash = self.rest().strip_prefix('-').filter(|after| after.starts_with(SPACE));
                if let Some(after) = after_dash {
                    text = text.trim_end_matches(SPACE);
                    self.at = self.source.len() - after.trim_start_matches(SPACE).len();
                }
            }
            if !text.is_empty() {
                self.push(Kind::Text(text.into()), start, open_at, false);
            }
            if !opens {
                return Ok(false);
            }
            if !self.rest().starts_with("/*") {
                self.push(Kind::Open, open_at, self.at, false);
                return Ok(true);
            }
            self.comment(open_at)?;
        }
    }

    fn comment(&mut self, open_at: usize) -> Result<(), TemplateError> {
        let Some(length) = self.rest().find("*/") else { return self.fail(open_at, "unclosed comment") };
        self.at += length + 2;
        if !self.close() {
            return self.fail(open_at, "comment ends before closing delimiter");
        }
        Ok(())
    }

    /// Steps over `}}` or ` -}}`.
    fn close(&mut self) -> bool {
        if self.rest().starts_with("}}") {
            self.at += 2;
            return true;
        }
        let after_space = self.rest().trim_start_matches(SPACE);
        if after_space.len() < self.rest().len() && after_space.starts_with("-}}") {
            self.at = self.source.len() - after_space.len() + 3;
            self.trim_next = true;
            return true;
        }
        false
    }

    /// Takes the tokens of one action, with its `}}`.
    fn action(&mut self) -> Result<(), TemplateError> {
        let open_at = self.at;
        loop {
            let before_space = self.at;
            if self.close() {
                self.push(Kind::Close, before_space, self.at, true);
                return Ok(());
            }
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(SPACE);
            let space_before = trimmed.len() < rest.len();
            self.at = self.source.len() - trimmed.len();
            if trimmed.starts_with("}}") {
                continue;
            }
            let Some(first) = trimmed.chars().next() else { return self.fail(open_at, "unclosed action") };
            let start = self.at;
            let kind = self.token(first, trimmed)?;
            self.push(kind, start, self.at, space_before);
        }
    }

    fn token(&mut self, first: char, rest: &str) -> Result<Kind, TemplateError> {
        let second = rest[first.len_utf8()..].chars().next();
        let kind = match first {
            '|' => Kind::Pipe,
            '(' => Kind::ParenOpen,
            ')' => Kind::ParenClose,
            ',' => Kind::Comma,
            '=' => Kind::Assign,
            ':' if second == Some('=') => {
                self.at += 2;
                return Ok(Kind::Declare);
            }
            ':' => return self.fail(self.at, "expected :="),
            '"' => return self.string(rest),
            '`' => return self.raw_string(rest),
            '\'' => return self.character(rest),
            '$' => return Ok(Kind::Variable(format!("${}", self.word(1)))),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => return self.number(rest),
            '.' if second.is_some_and(is_word) => return Ok(Kind::Field(self.word(1))),
            '.' => Kind::Dot,
            '0'..='9' => return self.number(rest),
            '+' | '-' if second.is_some_and(|c| c.is_ascii_digit() || c == '.') => return self.number(rest),
            c if is_word(c) => return Ok(Kind::Word(self.word(0))),
            c => return self.fail(self.at, format!("unrecognized character in action: {}", unicode(c))),
        };
        self.at += first.len_utf8();
        Ok(kind)
    }

    /// Takes `skip` bytes and the letters and digits after them, and returns the latter.
    fn word(&mut self, skip: usize) -> String {
        self.at += skip;
        let rest = self.rest();
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word.into()
    }

    fn raw_string(&mut self, rest: &str) -> Result<Kind, TemplateError> {
        match rest[1..].find('`') {
            Some(length) => {
                self.at += length + 2;
                Ok(Kind::String(rest[1..=length].into()))
            }
            None => self.fail(self.at, "unterminated raw quoted string"),
        }
    }

    fn string(&mut self, rest: &str) -> Result<Kind, TemplateError> {
        match quoted(rest, '"') {
            Ok((text, length)) => {
                self.at += length;
                Ok(Kind::String(text))
            }
            Err(what) => self.fail(self.at, what),
        }
    }

    fn character(&mut self, rest: &str) -> Result<Kind, TemplateError> {
        match quoted(rest, '\'') {
            Ok((text, length)) if text.chars().count() == 1 => {
                self.at += length;
                Ok(Kind::Int(text.chars().next().map_or(0, |c| i128::from(u32::from(c)))))
            }
            Ok(_) => self.fail(self.at, "malformed character constant"),
            Err(_) => self.fail(self.at, "unterminated character constant"),
        }
    }

    fn number(&mut self, rest: &str) -> Result<Kind, TemplateError> {
        let sign_length = usize::from(rest.starts_with(['+', '-']));
        let mut length = sign_length;
        let hexadecimal = rest[sign_length..].to_ascii_lowercase().starts_with("0x");
        for c in rest[sign_length..].chars() {
            let exponent_sign = matches!(c, '+' | '-')
                && !hexadecimal
                && rest[..length].ends_with(['e', 'E'])
                && length > sign_length;
            if !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || exponent_sign) {
                break;
            }
            length += c.len_utf8();
        }
        let text = &rest[..length];
        match number_value(text) {
            Some(kind) => {
                self.at += length;
                Ok(kind)
            }
            None => self.fail(self.at, format!("bad number syntax: {text:?}")),
        }
    }

    fn push(&mut self, kind: Kind, at: usize, end: usize, space_before: bool) {
        self.tokens.push(Token { kind, at, end, space_before });
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn unicode(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

fn number_value(text: &str) -> Option<Kind> {
    let digits = text.replace('_', "");
    let (negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let radix = |prefix: &str, radix| {
        lower
            .strip_prefix(prefix)
            .map(|digits| u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+')))
    };
    let whole = match radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8)) {
        Some(value) => Some(value?),
        None if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) => {
            Some(u64::from_str_radix(&lower, 8).ok()?)
        }
        None if lower.bytes().all(|b| b.is_ascii_digit()) => Some(lower.parse().ok()?),
        None => None,
    };
    if let Some(whole) = whole {
        let whole = i128::from(whole);
        return Some(Kind::Int(if negative { -whole } else { whole }));
    }
    // What Rust reads beyond Go's numbers: `inf`, `nan`; those start with a letter and never come here.
    let float: f64 = lower.parse().ok().filter(|float: &f64| float.is_finite())?;
    Some(Kind::Float(if negative { -float } else { float }))
}

/// Reads a quoted text with Go's escapes; returns it and the length it took.
fn quoted(source: &str, quote: char) -> Result<(String, usize), &'static str> {
    const OPEN: &str = "unterminated quoted string";
    const BAD: &str = "invalid syntax in quoted string";
    let mut text = String::new();
    let mut letters = source.char_indices().skip(1);
    while let Some((at, c)) = letters.next() {
        match c {
            '\n' => return Err(OPEN),
            '\\' => {
                let (_, escape) = letters.next().ok_or(OPEN)?;
                let digits = match escape {
                    'a' => Err('\x07'),
                    'b' => Err('\x08'),
                    'f' => Err('\x0c'),
                    'n' => Err('\n'),
                    'r' => Err('\r'),
                    't' => Err('\t'),
                    'v' => Err('\x0b'),
                    '\\' | '\'' | '"' => Err(escape),
                    'x' => Ok((2, 16, 0)),
                    'u' => Ok((4, 16, 0)),
                    'U' => Ok((8, 16, 0)),
                    '0'..='7' => Ok((2, 8, escape.to_digit(8).unwrap_or(0))),
                    _ => return Err(BAD),
                };
                match digits {
                    Err(c) => text.push(c),
                    Ok((count, radix, first)) => {
                        let mut code = first;
                        for _ in 0..count {
                            let digit = letters.next().and_then(|(_, c)| c.to_digit(radix)).ok_or(BAD)?;
                            code = code
                                .checked_mul(radix)
                                .and_then(|code| code.checked_add(digit))
                                .ok_or(BAD)?;
                        }
                        text.push(char::from_u32(code).ok_or(BAD)?);
                    }
                }
            }
            c if c == quote => return Ok((text, at + quote.len_utf8())),
            c => text.push(c),
        }
    }
    Err(OPEN)
}
