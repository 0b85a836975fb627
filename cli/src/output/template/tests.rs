//! What Go's templates and Docker's functions give, and that nothing breaks them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data() -> Json {
    json!({
        "ID": "abc",
        "Name": "web",
        "Empty": "",
        "Self": true,
        "Off": false,
        "Count": 3,
        "Zero": 0,
        "Half": 0.5,
        "Big": 1e300,
        "Huge": u64::MAX,
        "None": null,
        "List": ["a", "b", "c"],
        "Numbers": [1, 20],
        "NoList": [],
        "Spec": {"Labels": {"z": "1", "a": "2"}, "Deep": {"Name": "x"}, "None": null},
        "Nodes": [{"Name": "n1", "Up": true}, {"Name": "n2", "Up": false}],
    })
}

/// What `template` gives, or its error text.
fn render(template: &str) -> String {
    match Template::parse(template).and_then(|template| template.render(&data())) {
        Ok(text) => text,
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template), *expected, "{template}");
    }
}

#[test]
fn values_print_as_in_go() {
    #[rustfmt::skip]
    check(&[
        ("", ""),
        ("plain { } text", "plain { } text"),
        ("{{.ID}}", "abc"),
        ("{{ .ID }}/{{.Name}}", "abc/web"),
        ("{{.Spec.Deep.Name}}", "x"),
        ("{{$.Spec.Deep.Name}}", "x"),
        ("{{.Self}} {{.Count}} {{.Half}} {{.Big}} {{.Huge}}", "true 3 0.5 1e+300 18446744073709551615"),
        ("{{.None}}", "<nil>"),
        ("{{.List}} {{.NoList}} {{.Numbers}}", "[a b c] [] [1 20]"),
        ("{{.Spec}}", "map[Deep:map[Name:x] Labels:map[a:2 z:1] None:<nil>]"),
        ("{{.Spec.Labels.a}} {{.Spec.Labels.nope}}", "2 <no value>"),
        (r#"{{"a\tb\"\u00e9\x41\101"}}{{`raw\n`}}{{'x'}}"#, "a\tb\"éAAraw\\n120"),
        ("{{1}} {{-2}} {{+3}} {{0x1F}} {{0b11}} {{0o17}} {{017}} {{1_000}} {{1.5}} {{.5}} {{1e3}} {{-0.5}}", "1 -2 3 31 3 15 15 1000 1.5 0.5 1000 -0.5"),
        ("{{true}} {{false}}", "true false"),
        ("{{1e21}} {{0.00001}} {{1234567.5}} {{999999.0}} {{1000000.0}} {{0.0001}}", "1e+21 1e-05 1.2345675e+06 999999 1e+06 0.0001"),
    ]);
}

#[test]
fn space_and_comments() {
    #[rustfmt::skip]
    check(&[
        ("a  {{- .ID -}}  b", "aabcb"),
        ("a \n\t{{- 3}} b", "a3 b"),
        ("a {{-3}} b", "a -3 b"),
        ("a {{3 -}} \n b", "a 3b"),
        ("a{{/* no }} end */}}b", "ab"),
        ("a {{- /* trim */ -}} b", "ab"),
        ("a{{/* open", "template: :1: unclosed comment"),
        ("a{{/* x */ }}", "template: :1: comment ends before closing delimiter"),
        ("{{\n.ID\n}}", "abc"),
        ("{{ .ID\t| lower }}", "abc"),
    ]);
}

#[test]
fn choosing() {
    #[rustfmt::skip]
    check(&[
        ("{{if .Self}}y{{end}}", "y"),
        ("{{if .Off}}y{{else}}n{{end}}", "n"),
        ("{{if .Zero}}y{{else if .Empty}}e{{else if .Name}}w{{else}}n{{end}}", "w"),
        ("{{if .None}}y{{else}}n{{end}}{{if .NoList}}y{{else}}n{{end}}{{if .List}}y{{end}}{{if .Spec}}y{{end}}", "nnyy"),
        ("{{with .Spec.Deep}}{{.Name}} {{$.ID}}{{else}}n{{end}}", "x abc"),
        ("{{with .None}}y{{else}}{{.ID}}{{end}}", "abc"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "web"),
        ("{{with .None}}y{{else with .Spec}}{{.Deep.Name}}{{end}}", "x"),
        ("{{if and .Self .Name}}y{{end}} {{or .Empty .Name}} {{not .Self}} {{and .Self .Zero}}", "y web false 0"),
        ("{{or .Name (index .None 1)}} {{and .Off (index .None 1)}}", "web false"),
    ]);
}

#[test]
fn walking() {
    #[rustfmt::skip]
    check(&[
        ("{{range .List}}{{.}},{{end}}", "a,b,c,"),
        ("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=a 1=b 2=c "),
        ("{{range $e := .List}}{{$e}}{{.}} {{end}}", "aa bb cc "),
        ("{{range $k, $v := .Spec.Labels}}{{$k}}={{$v}} {{end}}", "a=2 z=1 "),
        ("{{range .NoList}}x{{else}}none {{.ID}}{{end}}", "none abc"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{range .Nodes}}{{if .Up}}{{.Name}}{{end}}{{end}}", "n1"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .List}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{range .Name}}{{end}}", "template: :1:8: executing \"\" at <.Name>: range can't iterate over web"),
        ("{{$n := 0}}{{range .List}}{{$n = .}}{{end}}{{$n}}", "c"),
        ("{{$n := 1}}{{if true}}{{$n := 2}}{{$n}}{{end}}{{$n}}", "21"),
        ("{{range $i, $e := split \"x-y\" \"-\"}}{{$i}}{{$e}}{{end}}", "0x1y"),
    ]);
}

