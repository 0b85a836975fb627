//! `--device HOST[:TASK[:PERMISSIONS]]` and `--gpus all|N|device=…`, as `docker run` reads them.

use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub host: String,
    pub task: String,
    /// Of `r`, `w` and `m`.
    pub permissions: String,
}

impl Device {
    pub fn to_json(&self) -> Value {
        json!({"PathOnHost": self.host, "PathInContainer": self.task, "CgroupPermissions": self.permissions})
    }
}

pub fn parse(text: &str) -> Result<Device, String> {
    let are_permissions = |text: &str| !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter));
    let (host, task, permissions) = match text.split(':').collect::<Vec<_>>()[..] {
        [host] => (host, host, "rwm"),
        [host, permissions] if are_permissions(permissions) => (host, host, permissions),
        [host, task] => (host, task, "rwm"),
        [host, task, permissions] if are_permissions(permissions) => (host, task, permissions),
        [_, _, permissions] => return Err(format!("invalid device mode: {permissions}")),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if host.is_empty() {
        return Err(format!("invalid device specification: {text}"));
    }
    if !task.starts_with('/') {
        return Err(format!("{task} is not an absolute path"));
    }
    Ok(Device { host: host.into(), task: task.into(), permissions: permissions.into() })
}

/// Empty takes away what was there.
pub fn gpus(text: &str) -> Result<String, String> {
    let is_count = text.parse::<u32>().is_ok();
    let is_list = text.contains("device=") || text.contains("count=");
    match text {
        "" | "all" => Ok(text.into()),
        _ if is_count || is_list => Ok(text.into()),
        _ => Err(format!("invalid gpus {text:?}: say all, a count, or device=ID[,ID…]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_gpus() {
        #[rustfmt::skip]
        let cases = [
            ("/dev/a", Ok("/dev/a /dev/a rwm")), ("/dev/a:/dev/b", Ok("/dev/a /dev/b rwm")), ("/dev/a:r", Ok("/dev/a /dev/a r")),
            ("/dev/a:/dev/b:rw", Ok("/dev/a /dev/b rw")),
            ("/dev/a:/dev/b:x", Err("invalid device mode: x")), ("/a:/b:r:w", Err("invalid device specification: /a:/b:r:w")),
            ("", Err("invalid device specification: ")), ("/dev/a:b", Err("b is not an absolute path")),
        ];
        for (text, expected) in cases {
            let seen =
                parse(text).map(|device| format!("{} {} {}", device.host, device.task, device.permissions));
            assert_eq!(seen.as_deref(), expected.map_err(str::to_owned).as_ref().map(|text| *text), "{text}");
        }
        for text in ["", "all", "2", "device=0,2", "\"device=0\"", "count=1"] {
            assert_eq!(gpus(text).as_deref(), Ok(text));
        }
        assert_eq!(gpus("some").unwrap_err(), "invalid gpus \"some\": say all, a count, or device=ID[,ID…]");
    }
}
