//! What a machine's `resolv.conf` says of resolvers.
//!
//! Pure.

use std::net::{IpAddr, SocketAddr};

use common::limits::DNS_RESOLVERS_MAX;

/// The resolvers it names, in its order. Lines that are not understood are passed over, as everybody does.
pub fn resolvers(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A zone (`fe80::1%eth0`) is a link that we do not know how to choose.
        if let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok())
            && !address.is_unspecified()
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// Whom to ask: those of the asker's service, else the host's; and never ourselves, or a question would go round for
/// ever. What a task calls loopback is its own, and nothing that we could reach.
pub fn choose(asker: &[IpAddr], host: &[IpAddr], port: u16, ourselves: SocketAddr) -> Vec<SocketAddr> {
    let own: Vec<IpAddr> = asker.iter().copied().filter(|address| !address.is_loopback()).collect();
    let chosen = if asker.is_empty() { host } else { &own };
    let all = chosen.iter().map(|address| SocketAddr::new(*address, port));
    all.filter(|address| *address != ourselves).take(DNS_RESOLVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn resolvers_are_read_in_their_order() {
        let text = "# a comment\n; another\nsearch corp.example\nnameserver 10.0.0.2\n\tnameserver   2001:db8::1 # x\n\
            nameserver 10.0.0.2\nnameserver\nnameserver resolver.example\nnameserver fe80::1%eth0\n\
            nameservers 1.1.1.1\n nameserver 0.0.0.0\noptions ndots:2";
        assert_eq!(resolvers(text), [address("10.0.0.2"), address("2001:db8::1")]);
        assert_eq!(resolvers(""), Vec::<IpAddr>::new());
    }

    #[test]
    fn nobody_is_sent_to_ourselves() {
        let ourselves = "172.17.0.1:53".parse().unwrap();
        #[rustfmt::skip]
        let cases: [(&[&str], &[&str], &[&str]); 5] = [ // the asker's, the host's, asked
            (&[],                        &["10.0.0.2", "172.17.0.1"],               &["10.0.0.2:53"]),
            (&["1.1.1.1"],               &["10.0.0.2"],                             &["1.1.1.1:53"]),
            (&["127.0.0.1"],             &["10.0.0.2"],                             &[]),
            (&["172.17.0.1", "1.1.1.1"], &[],                                       &["1.1.1.1:53"]),
            (&[],                        &["127.0.0.53", "::2", "::3", "::4", "::5"], &["127.0.0.53:53", "[::2]:53", "[::3]:53"]),
        ];
        for (asker, host, asked) in cases {
            let list = |texts: &[&str]| texts.iter().map(|text| address(text)).collect::<Vec<_>>();
            let wanted: Vec<SocketAddr> = asked.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(choose(&list(asker), &list(host), 53, ourselves), wanted, "{asker:?} {host:?}");
        }
    }
}