#[test]
fn functions() {
    #[rustfmt::skip]
    check(&[
        ("{{json .}}", &data().to_string()),
        ("{{json .Spec.Labels}} {{json .List}} {{.Name | json}} {{json .None}} {{json 1.5}}", r#"{"a":"2","z":"1"} ["a","b","c"] "web" null 1.5"#),
        ("{{json (split \"a,b\" \",\")}}", r#"["a","b"]"#),
        ("{{join .List \", \"}} {{join .NoList \"x\"}}|", "a, b, c |"),
        ("{{lower \"AbC\"}} {{upper .Name}} {{title \"two words\"}}", "abc WEB Two Words"),
        ("{{pad .Name 1 2}}| {{pad .Empty 3 3}}|", " web  | |"),
        ("{{truncate .Name 2}} {{truncate .Name 9}} {{truncate \"é\" 1}}|", "we web |"),
        ("{{len .List}} {{len .Name}} {{len .Spec}}", "3 3 3"),
        ("{{index .List 1}} {{index .Spec.Labels \"z\"}} {{index .Nodes 0 \"Name\"}} {{index .Spec.Labels \"no\"}}|", "b 1 n1 |"),
        ("{{slice .Name 1}} {{slice .List 0 2}} {{slice .Name 1 2}}", "eb [a b] e"),
        ("{{print 1 2 \"a\" \"b\" 3}} {{print .List nil}}|{{println .Name 1}}|", "1 2ab3 [a b c] <nil>|web 1\n|"),
        ("{{.List | len | printf \"%03d\"}}", "003"),
        ("{{(index .Nodes 1).Name}} {{(len .List)}}", "n2 3"),
        ("{{eq .Name \"db\" \"web\"}} {{ne .Count 4}} {{lt 1 2}} {{le 2 2}} {{gt 1.5 1}} {{ge \"a\" \"b\"}}", "true true true true true false"),
        ("{{eq .None nil}} {{eq .Self true}} {{eq .Spec.Labels.nope \"\"}} {{eq .Spec.Labels.nope \"x\"}}", "true true true false"),
        ("{{if not (eq .Name \"x\")}}y{{end}}", "y"),
    ]);
}

#[test]
fn printf_verbs() {
    #[rustfmt::skip]
    check(&[
        ("{{printf \"%s|%5s|%-5s|%.2s\" .Name .Name .Name .Name}}", "web|  web|web  |we"),
        ("{{printf \"%d|%5d|%-5d|%05d|%+d|% d\" 7 7 7 7 7 7}}", "7|    7|7    |00007|+7| 7"),
        ("{{printf \"%05d %x %X %o %b %#x %c\" -7 255 255 8 5 255 65}}", "-0007 ff FF 10 101 0xff A"),
        ("{{printf \"%q %v %t %T %x\" .Name .List .Self .Name \"az\"}}", "\"web\" [a b c] true string 617a"),
        ("{{printf \"%f %.1f %6.2f %g %e\" 1.5 1.25 3.14159 0.5 15.0}}", "1.500000 1.2   3.14 0.5 1.500000e+01"),
        ("{{printf \"100%%\"}}", "100%"),
        ("{{printf \"%d %s\" .Name}}", "%!d(string=web) %!s(MISSING)"),
        ("{{printf \"a\" 1 .Name}}", "a%!(EXTRA int=1, string=web)"),
        ("{{printf \"%s\" 1}} {{printf \"%d\" nil}} {{printf \"x%\"}}", "%!s(int=1) %!d(<nil>) x%!(NOVERB)"),
        ("{{printf \"%99999999d\" 1}}", "template: :1:2: executing \"\" at <printf \"%99999999d\" 1>: error calling printf: width or precision 99999999 is larger than 60000"),
    ]);
}

#[test]
fn mistakes_seen_without_data() {
    #[rustfmt::skip]
    check(&[
        ("{{", "template: :1: unclosed action"),
        ("{{.ID", "template: :1: unclosed action"),
        ("a\nb{{.ID", "template: :2: unclosed action"),
        ("{{}}", "template: :1: missing value for command"),
        ("{{if}}{{end}}", "template: :1: missing value for if"),
        ("{{if .ID}}", "template: :1: unexpected EOF"),
        ("{{if .ID}}{{else}}", "template: :1: unexpected EOF"),
        ("{{if .ID}}{{else}}{{else}}{{end}}", "template: :1: expected end; found {{else}}"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{nope .ID}}", "template: :1: function \"nope\" not defined"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{$x = 1}}", "template: :1: undefined variable \"$x\""),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{.ID}", "template: :1: unrecognized character in action: U+007D '}'"),
        ("{{.ID &}}", "template: :1: unrecognized character in action: U+0026 '&'"),
        ("{{(.ID}}", "template: :1: unclosed left paren"),
        ("{{.ID)}}", "template: :1: unexpected right paren"),
        ("{{.ID , 1}}", "template: :1: unexpected \",\" in operand"),
        ("{{.ID =1}}", "template: :1: unexpected \"=\" in operand"),
        ("{{| .ID}}", "template: :1: missing value for command"),
        ("{{, .ID}}", "template: :1: missing value for command"),
        ("{{.ID|}}", "template: :1: missing value for command"),
        ("{{.ID |}}", "template: :1: missing value for command"),
        ("{{.ID = 1}}", "template: :1: unexpected \"=\" in operand"),
        ("{{.ID := .Name}}", "template: :1: unexpected \":=\" in operand"),
        ("{{.ID , 1}}", "template: :1: unexpected \",\" in operand"),
        ("{{range $x := .List := .ID}}{{end}}", "template: :1: unexpected \":=\" in operand"),
        ("{{1 | 2}}", "template: :1: non executable command in pipeline stage 2"),
        ("{{\"x}}", "template: :1: unterminated quoted string"),
        ("{{`x}}", "template: :1: unterminated raw quoted string"),
        ("{{'x}}", "template: :1: unterminated character constant"),
        ("{{1x}}", "template: :1: bad number syntax: \"1x\""),
        ("{{\"a\".ID}}", "template: :1: unexpected . after term \"\\\"a\\\"\""),
        ("{{define \"x\"}}{{end}}", "template: :1: {{define}} is not supported"),
        ("{{$a, $b := .List}}", "template: :1: too many declarations in command"),
        ("{{.ID : 1}}", "template: :1: expected :="),
    ]);
}

