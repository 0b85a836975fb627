//! `--env NAME=VALUE`, `--env NAME` (the value comes from this program's own environment) and `--env-file FILE`.

use std::path::Path;

use common::limits::ENV_FILE_BYTES_MAX;

/// One variable of `--env`. A name that the environment has not stays alone: in the task it is then not set.
pub fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("invalid environment variable: {text}")),
        None if text.is_empty() => Err(format!("invalid environment variable: {text}")),
        Some(_) => Ok(text.into()),
        None => Ok(match std::env::var(text) {
            Ok(value) => format!("{text}={value}"),
            Err(_) => text.into(),
        }),
    }
}

/// Reads the variables of a file.
pub fn file(path: &Path) -> Result<Vec<String>, String> {
    let failed = |what: &dyn std::fmt::Display| format!("invalid env file ({}): {what}", path.display());
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > ENV_FILE_BYTES_MAX {
        return Err(failed(&format_args!("larger than {ENV_FILE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    lines(&bytes, |name| std::env::var(name).ok()).map_err(|error| failed(&error))
}

/// One variable for each line; empty lines and those that start with `#` say nothing.
fn lines(bytes: &[u8], look_up: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut variables = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line)
            .map_err(|_| format!("env file contains invalid utf8 bytes at line {}", number + 1))?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        match value {
            Some(_) => variables.push(line.to_owned()),
            None => variables.extend(look_up(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

/// The name of a variable as it stands in a spec.
pub fn name(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// Each name once, with its last value, in the order of those.
pub fn merge(variables: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    for variable in variables {
        merged.retain(|earlier| name(earlier) != name(&variable));
        merged.push(variable);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_files_of_them() {
        assert_eq!(variable("A=b=c").as_deref(), Ok("A=b=c"));
        assert_eq!(variable("A=").as_deref(), Ok("A="));
        assert_eq!(variable("NO_SUCH_VARIABLE_HERE").as_deref(), Ok("NO_SUCH_VARIABLE_HERE"));
        assert_eq!(variable("=x").unwrap_err(), "invalid environment variable: =x");
        assert_eq!(variable("").unwrap_err(), "invalid environment variable: ");

        type Lines<'a> = Result<&'a [&'a str], &'a str>;
        let look_up = |name: &str| (name == "HERE").then(|| "v".to_owned());
        #[rustfmt::skip]
        let cases: [(&[u8], Lines<'_>); 6] = [
            (b"", Ok(&[])),
            (b"\xef\xbb\xbfA=1\r\n\n  # no\n B= x \nHERE\nGONE\n", Ok(&["A=1", "B= x ", "HERE=v"])),
            (b"A B=1", Err("variable 'A B' contains whitespaces")),
            (b"=1", Err("no variable name on line '=1'")),
            (b"A=1\n\xff", Err("env file contains invalid utf8 bytes at line 2")),
            (b"A#=1", Ok(&["A#=1"])),
        ];
        for (bytes, expected) in cases {
            let expected = expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect());
            assert_eq!(lines(bytes, look_up), expected.map_err(str::to_owned), "{bytes:?}");
        }
        let merged = merge(["A=1", "B=2", "A=3", "C"].map(str::to_owned));
        assert_eq!(merged, ["B=2", "A=3", "C"]);
        assert!(
            file(Path::new("/does/not/exist"))
                .unwrap_err()
                .starts_with("invalid env file (/does/not/exist): ")
        );
    }
}
