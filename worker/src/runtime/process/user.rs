//! Who a task runs as: names and numbers, looked up on this machine.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User};

use super::program::Identity;

/// Who a task is, and where that user is at home; no identity where it is who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub identity: Option<Identity>,
    pub name: String,
    pub home: String,
}

/// Reads `user`, `user:group` and numbers in place of either, and further groups. Empty: whoever we are.
pub fn find(user: &str, further: &[String]) -> Result<Owner, String> {
    let us = Uid::effective();
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let entry = if name.is_empty() { by_number(us.as_raw())? } else { by_name(name)? };
    let number = match (&entry, name) {
        (Some(entry), _) => entry.uid.as_raw(),
        (None, "") => us.as_raw(),
        (None, name) => name.parse().map_err(|_| format!("no user is named '{name}' on this node"))?,
    };
    let group = match (group, &entry) {
        (Some(group), _) => group_number(group)?,
        (None, Some(entry)) => entry.gid.as_raw(),
        (None, None) if name.is_empty() => Gid::effective().as_raw(),
        // The engine would take the group of root here.
        (None, None) => {
            return Err(format!("user {number} has no group on this node: say which, as {number}:<group>"));
        }
    };
    let mut groups = further.iter().map(|group| group_number(group)).collect::<Result<Vec<_>, _>>()?;
    let owner = |identity| Owner {
        identity,
        name: entry.as_ref().map_or_else(|| number.to_string(), |entry| entry.name.clone()),
        home: entry.as_ref().map_or_else(|| "/".into(), |entry| entry.dir.to_string_lossy().into_owned()),
    };
    let is_us = number == us.as_raw() && group == Gid::effective().as_raw() && further.is_empty();
    if is_us && (name.is_empty() || !us.is_root()) {
        return Ok(owner(None));
    }
    if !us.is_root() {
        return Err(format!(
            "only a daemon that runs as root can run a task as user '{user}' or in groups of its own; this one runs as user {us}"
        ));
    }
    if let Some(entry) = &entry {
        groups.extend(groups_of(entry));
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(owner(Some(Identity { user: number, group, groups })))
}

fn by_name(name: &str) -> Result<Option<User>, String> {
    let found = User::from_name(name).map_err(|error| format!("look up user '{name}': {error}"))?;
    match (found, name.parse()) {
        (Some(user), _) => Ok(Some(user)),
        (None, Ok(number)) => by_number(number),
        (None, Err(_)) => Ok(None),
    }
}

fn by_number(number: u32) -> Result<Option<User>, String> {
    User::from_uid(Uid::from_raw(number)).map_err(|error| format!("look up user {number}: {error}"))
}

fn group_number(group: &str) -> Result<u32, String> {
    let found = Group::from_name(group).map_err(|error| format!("look up group '{group}': {error}"))?;
    match (found, group.parse()) {
        (Some(found), _) => Ok(found.gid.as_raw()),
        (None, Ok(number)) => Ok(number),
        (None, Err(_)) => Err(format!("no group is named '{group}' on this node")),
    }
}

/// The groups that the machine's own lists give a user.
fn groups_of(user: &User) -> Vec<u32> {
    let Ok(name) = CString::new(user.name.clone()) else { return Vec::new() };
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
    groups.into_iter().map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_in_particular_is_who_we_are() {
        assert_eq!(find("", &[]).unwrap().identity, None);
    }

    #[test]
    fn who_is_not_there_is_named() {
        for (user, word) in
            [("nosuchuser", "nosuchuser"), ("root:nosuchgroup", "nosuchgroup"), ("4000000", "say which")]
        {
            let error = find(user, &[]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(find("", &["nosuchgroup".into()]).unwrap_err().contains("nosuchgroup"));
    }

    #[test]
    fn only_root_becomes_somebody_else() {
        let found = find("12345:12346", &["7".into()]);
        if Uid::effective().is_root() {
            let identity = found.unwrap().identity;
            assert_eq!(identity, Some(Identity { user: 12345, group: 12346, groups: vec![7] }));
        } else {
            assert!(found.unwrap_err().contains("only a daemon that runs as root"));
        }
    }
}
