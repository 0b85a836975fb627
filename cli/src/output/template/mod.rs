//! `--format` templates: the part of Go's text/template, with Docker's functions, that people use.
//!
//! Fields, maps and lists of JSON; `range`, `if`, `with`, `else`, `break`, `continue`; variables, pipelines,
//! comparison and logic; `index`, `slice`, `len`, `print…`; `json`, `join`, `split`, `lower`, `upper`, `title`, `pad`,
//! `truncate`. Not here: `define`, `template`, `block`, `call`, `html`, `js`, `urlquery`.
//!
//! No text and no data makes it panic, hang, or fill the memory: depth, work and output are bounded.

mod functions;
mod lex;
mod parse;
mod printf;
mod run;
mod value;

use common::limits::TEMPLATE_BYTES_MAX;
use serde_json::Value as Json;

/// A template that has been read without error.
#[derive(Debug)]
pub struct Template {
    source: String,
    nodes: Vec<parse::Node>,
}

/// In Go's words: `template: :LINE: …`, or `template: :LINE:COLUMN: executing "" at <…>: …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub struct TemplateError(String);

impl Template {
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError(format!(":1: longer than {TEMPLATE_BYTES_MAX} bytes")));
        }
        let tokens = lex::tokens(source)?;
        let nodes = parse::parse(source, tokens)?;
        Ok(Self { source: source.into(), nodes })
    }

    pub fn render(&self, data: &Json) -> Result<String, TemplateError> {
        run::run(&self.source, &self.nodes, data, functions::Set::Values)
    }

    /// Renders a table's header: functions that would change a value leave the column's title as it is.
    pub fn render_header(&self, titles: &Json) -> Result<String, TemplateError> {
        run::run(&self.source, &self.nodes, titles, functions::Set::Titles)
    }
}

/// Where byte `at` is, from 1 for lines and from 0 for columns, as Go counts.
fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line = 1 + before.matches('\n').count();
    let column = before.rfind('\n').map_or(before.len(), |line_end| before.len() - line_end - 1);
    (line, column)
}

fn parse_error(source: &str, at: usize, what: impl std::fmt::Display) -> TemplateError {
    let (line, _) = position(source, at);
    TemplateError(format!(":{line}: {what}"))
}

#[cfg(test)]
mod tests;
