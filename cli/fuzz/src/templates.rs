//! `--format` templates over data of every kind. The input is a template, and after a zero byte JSON to fill it.

use std::sync::LazyLock;

use common::limits::TEMPLATE_OUTPUT_BYTES_MAX;
use serde_json::{Value, json};

use crate::template::Template;

static DATA: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "ID": "abc", "Number": 42, "Negative": -7, "Float": 1.5, "Large": u64::MAX, "Yes": true, "None": null,
        "List": [1, 2, 3], "Names": ["b", "ä", ""], "Map": {"b": {"c": "d"}, "a": []}, "Text": "ä€𝄞 long text", "": "empty",
    })
});

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (template, json) = match text.split_once('\0') {
        Some((template, json)) => (template, serde_json::from_str(json).ok()),
        None => (text, None),
    };
    let Ok(template) = Template::parse(template) else { return };
    let data: &Value = json.as_ref().unwrap_or(&*DATA);
    for rendered in [template.render(data), template.render_header(data)].into_iter().flatten() {
        assert!(rendered.len() <= TEMPLATE_OUTPUT_BYTES_MAX, "{} bytes", rendered.len());
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "{{.ID}} {{ .Map.b.c }}",
        "{{range $i, $v := .List}}{{$i}}={{$v}}{{break}}{{else}}none{{end}}",
        "{{range .Names}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}",
        "{{with $x := .Map}}{{index $x \"b\" \"c\"}}{{else with .ID}}{{.}}{{end}}",
        "{{if and .Yes (or .None (not .Number)) | not}}a{{else if lt .Number 5}}b{{else}}c{{end}}",
        "{{json .}} {{join .Names \",\"}} {{split .Text \" \"}} {{lower .ID}}{{upper .ID}}{{title .ID}}",
        "{{pad .ID 3 5}}{{truncate .Text 4}}{{slice .Text 1 3}}{{len .List}}",
        "{{printf \"%5.2f %-8q %08d %x %v %+v %t %c %U %e\" .Float .ID .Number .Text .Map .List .Yes 97 97 .Float}}",
        "{{- /* comment */ -}} {{print 1 \"a\" 2}}{{println .}}{{printf \"%*d\" 5 1}}{{printf \"%[2]d %[1]d\" 1 2}}",
        "{{$x := 1}}{{$x = 0x1F}}{{$x}}{{'a'}}{{`raw`}}{{1e3}}{{\"\\u00e9\\x41\"}}{{index .List 1}}",
        "{{eq .Number 42 43}}{{ne 1 2}}{{le 1.5 2.5}}{{ge \"a\" \"b\"}}{{(index .List 0)}}\0{\"List\":[[1]]}",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}
