//! Addresses for services and tasks on the cluster's networks.
//!
//! Pure. Who has which address is known from the tables; here is only what waits, and where each network goes on. Costs
//! what is new or was given back. An address that was given back in this same pass is not given out in it: whether the
//! one or the other is written first is not known.
//!
//! Nothing is released here: an address is free when its holder is removed or has ended, as the store has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::object::ports::EndpointMode;
use common::object::{NetworkId, Service, Task, TaskId, TaskState};

use super::super::pass::Pass;
use super::super::up_to_date::Site;
use super::space::Space;
use crate::store::Tables;
use crate::store::addresses::{Holder, of_service, of_task};

#[derive(Debug, Default)]
pub struct Addresses {
    /// Of networks that somebody asked for an address on.
    spaces: BTreeMap<NetworkId, Space>,
    /// Given out last.
    last: BTreeMap<NetworkId, IpAddr>,
    /// Who waits for an address on which network, and the same by network.
    waits: BTreeMap<Holder, NetworkId>,
    queues: BTreeMap<NetworkId, BTreeSet<Holder>>,
    /// Tasks that are to be looked at, and networks where something was given back.
    due: BTreeSet<TaskId>,
    freed: BTreeSet<NetworkId>,
}

impl Addresses {
    pub fn new(tables: &Tables) -> Self {
        let mut addresses = Self::default();
        let networked = |service: &&std::sync::Arc<Service>| {
            let mut specs = service.earlier.values().chain([&service.current]);
            specs.any(|version| version.spec.task.cluster_networks().next().is_some())
        };
        for service in tables.services.iter().filter(networked) {
            let tasks = tables.tasks_of_service(service.id).filter(|task| lacks(task));
            addresses.due.extend(tasks.map(|task| task.id));
        }
        addresses
    }

    pub fn is_quiet(&self) -> bool {
        self.due.is_empty() && self.freed.is_empty()
    }

    /// Looks at a task again.
    pub fn again(&mut self, task: TaskId) {
        self.due.insert(task);
    }

    pub fn noted_network(&mut self, network: NetworkId) {
        self.spaces.remove(&network);
        self.free(network);
    }

    pub fn noted_service(&mut self, before: Option<&Service>, after: Option<&Service>) {
        let (had, has) = (of_service(before), of_service(after));
        had.iter().filter(|address| !has.contains(address)).for_each(|(network, _)| self.free(*network));
        if let Some(service) = before
            && after.is_none_or(|after| after.removed)
        {
            self.wait(Holder::Service(service.id), None);
        }
    }

    pub fn noted_task(&mut self, before: Option<&Task>, after: Option<&Task>) {
        let (had, has) = (of_task(before), of_task(after));
        had.iter().filter(|address| !has.contains(address)).for_each(|(network, _)| self.free(*network));
        let Some(task) = after.or(before) else { return };
        match after.is_some_and(lacks) {
            true if !self.waits.contains_key(&Holder::Task(task.id)) => self.again(task.id),
            true => {}
            false if self.waits.is_empty() => {}
            false => self.wait(Holder::Task(task.id), None),
        }
    }

    /// Makes `Service::virtual_ips` what its spec asks for, as far as there are addresses.
    pub fn virtual_ips(&mut self, pass: &mut Pass, site: &mut Site) {
        let (service, spec) = (site.service.clone(), site.service.spec().clone());
        if spec.task.networks.is_empty() && service.virtual_ips.is_empty() && self.waits.is_empty() {
            return;
        }
        let wanted: Vec<NetworkId> = match spec.endpoint_mode() {
            EndpointMode::Vip => spec.task.cluster_networks().collect(),
            EndpointMode::Dnsrr => Vec::new(),
        };
        let holder = Holder::Service(service.id);
        let (mut given, mut lacking) = (Vec::with_capacity(wanted.len()), None);
        for network in wanted {
            let before = service.virtual_ips.iter().find(|(of, _)| *of == network).copied();
            match before.or_else(|| Some((network, self.next(pass, network)?))) {
                Some(address) => given.push(address),
                None => lacking = Some(network),
            }
        }
        self.wait(holder, lacking);
        if let Some(network) = lacking {
            pass.because(service.id, None, no_address(pass.tables(), network));
        }
        if given != service.virtual_ips {
            pass.draft.edit_service(service.id, |service| service.virtual_ips = given);
            site.refresh(&pass.draft);
        }
    }