#[test]
fn mistakes_seen_with_data() {
    #[rustfmt::skip]
    check(&[
        ("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        ("x\n  {{.Foo}}", "template: :2:4: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        ("{{.Spec.Deep.Foo}}", "template: :1:7: executing \"\" at <.Spec.Deep.Foo>: map has no entry for key \"Foo\""),
        ("{{.Name.Foo}}", "template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string"),
        ("{{.None.Foo}}", "template: :1:7: executing \"\" at <.None.Foo>: nil pointer evaluating interface {}.Foo"),
        ("{{.Name 1}}", "template: :1:2: executing \"\" at <.Name>: can't give argument to non-function .Name"),
        ("{{1 | .Name}}", "template: :1:6: executing \"\" at <.Name>: can't give argument to non-function .Name"),
        ("{{nil}}", "template: :1:2: executing \"\" at <nil>: nil is not a command"),
        ("{{len 1}}", "template: :1:2: executing \"\" at <len 1>: error calling len: len of type int"),
        ("{{len}}", "template: :1:2: executing \"\" at <len>: wrong number of args for len: want 1 got 0"),
        ("{{lt 1}}", "template: :1:2: executing \"\" at <lt>: wrong number of args for lt: want 2 got 1"),
        ("{{eq 1 \"a\"}}", "template: :1:2: executing \"\" at <eq 1 \"a\">: error calling eq: incompatible types for comparison"),
        ("{{eq .List .List}}", "template: :1:2: executing \"\" at <eq .List .List>: error calling eq: non-comparable type []interface {}"),
        ("{{lt true false}}", "template: :1:2: executing \"\" at <lt true false>: error calling lt: invalid type for comparison"),
        ("{{index .List 3}}", "template: :1:2: executing \"\" at <index .List 3>: error calling index: index out of range: 3"),
        ("{{index .List -1}}", "template: :1:2: executing \"\" at <index .List -1>: error calling index: index out of range: -1"),
        ("{{slice .Name 2 1}}", "template: :1:2: executing \"\" at <slice .Name 2 1>: error calling slice: invalid slice index: 2 > 1"),
        ("{{lower 1}}", "template: :1:2: executing \"\" at <lower 1>: error calling lower: wrong type for value; expected string; got int"),
        ("{{pad .Name -1 0}}", "template: :1:2: executing \"\" at <pad .Name -1 0>: error calling pad: cannot pad by -1 and 0"),
    ]);
}

#[test]
fn headers_are_titles() {
    let titles = json!({"ID": "ID", "Name": "NAME", "Self": ""});
    let template =
        Template::parse("{{.ID}}{{if .Self}}*{{end}}\t{{truncate (lower .Name) 2}}").expect("right");
    assert_eq!(template.render_header(&titles).expect("right"), "ID\tNAME");
}

#[test]
fn work_output_and_depth_are_bounded() {
    let doubling = format!("{{{{$x := \"ab\"}}}}{}{{{{len $x}}}}", "{{$x = print $x $x}}".repeat(60));
    let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    #[rustfmt::skip]
    let cases = [
        ("{{range 9223372036854775807}}{{end}}".to_owned(), "takes too much work"),
        ("{{range 100000}}{{range 100000}}{{end}}{{end}}".to_owned(), "takes too much work"),
        ("{{range 1000}}{{printf \"%60000s\" \"x\"}}{{end}}".to_owned(), "the output is larger than"),
        ("{{pad \"x\" 16000000 16000000}}".to_owned(), "the output is larger than"),
        ("{{pad \"x\" 99999999999 0}}".to_owned(), "cannot pad by"),
        (doubling, "takes too much work"),
        (format!("{{{{{deep}}}}}"), "nested deeper than"),
        (format!("{}{}", "{{if 1}}".repeat(1000), "{{end}}".repeat(1000)), "nested deeper than"),
        (format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(1000)), "nested deeper than"),
        ("x".repeat(TEMPLATE_BYTES_MAX + 1), "longer than"),
    ];
    for (template, expected) in cases {
        let seen = render(&template);
        let start: String = template.chars().take(60).collect();
        assert!(seen.contains(expected), "{start}: {}", seen.chars().take(300).collect::<String>());
    }
}

