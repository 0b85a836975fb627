//! Names: what a task is told when it asks for one.
//!
//! Pure. Holds what the mesh of this node knows of services and endpoints, and answers for one asker.
//!
//! ```text
//! web   web.net                  the service: its virtual address, or with dnsrr those of its ready tasks
//! tasks.web   tasks.web.net      its ready tasks
//! 2.web   2.web.net              the task in slot 2; of a global service <node id>.web
//! web.2.<task id>                one task, by its whole name
//! _http._tcp.web                 SRV: one port, by its name or number; web alone has them all
//! 5.0.0.10.in-addr.arpa          PTR: what has that address
//! ```
//!
//! An alias stands for a service on the network that it was given for. Within a stack the stack's own services come
//! first, `web` for `stack_web`, which is known by the name alone; then services by their name; then by their aliases. So nobody takes over a name by
//! taking it as an alias, nor a stack's `db` with a service called `db`.
//!
//! **A service that shares no network with the asker does not exist for it**: no answer depends on such a service, not
//! even one that says that there is nothing. This holds for published services too: those are found at any node's
//! address and their published port, which a name could not tell.
//!
//! Not here: the bytes of questions and answers, who asks, and names outside of the cluster (`dns`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use common::limits::DNS_ANSWER_RECORDS_MAX;
use common::object::ports::{EndpointMode, Port};
use common::object::{NetworkId, ServiceId, Slot, TaskId};
use common::wire::mesh::{MeshAttachment, MeshEndpoint, MeshService};

/// For how many seconds an answer may be used again.
///
/// Answering takes microseconds, so that a longer time saves nothing; and each second of it is one in which somebody
/// may still go to a task that has gone. Not 0, with which some resolvers ask for every single packet.
pub const NAME_SECONDS: u32 = 2;

/// The task that asks, as far as names go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Those it is attached to. A service on several of them is found on the first.
    pub networks: Vec<NetworkId>,
    /// The stack that its service belongs to.
    pub stack: Option<String>,
    /// Instead of the host's resolvers, for names outside of the cluster: what its service says.
    pub resolvers: Vec<IpAddr>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    A,
    Aaaa,
    Srv,
    Ptr,
    /// What only resolvers ask, on their way from the root.
    Delegation,
    Other,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    Address(IpAddr),
    /// A port, and the name of who has it.
    Port {
        number: u16,
        target: String,
    },
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// At least one.
    Found(Vec<Data>),
    /// The name is there, and has nothing of that kind.
    Nothing,
    /// There is no such name, here or elsewhere.
    NoName,
    /// Not a name of the cluster: whoever else knows names may know it.
    Elsewhere,
}

/// A service and its endpoints, these in order of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub service: MeshService,
    pub endpoints: Vec<MeshEndpoint>,
}

/// Every service that the mesh of this node knows, by its names.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    services: BTreeMap<ServiceId, Arc<Known>>,
    /// Names and aliases, in lower case.
    by_name: HashMap<String, BTreeSet<ServiceId>>,
    by_address: HashMap<IpAddr, BTreeSet<Owner>>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Service(ServiceId),
    Task(ServiceId, TaskId),
}

/// A service as one asker sees it.
struct Seen<'a> {
    service: &'a MeshService,
    endpoints: &'a [MeshEndpoint],
    /// The networks that both are on and where it has the name asked for: never none, the asker's first one first.
    shared: Vec<&'a MeshAttachment>,
}

/// What of a service a name is about.
enum Part<'a> {
    Service,
    Tasks,
    Slot(Slot),
    Task(TaskId),
    Ports { port: &'a str, protocol: &'a str },
}

