//! Lists of objects: `--format` with `table`, `table TEMPLATE`, `json` and templates, and `-q`.

use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value as Json;

use super::table;
use super::template::{Template, TemplateError};
use crate::exit::Failure;

/// What `--format` of a list says. Read together with the flags, so that a bad template asks the daemon nothing.
#[derive(Clone, Debug)]
pub enum Format {
    /// The command's own columns.
    Table,
    TableOf(Arc<Template>),
    /// One object per line.
    Json,
    Rows(Arc<Template>),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let template = |text: &str| {
            // The shell leaves these two alone, and people write them.
            let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
            Template::parse(&text).map(Arc::new).map_err(parsing_error)
        };
        match text {
            "" | "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            text => match text.strip_prefix("table ") {
                Some(columns) => template(columns).map(Self::TableOf),
                None => template(text).map(Self::Rows),
            },
        }
    }
}

/// Docker's words for a template that is wrong.
pub fn parsing_error(error: TemplateError) -> String {
    format!("template parsing error: {error}")
}

/// What one kind of list has to show.
pub struct Listing<'a> {
    /// Name of a row's member, and its title in the header.
    pub columns: &'a [(&'a str, &'a str)],
    /// The columns of plain `table`.
    pub table: &'a str,
}

impl Listing<'_> {
    /// `rows` are objects with the members that `columns` names. Quiet shows IDs, unless a format says what to show.
    pub fn show(&self, format: &Format, quiet: bool, rows: &[Json]) -> Result<String, Failure> {
        match format {
            Format::Table if quiet => lines(&own("{{.ID}}"), rows),
            Format::Table => self.table(&own(self.table), rows),
            Format::TableOf(template) => self.table(template, rows),
            Format::Rows(template) => lines(template, rows),
            Format::Json => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
        }
    }

    fn table(&self, template: &Template, rows: &[Json]) -> Result<String, Failure> {
        let titles = self.columns.iter().map(|(key, title)| ((*key).to_owned(), Json::from(*title)));
        let header = template.render_header(&Json::Object(titles.collect())).map_err(failed)?;
        Ok(table::align(&format!("{header}\n{}", lines(template, rows)?)))
    }
}

fn own(template: &str) -> Template {
    Template::parse(template).expect("the templates of this program are right, as its tests show")
}

fn lines(template: &Template, rows: &[Json]) -> Result<String, Failure> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&template.render(row).map_err(failed)?);
        text.push('\n');
    }
    Ok(text)
}

fn failed(error: TemplateError) -> Failure {
    Failure::usage(parsing_error(error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LISTING: Listing<'_> =
        Listing { columns: &[("ID", "ID"), ("Name", "NAME"), ("Self", "")], table: "{{.ID}}\t{{.Name}}" };

    #[test]
    fn formats() {
        let rows = [
            json!({"ID": "a", "Name": "Web", "Self": true}),
            json!({"ID": "b", "Name": "db", "Self": false}),
        ];
        #[rustfmt::skip]
        let cases = [
            ("table", false, Ok("ID        NAME\na         Web\nb         db\n")),
            ("table", true,  Ok("a\nb\n")),
            ("json",  false, Ok("{\"ID\":\"a\",\"Name\":\"Web\",\"Self\":true}\n{\"ID\":\"b\",\"Name\":\"db\",\"Self\":false}\n")),
            ("{{.Name}}", true, Ok("Web\ndb\n")),
            (r"{{.ID}}\t{{.Name}}\n", false, Ok("a\tWeb\n\nb\tdb\n\n")),
            (r"table {{lower .Name}}\t{{.ID}}{{if .Self}} *{{end}}", false, Ok("NAME      ID\nweb       a *\ndb        b\n")),
            ("{{.Nope}}", false, Err("template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"")),
        ];
        for (format, quiet, expected) in cases {
            let shown = LISTING.show(&format.parse().expect("a format"), quiet, &rows);
            let shown = shown.map_err(|failure| failure.text);
            assert_eq!(
                shown.as_deref(),
                expected.map_err(str::to_owned).as_ref().map(|text| *text),
                "{format}"
            );
        }
        assert_eq!(
            "table {{.ID".parse::<Format>().unwrap_err(),
            "template parsing error: template: :1: unclosed action"
        );
    }
}
