//! Names of limits a process has of its own: those of `docker service create --ulimit`.

use common::object::container;
use nix::sys::resource::Resource;

use super::program::Ulimit;

/// The kernel's limit of that name.
pub fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

/// A limit as asked for: -1 is unlimited, and a hard limit that was not said is the soft one.
pub fn checked(asked: &container::Ulimit) -> Result<Ulimit, String> {
    if resource(&asked.name).is_none() {
        return Err(format!("no ulimit is named '{}'", asked.name));
    }
    let amount = |value: i64| u64::try_from(value).ok();
    let hard = if asked.hard == 0 { asked.soft } else { asked.hard };
    let (soft, hard) = (amount(asked.soft), amount(hard));
    if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
        return Err(format!("ulimit {}: the soft limit is above the hard limit", asked.name));
    }
    Ok(Ulimit { name: asked.name.clone(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_are_checked_before_anything_starts() {
        #[rustfmt::skip]
        let cases = [ // name, soft, hard; what comes of it
            ("nofile", 10, 20, Some((Some(10), Some(20)))),
            ("nofile", 10, 0,  Some((Some(10), Some(10)))),
            ("core",   -1, -1, Some((None, None))),
            ("core",   0,  -1, Some((Some(0), None))),
            ("core",   0,  0,  Some((Some(0), Some(0)))),
            ("nproc",  30, 20, None),
            ("nproc",  -1, 20, None),
            ("wishes", 3,  3,  None),
        ];
        for (name, soft, hard, expected) in cases {
            let asked = container::Ulimit { name: name.into(), soft, hard };
            let found = checked(&asked).ok().map(|ulimit| (ulimit.soft, ulimit.hard));
            assert_eq!(found, expected, "{name} {soft} {hard}");
        }
    }
}
