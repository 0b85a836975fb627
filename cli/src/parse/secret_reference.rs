//! `--secret NAME`, `--config source=NAME,target=FILE,uid=0,gid=0,mode=0444`: a secret or config as a file of a task.
//!
//! Ours are `version=N`, else it is the newest, and `refresh=SIGNAL`: the file follows new versions in place.

use super::csv;
use super::number;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub target: String,
    pub uid: String,
    pub gid: String,
    pub mode: u64,
    /// 0: the newest.
    pub version: u64,
    /// The signal with which a task is told of a new version; empty: none.
    pub refresh: Option<String>,
}

pub fn secret(text: &str) -> Result<Reference, String> {
    parse(text, "secret")
}

pub fn config(text: &str) -> Result<Reference, String> {
    parse(text, "config")
}

fn parse(text: &str, kind: &str) -> Result<Reference, String> {
    let fields = csv::fields(text)?;
    let mut reference = Reference {
        name: String::new(),
        target: String::new(),
        uid: "0".into(),
        gid: "0".into(),
        mode: 0o444,
        version: 0,
        refresh: None,
    };
    if let [name] = fields.as_slice()
        && !name.contains('=')
    {
        reference.name.clone_from(name);
        reference.target.clone_from(name);
    } else {
        for field in &fields {
            let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(format!("invalid field '{field}' must be a key=value pair"));
            };
            match key.to_lowercase().as_str() {
                "source" | "src" => reference.name = value.into(),
                "target" => reference.target = value.into(),
                "uid" => reference.uid = value.into(),
                "gid" => reference.gid = value.into(),
                "mode" => {
                    reference.mode = number::unsigned(value, 32).map_err(|error| {
                        format!("invalid mode specified: strconv.ParseUint: parsing {value:?}: {error}")
                    })?;
                }
                "version" => {
                    let number = value.parse().ok().filter(|number| *number > 0);
                    reference.version = number.ok_or_else(|| {
                        format!("invalid version {value:?}: {kind} history shows the numbers")
                    })?;
                }
                "refresh" => reference.refresh = Some(value.into()),
                _ => return Err(format!("invalid field in {kind} request: {key}")),
            }
        }
    }
    if reference.name.is_empty() {
        return Err("source is required".into());
    }
    if reference.target.is_empty() {
        reference.target.clone_from(&reference.name);
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_short_and_long() {
        #[rustfmt::skip]
        let cases = [
            ("key", Ok("key key 0 0 444")),
            ("source=key", Ok("key key 0 0 444")),
            ("src=key,target=/x/y,uid=1000,gid=33,mode=0400", Ok("key /x/y 1000 33 400")),
            ("Source=key,mode=292", Ok("key key 0 0 444")),
            ("", Err("EOF")),
            ("target=x", Err("source is required")),
            ("key,target=x", Err("invalid field 'key' must be a key=value pair")),
            ("source=key,mode=9x", Err("invalid mode specified: strconv.ParseUint: parsing \"9x\": invalid syntax")),
            ("source=key,owner=me", Err("invalid field in secret request: owner")),
        ];
        for (text, expected) in cases {
            let seen = secret(text).map(|seen| {
                format!("{} {} {} {} {:o}", seen.name, seen.target, seen.uid, seen.gid, seen.mode)
            });
            assert_eq!(seen.as_deref(), expected.map_err(str::to_owned).as_ref().map(|text| *text), "{text}");
        }
        let ours = secret("source=key,version=3,refresh=SIGHUP").expect("a reference");
        assert_eq!((ours.version, ours.refresh.as_deref()), (3, Some("SIGHUP")));
        let silent = config("source=key,refresh=").expect("a reference");
        assert_eq!((silent.version, silent.refresh.as_deref()), (0, Some("")));
        let error = secret("source=key,version=0").unwrap_err();
        assert_eq!(error, "invalid version \"0\": secret history shows the numbers");
        assert_eq!(config("source=a,x=b").unwrap_err(), "invalid field in config request: x");
    }
}