/// Pieces from which nearly right templates are made.
fn piece() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let pieces = [
        "{{", "}}", "{{-", "-}}", " -}}", "{{- ", " ", ".", ".ID", ".Spec", ".Labels", ".List", ".None", ".Foo", "$", "$x", "$x := ", "$i, $e := ", "=",
        "if ", "else", "else if ", "end", "range ", "with ", "break", "continue", "(", ")", "|", ",", "1", "-1", "0x", "1e400", "'a'", "\"s\"", "\"", "`", "\\",
        "nil", "true", "eq ", "and ", "or ", "not ", "len ", "index ", "slice ", "print ", "printf ", "\"%d%5.2f%q%-99s\" ", "json ", "join ", "split ", "pad ",
        "truncate ", "/*", "*/", "é", "\n", "{{range .List}}", "{{if .Self}}", "{{with .Spec}}", "{{else}}", "{{end}}", "{{.Name}}", "99999999999999999999",
    ];
    prop::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        render(&text);
    }

    #[test]
    fn no_text_in_braces_panics(text in "[ -~\n]{0,40}") {
        render(&format!("{{{{{text}}}}}"));
    }

    #[test]
    fn no_nearly_right_template_panics(pieces in prop::collection::vec(piece(), 0..24)) {
        render(&pieces.concat());
    }

    #[test]
    fn text_without_braces_is_itself(text in "[^{}]{0,60}") {
        prop_assert_eq!(render(&text), text);
    }

    #[test]
    fn every_string_can_be_quoted(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).expect("a string");
        // JSON's escapes are Go's but for `\/` and surrogates, which serde_json does not write.
        prop_assert_eq!(render(&format!("{{{{{quoted}}}}}")), text);
    }
}