impl Zone {
    /// Goes where the mesh went: these are all services that it knows now. What is the same object as before costs a
    /// comparison.
    pub fn follow<'a>(&mut self, all: impl Iterator<Item = &'a Arc<Known>>) {
        let mut gone: BTreeSet<ServiceId> = self.services.keys().copied().collect();
        for known in all {
            gone.remove(&known.service.id);
            self.set(known.service.id, Some(known));
        }
        gone.into_iter().for_each(|id| self.set(id, None));
    }

    /// Answers for `name`, in lower case and without the dot at its end. `seed` says with which of equal addresses to
    /// begin.
    pub fn answer(&self, asker: &Asker, name: &str, wanted: Wanted, seed: u64) -> Answer {
        if let Some(address) = reverse(name) {
            return self.answer_reverse(asker, address, wanted);
        }
        let Some((part, base, seen)) = self.find(asker, name) else {
            // Of one label are the names that people give services and nothing on the Internet. They are not told to
            // resolvers outside, who might send the asker to somebody else while a service is on its way.
            let is_ours = !name.is_empty() && !name.contains('.') && wanted != Wanted::Delegation;
            return if is_ours { Answer::NoName } else { Answer::Elsewhere };
        };
        let mut data = match (&part, wanted) {
            (Part::Slot(_) | Part::Task(_), _)
                if seen.iter().all(|one| one.tasks(&part, seed).next().is_none()) =>
            {
                return Answer::NoName;
            }
            (_, Wanted::Srv) => ports(&part, name, base, &seen, seed),
            (Part::Ports { .. }, _) => Vec::new(),
            (_, Wanted::A) => addresses(&part, &seen, seed, IpAddr::is_ipv4),
            (_, Wanted::Aaaa) => addresses(&part, &seen, seed, IpAddr::is_ipv6),
            (_, Wanted::Ptr | Wanted::Delegation | Wanted::Other) => Vec::new(),
        };
        data.sort();
        data.dedup();
        if data.is_empty() {
            return Answer::Nothing;
        }
        let first = usize::try_from(seed % data.len() as u64).unwrap_or_default();
        data.rotate_left(first);
        data.truncate(DNS_ANSWER_RECORDS_MAX);
        Answer::Found(data)
    }

    /// What `name` is about, the part of it that names the service, and the services of that name.
    fn find<'a, 'n>(&'a self, asker: &Asker, name: &'n str) -> Option<(Part<'n>, &'n str, Vec<Seen<'a>>)> {
        let services = |base: &'n str| Some(self.seen(asker, base)).filter(|seen| !seen.is_empty());
        if let Some(seen) = services(name) {
            return Some((Part::Service, name, seen));
        }
        let (first, rest) = name.split_once('.')?;
        if let Some(port) = first.strip_prefix('_') {
            let (protocol, base) = rest.strip_prefix('_')?.split_once('.')?;
            return Some((Part::Ports { port, protocol }, base, services(base)?));
        }
        if first == "tasks" {
            return Some((Part::Tasks, rest, services(rest)?));
        }
        if let Some(slot) = slot(first)
            && let Some(seen) = services(rest)
        {
            return Some((Part::Slot(slot), rest, seen));
        }
        let (front, task) = name.rsplit_once('.')?;
        let (base, _slot) = front.rsplit_once('.')?;
        Some((Part::Task(task.parse().ok()?), base, services(base)?))
    }

    /// The services that `base` names for the asker: `web`, or `web.net` for those on that network.
    fn seen(&self, asker: &Asker, base: &str) -> Vec<Seen<'_>> {
        let everywhere = self.seen_as(asker, base, None);
        match base.rsplit_once('.') {
            Some((label, network)) if everywhere.is_empty() => self.seen_as(asker, label, Some(network)),
            _ => everywhere,
        }
    }

    fn seen_as(&self, asker: &Asker, label: &str, network: Option<&str>) -> Vec<Seen<'_>> {
        let prefix = asker.stack.as_ref().map(|stack| format!("{}_", stack.to_ascii_lowercase()));
        let whole = prefix.as_ref().map(|prefix| format!("{prefix}{label}"));
        let ids = [Some(label), whole.as_deref()].into_iter().flatten();
        let ids: BTreeSet<ServiceId> =
            ids.filter_map(|name| self.by_name.get(name)).flatten().copied().collect();
        let mut best = u8::MAX;
        let mut found = Vec::new();
        for known in ids.iter().filter_map(|id| self.services.get(id)) {
            let Known { service, endpoints } = known.as_ref();
            let name = service.name.to_ascii_lowercase();
            let is_short = whole.as_ref() == Some(&name);
            let is_own = prefix.as_ref().is_some_and(|prefix| name.starts_with(prefix.as_str()));
            let is_named = is_short || name == label;
            let shared = shared(asker, service, network, (!is_named).then_some(label));
            let rank = match (is_own, is_named) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => 2,
            };
            if shared.is_empty() || rank > best {
                continue;
            }
            if rank < best {
                found.clear();
                best = rank;
            }
            found.push(Seen { service, endpoints, shared });
        }
        found
    }

    fn answer_reverse(&self, asker: &Asker, address: IpAddr, wanted: Wanted) -> Answer {
        let owners = self.by_address.get(&address).into_iter().flatten();
        let names: Vec<Data> =
            owners.filter_map(|owner| self.name_of(asker, *owner, address)).map(Data::Name).collect();
        match (names.is_empty(), wanted) {
            (true, _) => Answer::Elsewhere,
            (false, Wanted::Ptr) => Answer::Found(names),
            (false, _) => Answer::Nothing,
        }
    }

    /// What the asker may call it; none where it may not know of it.
    fn name_of(&self, asker: &Asker, owner: Owner, address: IpAddr) -> Option<String> {
        let (Owner::Service(id) | Owner::Task(id, _)) = owner;
        let Known { service, endpoints } = self.services.get(&id)?.as_ref();
        let mut shared = shared(asker, service, None, None).into_iter();
        match owner {
            Owner::Service(_) => {
                let there = shared.find(|attachment| attachment.vip == Some(address))?;
                Some(format!("{}.{}", service.name, there.network_name))
            }
            Owner::Task(_, task) => {
                let endpoint = endpoint_of(endpoints, task).filter(|endpoint| !endpoint.leaving)?;
                let is_there = |attachment: &&MeshAttachment| {
                    endpoint.addresses.contains(&(attachment.network, address))
                };
                let there = shared.find(is_there)?;
                Some(format!("{}.{}.{}", endpoint.slot, service.name, there.network_name))
            }
        }
    }

    fn set(&mut self, id: ServiceId, known: Option<&Arc<Known>>) {
        let before = match known {
            Some(known) if self.services.get(&id).is_some_and(|before| Arc::ptr_eq(before, known)) => return,
            Some(known) => self.services.insert(id, known.clone()),
            None => self.services.remove(&id),
        };
        let (before, now) = (before.as_deref(), known.map(Arc::as_ref));
        for name in before.into_iter().flat_map(|before| names(&before.service)) {
            take_out(&mut self.by_name, &name, &id);
        }
        for name in now.into_iter().flat_map(|now| names(&now.service)) {
            self.by_name.entry(name).or_default().insert(id);
        }
        for (address, owner) in before.into_iter().flat_map(|before| addresses_without(before, now)) {
            take_out(&mut self.by_address, &address, &owner);
        }
        for (address, owner) in now.into_iter().flat_map(|now| addresses_without(now, before)) {
            self.by_address.entry(address).or_default().insert(owner);
        }
    }
}

