//! Ports for services that ask for any.
//!
//! Pure. Runs when a service changes. A number once given stays with the port it was given to.

use std::collections::BTreeSet;

use common::limits::{DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST};
use common::object::ports::{Port, Protocol, PublishMode};

use super::super::pass::Pass;
use super::super::up_to_date::Site;

/// Makes `Service::ports` what its spec asks for.
pub fn ports(pass: &mut Pass, site: &mut Site) {
    let wanted = site.service.spec().endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
    let given = &site.service.ports;
    let mut ports = Vec::with_capacity(wanted.len());
    let mut open = Vec::new();
    for port in wanted {
        let mut port = port.clone();
        if needs_number(&port) {
            let taken = |number: u16| ports.iter().any(|other| is_at(other, port.protocol, number));
            let before = given.iter().find(|other| is_same(other, &port) && !taken(other.published));
            match before {
                Some(before) => port.published = before.published,
                None => open.push(ports.len()),
            }
        }
        ports.push(port);
    }
    if !open.is_empty() {
        let mut used = used_ports(pass, site);
        used.extend(
            ports.iter().filter(|port| port.published != 0).map(|port| (port.protocol, port.published)),
        );
        for index in open {
            let port: &mut Port = &mut ports[index];
            let mut free = DYNAMIC_PORT_FIRST..=DYNAMIC_PORT_LAST;
            match free.find(|number| !used.contains(&(port.protocol, *number))) {
                Some(number) => {
                    port.published = number;
                    used.insert((port.protocol, number));
                }
                None => pass.because(site.service.id, None, "no free port is left to publish"),
            }
        }
    }
    if ports != site.service.ports {
        pass.draft.edit_service(site.service.id, |service| service.ports = ports);
        site.refresh(&pass.draft);
    }
}

/// In host mode the node chooses.
fn needs_number(port: &Port) -> bool {
    match port.mode {
        PublishMode::Ingress => port.published == 0,
        PublishMode::Host => false,
    }
}

fn is_same(given: &Port, wanted: &Port) -> bool {
    let key = |port: &Port| (port.protocol, port.target, port.mode, port.name.clone());
    given.published != 0 && key(given) == key(wanted)
}

fn is_at(port: &Port, protocol: Protocol, number: u16) -> bool {
    port.protocol == protocol && port.published == number
}

fn used_ports(pass: &Pass, site: &Site) -> BTreeSet<(Protocol, u16)> {
    let others = pass.tables().services.iter().filter(|other| other.id != site.service.id && !other.removed);
    others
        .flat_map(|service| {
            // What a spec asks for counts from its first moment, though it may not be given out yet.
            let asked = service.spec().endpoint.iter().flat_map(|endpoint| &endpoint.ports);
            service.ports.iter().chain(asked)
        })
        .filter(|port| port.published != 0)
        .map(|port| (port.protocol, port.published))
        .collect()
}
