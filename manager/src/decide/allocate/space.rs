//! The addresses that a network has for its services and tasks, as a row of numbered places.
//!
//! Pure. Addresses come from the network's first family: a second one is the network's, and not yet its tasks'.

use std::collections::BTreeSet;
use std::net::IpAddr;

use common::object::cidr::{from_number, to_number};
use common::object::network::Subnet;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    is_ipv4: bool,
    /// First and last, in the order in which they are used.
    spans: Vec<(u128, u128)>,
    /// Within the spans, and nobody's.
    reserved: BTreeSet<u128>,
}

impl Space {
    pub fn of(subnets: &[Subnet]) -> Self {
        let Some(first) = subnets.first() else { return Self::default() };
        let is_ipv4 = first.subnet.is_ipv4();
        let mut space = Self { is_ipv4, ..Self::default() };
        for Subnet { subnet, range, gateway, reserved } in subnets {
            if subnet.is_ipv4() != is_ipv4 {
                continue;
            }
            let span = range.unwrap_or(*subnet);
            let span = (span.first(), span.last());
            space.spans.push(span);
            // A subnet's first address is no host's, and of IPv4 its last one neither.
            let ends = [Some(subnet.first()), is_ipv4.then(|| subnet.last())];
            let named = std::iter::once(gateway).chain(reserved.values()).map(|address| to_number(*address));
            let nobodys = ends.into_iter().flatten().chain(named);
            space.reserved.extend(nobodys.filter(|number| (span.0..=span.1).contains(number)));
        }
        space
    }

    /// How many addresses can be given out in all.
    pub fn capacity(&self) -> u128 {
        let size = |(first, last): &(u128, u128)| (last - first).saturating_add(1);
        let all = self.spans.iter().map(size).fold(0, u128::saturating_add);
        all.saturating_sub(self.reserved.len() as u128)
    }

    /// The first address after `last` that `is_taken` does not have, and from the beginning again after the end: what
    /// was given back is not given out at once.
    pub fn next(&self, last: Option<IpAddr>, is_taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let is_free = |number: u128| {
            let address = from_number(self.is_ipv4, number).filter(|_| !self.reserved.contains(&number))?;
            (!is_taken(address)).then_some(address)
        };
        let last = last.filter(|last| last.is_ipv4() == self.is_ipv4).map(to_number);
        let found = last.and_then(|last| Some((self.span_of(last)?, last)));
        let Some((at, last)) = found else {
            return self.spans.iter().find_map(|(first, last)| (*first..=*last).find_map(is_free));
        };
        let (first, end) = self.spans[at];
        let after = self.spans[at + 1..].iter().chain(&self.spans[..at]);
        let rest = after.map(|(first, last)| *first..=*last).chain([first..=last]);
        (last..=end).skip(1).chain(rest.flatten()).find_map(is_free)
    }

    fn span_of(&self, number: u128) -> Option<usize> {
        self.spans.iter().position(|(first, last)| (*first..=*last).contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn subnet(subnet: &str, range: Option<&str>, gateway: &str, reserved: &[&str]) -> Subnet {
        let named = |text: &&str| ((*text).to_owned(), text.parse().expect("an address"));
        Subnet {
            subnet: subnet.parse().expect("a subnet"),
            range: range.map(|range| range.parse().expect("a range")),
            gateway: gateway.parse().expect("an address"),
            reserved: reserved.iter().map(named).collect::<BTreeMap<_, _>>(),
        }
    }

    /// All addresses of a space in the order in which they are given out.
    fn all(subnets: &[Subnet]) -> Vec<String> {
        let space = Space::of(subnets);
        let (mut taken, mut last) = (BTreeSet::new(), None);
        while let Some(address) = space.next(last, |address| taken.contains(&address)) {
            taken.insert(address);
            last = Some(address);
        }
        assert_eq!(taken.len() as u128, space.capacity(), "{subnets:?}");
        taken.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn what_is_given_out_of_a_subnet() {
        #[rustfmt::skip]
        let cases = [
            (vec![subnet("10.0.0.0/29", None, "10.0.0.1", &[])], vec!["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]),
            (vec![subnet("10.0.0.0/29", None, "10.0.0.6", &["10.0.0.1", "10.0.0.4"])], vec!["10.0.0.2", "10.0.0.3", "10.0.0.5"]),
            (vec![subnet("10.0.0.0/24", Some("10.0.0.8/30"), "10.0.0.1", &[])], vec!["10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11"]),
            (vec![subnet("10.0.0.0/30", None, "10.0.0.1", &[]), subnet("10.0.1.0/30", None, "10.0.1.2", &[])], vec!["10.0.0.2", "10.0.1.1"]),
            (vec![subnet("10.0.0.0/31", None, "10.0.0.1", &[])], vec![]),
            (vec![subnet("fd00::/126", None, "fd00::1", &[])], vec!["fd00::2", "fd00::3"]),
            (vec![subnet("10.0.0.0/30", None, "10.0.0.1", &[]), subnet("fd00::/126", None, "fd00::1", &[])], vec!["10.0.0.2"]),
            (vec![], vec![]),
        ];
        for (subnets, expected) in cases {
            assert_eq!(all(&subnets), expected, "{subnets:?}");
        }
    }

    #[test]
    fn what_was_given_back_is_not_given_out_at_once() {
        let space = Space::of(&[subnet("10.0.0.0/29", None, "10.0.0.1", &[])]);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let next = |last: &str, taken: &[&str]| {
            let taken: Vec<IpAddr> = taken.iter().map(|text| address(text)).collect();
            space.next(Some(address(last)), |address| taken.contains(&address)).map(|found| found.to_string())
        };
        assert_eq!(next("10.0.0.3", &["10.0.0.3"]).as_deref(), Some("10.0.0.4"));
        assert_eq!(next("10.0.0.6", &["10.0.0.6"]).as_deref(), Some("10.0.0.2"), "from the beginning again");
        let others = ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
        assert_eq!(next("10.0.0.3", &others).as_deref(), Some("10.0.0.3"), "where there is no other");
        assert_eq!(next("192.168.0.1", &[]).as_deref(), Some("10.0.0.2"));
    }

    #[test]
    fn a_large_space_costs_nothing_to_have() {
        let space = Space::of(&[subnet("::/0", None, "::1", &[])]);
        assert_eq!(space.capacity(), u128::MAX - 2);
        assert_eq!(space.next(None, |_| false), Some("::2".parse().expect("an address")));
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("an address");
        assert_eq!(
            space.next(Some(last), |address| address == last),
            Some("::2".parse().expect("an address"))
        );
    }
}