/// Whose addresses are which; of its tasks those alone that `other` does not have at the same addresses. A service may
/// have thousands, of which one changes.
fn addresses_without<'a>(
    known: &'a Known,
    other: Option<&'a Known>,
) -> impl Iterator<Item = (IpAddr, Owner)> + 'a {
    let id = known.service.id;
    let is_other = move |endpoint: &&MeshEndpoint| {
        let same = other.and_then(|other| endpoint_of(&other.endpoints, endpoint.task));
        same.is_none_or(|same| same.addresses != endpoint.addresses)
    };
    let of_tasks = known.endpoints.iter().filter(is_other).flat_map(move |endpoint| {
        endpoint.addresses.iter().map(move |(_, address)| (*address, Owner::Task(id, endpoint.task)))
    });
    let vips = known.service.networks.iter().filter_map(|attachment| attachment.vip);
    vips.map(move |address| (address, Owner::Service(id))).chain(of_tasks)
}

fn endpoint_of(endpoints: &[MeshEndpoint], task: TaskId) -> Option<&MeshEndpoint> {
    let place = endpoints.binary_search_by_key(&task, |endpoint| endpoint.task).ok()?;
    endpoints.get(place)
}

fn addresses(part: &Part, seen: &[Seen], seed: u64, family: fn(&IpAddr) -> bool) -> Vec<Data> {
    let mut found = Vec::new();
    for one in seen {
        if one.has_vip(part) {
            found.extend(one.vips().find(family));
        } else {
            // Also of one that is to have a virtual address and has none.
            found.extend(one.tasks(part, seed).filter_map(|endpoint| one.address(endpoint, family)));
        }
    }
    found.into_iter().map(Data::Address).collect()
}

fn ports(part: &Part, name: &str, base: &str, seen: &[Seen], seed: u64) -> Vec<Data> {
    let mut found = Vec::new();
    for one in seen {
        let numbers = one.service.ports.iter().filter(|port| part.has(port)).map(|port| port.target);
        let targets: Vec<String> = match part {
            Part::Slot(_) | Part::Task(_) => vec![name.into()],
            _ if one.has_vip(part) => vec![base.into()],
            _ => one.tasks(part, seed).map(|endpoint| format!("{}.{base}", endpoint.slot)).collect(),
        };
        for number in numbers {
            found.extend(targets.iter().map(|target| Data::Port { number, target: target.clone() }));
        }
    }
    found
}

