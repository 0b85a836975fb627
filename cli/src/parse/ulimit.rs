//! `--ulimit NAME=SOFT[:HARD]`; -1 means: no limit.

use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

const NAMES: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl Ulimit {
    pub fn to_json(&self) -> Value {
        json!({"Name": self.name, "Soft": self.soft, "Hard": self.hard})
    }
}

pub fn parse(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    };
    let (soft, hard) = match limits.split(':').collect::<Vec<_>>()[..] {
        [both] => (number(both)?, number(both)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.into(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_soft_and_hard() {
        #[rustfmt::skip]
        let cases = [
            ("nofile=1024",      Ok((1024, 1024))),
            ("nofile=1024:2048", Ok((1024, 2048))),
            ("core=-1",          Ok((-1, -1))),
            ("core=5:-1",        Ok((5, -1))),
            ("nofile",           Err("invalid ulimit argument: nofile")),
            ("files=1",          Err("invalid ulimit type: files")),
            ("nofile=x",         Err("strconv.ParseInt: parsing \"x\": invalid syntax")),
            ("nofile=",          Err("strconv.ParseInt: parsing \"\": invalid syntax")),
            ("nofile=2:1",       Err("ulimit soft limit must be less than or equal to hard limit: 2 > 1")),
            ("nofile=-1:1",      Err("ulimit soft limit must be less than or equal to hard limit: -1 > 1")),
            ("nofile=1:2:3",     Err("too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`")),
        ];
        for (text, expected) in cases {
            let seen = parse(text).map(|limit| (limit.soft, limit.hard));
            assert_eq!(seen, expected.map_err(str::to_owned), "{text}");
        }
    }
}
