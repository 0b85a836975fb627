//! `--mount type=volume|bind|tmpfs|npipe|cluster|image,source=…,target=…,readonly,…` as the API takes it.

use serde_json::{Value, json};

use super::csv;
use super::members::member;
use super::number;
use super::size;

pub fn parse(text: &str) -> Result<Value, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("value is empty".into());
    }
    let mut mount = json!({"Type": "volume"});
    for field in csv::fields(text)? {
        set(&mut mount, &field)?;
    }
    check(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Value, field: &str) -> Result<(), String> {
    let (key, value) = match field.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (field, None),
    };
    if key.trim() != key {
        return Err(format!(
            "invalid option '{}' in '{field}': option should not have whitespace",
            key.trim()
        ));
    }
    match value {
        Some(value) if value.trim().is_empty() => {
            return Err(format!("invalid value for '{key}': value is empty"));
        }
        Some(value) if value.trim() != value => {
            return Err(format!("invalid value for '{key}' in '{field}': value should not have whitespace"));
        }
        _ => {}
    }
    let key = key.to_lowercase();
    const SWITCHES: [&str; 5] = ["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"];
    if value.is_none() && !SWITCHES.contains(&key.as_str()) {
        return Err(format!("invalid field '{field}' must be a key=value pair"));
    }
    let text = value.unwrap_or_default();
    let lower = text.to_lowercase();
    let switch = || switch(&key, value);
    let wrong = || format!("invalid value for {key}: {text}");
    let mut put = |path: &[&str], value: Value| *member(mount, path) = value;
    match key.as_str() {
        "type" => put(&["Type"], lower.into()),
        "source" | "src" => put(&["Source"], source(text).into()),
        "target" | "dst" | "destination" => put(&["Target"], text.into()),
        "readonly" | "ro" => put(&["ReadOnly"], switch()?.into()),
        "consistency" => put(&["Consistency"], lower.into()),
        "bind-propagation" => put(&["BindOptions", "Propagation"], lower.into()),
        "bind-nonrecursive" => put(&["BindOptions", "NonRecursive"], switch()?.into()),
        "bind-create-src" => put(&["BindOptions", "CreateMountpoint"], switch()?.into()),
        "bind-recursive" => match text {
            "enabled" => {}
            "disabled" => put(&["BindOptions", "NonRecursive"], true.into()),
            "writable" => put(&["BindOptions", "ReadOnlyNonRecursive"], true.into()),
            "readonly" => put(&["BindOptions", "ReadOnlyForceRecursive"], true.into()),
            _ => {
                let expected = r#"(must be "enabled", "disabled", "writable", or "readonly")"#;
                return Err(format!("invalid value for {key}: {text} {expected}"));
            }
        },
        "volume-subpath" => put(&["VolumeOptions", "Subpath"], text.into()),
        "volume-nocopy" => put(&["VolumeOptions", "NoCopy"], switch()?.into()),
        "volume-driver" => put(&["VolumeOptions", "DriverConfig", "Name"], text.into()),
        "volume-label" | "volume-opt" => {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            let path: &[&str] = match key.as_str() {
                "volume-label" => &["VolumeOptions", "Labels", name],
                _ => &["VolumeOptions", "DriverConfig", "Options", name],
            };
            put(path, value.into());
        }
        "image-subpath" => put(&["ImageOptions", "Subpath"], text.into()),
        "tmpfs-size" => put(&["TmpfsOptions", "SizeBytes"], size::parse(text).map_err(|_| wrong())?.into()),
        "tmpfs-mode" => put(&["TmpfsOptions", "Mode"], number::octal(text, 32).map_err(|_| wrong())?.into()),
        _ => return Err(format!("unknown option '{key}' in '{field}'")),
    }
    Ok(())
}

/// A path that starts with a dot is one of this machine, seen from here.
fn source(text: &str) -> String {
    if !text.starts_with('.') {
        return text.into();
    }
    match std::env::current_dir() {
        Ok(here) => here.join(text).components().collect::<std::path::PathBuf>().display().to_string(),
        Err(_) => text.into(),
    }
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "true") => Ok(true),
        Some("0" | "false") => Ok(false),
        Some(value) => {
            let expected = r#"must be one of "true", "1", "false", or "0" (default "true")"#;
            Err(format!("invalid value for '{key}': invalid boolean value ({value:?}): {expected}"))
        }
    }
}