impl Seen<'_> {
    /// The ready tasks that `part` is about. Of very many some, each time others.
    fn tasks(&self, part: &Part, seed: u64) -> impl Iterator<Item = &MeshEndpoint> {
        let (all, is_one) = (self.endpoints, matches!(part, Part::Slot(_) | Part::Task(_)));
        let (from, most) = match all.len() as u64 {
            many if many > DNS_ANSWER_RECORDS_MAX as u64 && !is_one => (seed % many, DNS_ANSWER_RECORDS_MAX),
            _ => (0, all.len()),
        };
        let (before, after) = all.split_at(usize::try_from(from).unwrap_or_default().min(all.len()));
        let some = after.iter().chain(before).take(most);
        some.filter(move |endpoint| !endpoint.leaving && part.is_about(endpoint))
    }

    /// Whether it is reached at an address of its own, here and for this part.
    fn has_vip(&self, part: &Part) -> bool {
        let is_whole = matches!(part, Part::Service | Part::Ports { .. });
        is_whole && self.service.mode == EndpointMode::Vip && self.vips().next().is_some()
    }

    fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.shared.iter().filter_map(|attachment| attachment.vip)
    }

    fn address(&self, endpoint: &MeshEndpoint, family: fn(&IpAddr) -> bool) -> Option<IpAddr> {
        self.shared.iter().find_map(|attachment| {
            let here = endpoint.addresses.iter().filter(|(network, _)| *network == attachment.network);
            here.map(|(_, address)| *address).find(family)
        })
    }
}

impl Part<'_> {
    fn is_about(&self, endpoint: &MeshEndpoint) -> bool {
        match self {
            Part::Service | Part::Tasks | Part::Ports { .. } => true,
            Part::Slot(slot) => endpoint.slot == *slot,
            Part::Task(task) => endpoint.task == *task,
        }
    }

    fn has(&self, wanted: &Port) -> bool {
        let Part::Ports { port, protocol } = self else { return true };
        let is_called = wanted.name.eq_ignore_ascii_case(port) || wanted.target.to_string() == **port;
        is_called && wanted.protocol.to_string() == **protocol
    }
}

/// The networks that both are on, in the asker's order: only the one of that name, and only where the service has that
/// alias.
fn shared<'a>(
    asker: &Asker,
    service: &'a MeshService,
    network: Option<&str>,
    alias: Option<&str>,
) -> Vec<&'a MeshAttachment> {
    let on = |id: &NetworkId| service.networks.iter().find(|attachment| attachment.network == *id);
    let is_named = |attachment: &&MeshAttachment| {
        network.is_none_or(|network| attachment.network_name.eq_ignore_ascii_case(network))
    };
    let has_alias = |attachment: &&MeshAttachment| {
        alias.is_none_or(|alias| attachment.aliases.iter().any(|own| own.eq_ignore_ascii_case(alias)))
    };
    asker.networks.iter().filter_map(on).filter(is_named).filter(has_alias).collect()
}

/// All that a service may be called, somewhere and by somebody.
fn names(service: &MeshService) -> impl Iterator<Item = String> {
    let aliases = service.networks.iter().flat_map(|attachment| &attachment.aliases);
    std::iter::once(&service.name).chain(aliases).map(|name| name.to_ascii_lowercase())
}

fn take_out<K: std::hash::Hash + Eq, V: Ord>(sets: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// The slot that a label names: a number, or a node's id.
fn slot(label: &str) -> Option<Slot> {
    let number = label.parse().ok().map(Slot::Number).filter(|slot| slot.to_string() == label);
    number.or_else(|| label.parse().ok().map(Slot::Node))
}

/// The address that `5.0.0.10.in-addr.arpa` or its like is about; none where it is about several.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<&str> = octets.rsplit('.').collect();
        return octets.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.rsplit('.').collect();
    let is_digit = |digit: &&str| digit.len() == 1 && digit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.len() != 32 || !digits.iter().all(is_digit) {
        return None;
    }
    let bits = u128::from_str_radix(&digits.concat(), 16).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

#[cfg(test)]
#[path = "names_test.rs"]
mod tests;