    /// Gives tasks that are new, and those for whom something may have become free, their addresses. Answers those
    /// that go on waiting.
    pub fn give(&mut self, pass: &mut Pass) -> Vec<TaskId> {
        // Those that have waited come first.
        let mut waiting = Vec::new();
        for network in std::mem::take(&mut self.freed) {
            let room = usize::try_from(self.room(pass, network)).unwrap_or(usize::MAX);
            let queue = self.queues.get(&network).into_iter().flatten();
            for holder in queue.take(room).copied().collect::<Vec<_>>() {
                match holder {
                    Holder::Service(id) => {
                        let service = pass.tables().services.get(id).filter(|service| !service.removed);
                        match service.cloned() {
                            Some(service) => self.virtual_ips(pass, &mut Site::new(service)),
                            None => self.wait(holder, None),
                        }
                    }
                    Holder::Task(id) => waiting.extend((!self.serve(pass, id)).then_some(id)),
                }
            }
        }
        let mut due = std::mem::take(&mut self.due);
        due.append(&mut pass.unaddressed);
        waiting.extend(due.into_iter().filter(|task| !self.serve(pass, *task)));
        waiting
    }

    /// False where the task has to wait.
    fn serve(&mut self, pass: &mut Pass, id: TaskId) -> bool {
        let holder = Holder::Task(id);
        let Some(task) = pass.tables().tasks.get(id).filter(|task| lacks(task)).cloned() else {
            self.wait(holder, None);
            return true;
        };
        let service = pass.tables().services.get(task.service);
        let Some(spec) = service.and_then(|service| service.spec_at(task.spec)).cloned() else { return true };
        let mut given = Vec::new();
        for network in spec.task.cluster_networks() {
            let Some(address) = self.next(pass, network) else {
                self.wait(holder, Some(network));
                let reason = no_address(pass.tables(), network).into();
                pass.draft.edit_task(id, |task| task.status.error = reason);
                return false;
            };
            given.push((network, address));
        }
        self.wait(holder, None);
        let now = pass.now;
        pass.draft.edit_task(id, |task| {
            task.addresses = (!given.is_empty()).then(|| given.into());
            task.status.state = TaskState::Pending;
            task.status.error = Box::default();
            task.status.at = now;
            task.status.applied_at = now;
        });
        true
    }

    fn next(&mut self, pass: &Pass, network: NetworkId) -> Option<IpAddr> {
        if self.room(pass, network) == 0 {
            return None;
        }
        let (before, after) = (pass.draft.before(), pass.tables());
        let last = self.last.get(&network).copied().or_else(|| after.addresses().last(network));
        let is_taken = |address| {
            let key = (network, address);
            before.addresses().holder(key).is_some() || after.addresses().holder(key).is_some()
        };
        let found = self.spaces.get(&network)?.next(last, is_taken)?;
        self.last.insert(network, found);
        Some(found)
    }

    /// How many addresses there may be left at most: found out without a search.
    fn room(&mut self, pass: &Pass, network: NetworkId) -> u128 {
        let Some(object) = pass.tables().networks.get(network) else {
            self.spaces.remove(&network);
            return 0;
        };
        let space = self.spaces.entry(network).or_insert_with(|| Space::of(&object.subnets));
        space.capacity().saturating_sub(pass.tables().addresses().count(network).into())
    }

    fn free(&mut self, network: NetworkId) {
        if self.queues.contains_key(&network) {
            self.freed.insert(network);
        }
    }

    fn wait(&mut self, holder: Holder, network: Option<NetworkId>) {
        if let Some(before) = self.waits.remove(&holder)
            && let Some(queue) = self.queues.get_mut(&before)
        {
            queue.remove(&holder);
            if queue.is_empty() {
                self.queues.remove(&before);
            }
        }
        if let Some(network) = network {
            self.waits.insert(holder, network);
            self.queues.entry(network).or_default().insert(holder);
        }
    }
}

/// Whether a task still has to get its addresses before it can be placed.
fn lacks(task: &Task) -> bool {
    task.status.state == TaskState::New && task.is_wanted()
}

/// Why somebody waits.
pub fn no_address(tables: &Tables, network: NetworkId) -> String {
    match tables.networks.get(network) {
        Some(network) => {
            let all = Space::of(&network.subnets).capacity();
            format!("network {} has no free address: all {all} are given out", network.spec.name)
        }
        None => format!("network {network} is not there any more"),
    }
}