fn check(mount: &Value) -> Result<(), String> {
    let kind = mount["Type"].as_str().unwrap_or_default();
    if kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.get("Target").is_none() {
        return Err("target is required".into());
    }
    let owners = [
        ("bind", "BindOptions"),
        ("volume", "VolumeOptions"),
        ("image", "ImageOptions"),
        ("tmpfs", "TmpfsOptions"),
    ];
    for (owner, options) in owners {
        // A cluster volume takes no options of volumes, as in Docker.
        if owner != kind && mount.get(options).is_some() {
            return Err(format!("cannot mix '{owner}-*' options with mount type '{kind}'"));
        }
    }
    let says = |path: &str| mount.pointer(path).and_then(Value::as_bool).unwrap_or_default();
    let needs = |recursive: &str, other: &str| {
        Err(format!("option 'bind-recursive={recursive}' requires '{other}' to be specified in conjunction"))
    };
    if says("/BindOptions/ReadOnlyNonRecursive") && !says("/ReadOnly") {
        return needs("writable", "readonly");
    }
    if says("/BindOptions/ReadOnlyForceRecursive") {
        if !says("/ReadOnly") {
            return needs("readonly", "readonly");
        }
        if mount.pointer("/BindOptions/Propagation").and_then(Value::as_str) != Some("rprivate") {
            return needs("readonly", "bind-propagation=rprivate");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mounts_of_every_type() {
        #[rustfmt::skip]
        let cases = [
            ("source=v,target=/x", json!({"Type": "volume", "Source": "v", "Target": "/x"})),
            ("type=bind,src=/a,dst=/x,ro", json!({"Type": "bind", "Source": "/a", "Target": "/x", "ReadOnly": true})),
            ("type=bind,src=/a,destination=/x,readonly=false,bind-propagation=rslave,consistency=cached",
             json!({"Type": "bind", "Source": "/a", "Target": "/x", "ReadOnly": false, "Consistency": "cached", "BindOptions": {"Propagation": "rslave"}})),
            ("type=bind,src=/a,dst=/x,bind-recursive=disabled,bind-create-src",
             json!({"Type": "bind", "Source": "/a", "Target": "/x", "BindOptions": {"NonRecursive": true, "CreateMountpoint": true}})),
            ("type=bind,src=/a,dst=/x,bind-nonrecursive", json!({"Type": "bind", "Source": "/a", "Target": "/x", "BindOptions": {"NonRecursive": true}})),
            ("target=/x,volume-driver=d,volume-opt=a=b=c,volume-opt=e,volume-label=l=m,volume-nocopy,volume-subpath=s",
             json!({"Type": "volume", "Target": "/x", "VolumeOptions": {
                 "DriverConfig": {"Name": "d", "Options": {"a": "b=c", "e": ""}}, "Labels": {"l": "m"}, "NoCopy": true, "Subpath": "s"}})),
            ("type=tmpfs,target=/x,tmpfs-size=1m,tmpfs-mode=1770",
             json!({"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}})),
            ("type=image,source=i,target=/x,image-subpath=s", json!({"Type": "image", "Source": "i", "Target": "/x", "ImageOptions": {"Subpath": "s"}})),
            ("type=volume,source=v,\"target=/a,b\"", json!({"Type": "volume", "Source": "v", "Target": "/a,b"})),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_mounts_say_what_is_wrong() {
        #[rustfmt::skip]
        let cases = [
            ("", "value is empty"),
            ("type=bind,source=/a", "target is required"),
            ("type=,target=/x", "invalid value for 'type': value is empty"),
            ("source", "invalid field 'source' must be a key=value pair"),
            ("target=/x,nope=1", "unknown option 'nope' in 'nope=1'"),
            ("target=/x,readonly=maybe", r#"invalid value for 'readonly': invalid boolean value ("maybe"): must be one of "true", "1", "false", or "0" (default "true")"#),
            ("target=/x, ro", "invalid option 'ro' in ' ro': option should not have whitespace"),
            ("target= /x", "invalid value for 'target' in 'target= /x': value should not have whitespace"),
            ("target=/x,bind-propagation=shared", "cannot mix 'bind-*' options with mount type 'volume'"),
            ("type=bind,source=/a,target=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
            ("type=volume,target=/x,tmpfs-size=1k", "cannot mix 'tmpfs-*' options with mount type 'volume'"),
            ("type=tmpfs,target=/x,image-subpath=a", "cannot mix 'image-*' options with mount type 'tmpfs'"),
            ("type=tmpfs,target=/x,tmpfs-size=x", "invalid value for tmpfs-size: x"),
            ("type=tmpfs,target=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
            ("type=bind,source=/a,target=/x,bind-recursive=x", r#"invalid value for bind-recursive: x (must be "enabled", "disabled", "writable", or "readonly")"#),
            ("type=bind,source=/a,target=/x,bind-recursive=writable", "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"),
            ("type=bind,source=/a,target=/x,ro,bind-recursive=readonly", "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "((type|target|src|ro|tmpfs-mode|volume-opt|bind-recursive)(=[a-z0-9=. /\"]{0,6})?,?){0,4}") {
            let _ = parse(&text);
        }
    }
}
