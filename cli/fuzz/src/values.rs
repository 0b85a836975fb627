//! Values of flags: durations, sizes, addresses, labels; and how lists are ordered.

use std::cmp::Ordering;

use common_fuzz::take_byte;

use crate::daemon_address::{Interface, choose, with_default_port};
use crate::duration::Nanoseconds;
use crate::natural::compare;
use crate::{human, listen_address, pair, size};

/// A byte that says which kind of value, and its text; several values stand on lines of their own.
pub fn run(mut data: &[u8]) {
    let kind = take_byte(&mut data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    match kind % 6 {
        0 => {
            if let Ok(value) = text.parse::<Nanoseconds>() {
                assert_eq!(value.to_string().parse(), Ok(value), "what is shown reads back");
                human::duration(std::time::Duration::from_nanos(value.0.unsigned_abs()));
            }
        }
        1 => {
            if let Ok(bytes) = size::parse(text) {
                assert!(bytes >= 0 && !size::show(bytes).is_empty());
            }
        }
        2 => {
            if let Ok(address) = listen_address::listen(text) {
                let again = listen_address::listen(&address);
                assert_eq!(again.as_ref(), Ok(&address), "a complete address stays as it is");
            }
        }
        3 => {
            let interface = |name: &str, ip: [u8; 4]| Interface { name: name.into(), ip: ip.into() };
            let interfaces = [interface("eth0", [10, 0, 0, 1]), interface("lo", [127, 0, 0, 1])];
            if let Ok(chosen) = choose(first, second, &interfaces) {
                assert!(!chosen.advertise.ip().is_unspecified() && chosen.listen.port() > 0);
            }
            with_default_port(first);
        }
        4 => {
            if let Ok((key, _)) = pair::label(text) {
                assert!(!key.is_empty());
            }
            human::title(text);
        }
        _ => {
            let third = second.split_once('\n').map_or("", |(_, third)| third);
            check_order([first, second, third]);
        }
    }
}

/// Sorting relies on it.
fn check_order(texts: [&str; 3]) {
    for left in texts {
        assert_eq!(compare(left, left), Ordering::Equal);
        for middle in texts {
            assert_eq!(compare(left, middle), compare(middle, left).reverse(), "{left:?} and {middle:?}");
            for right in texts {
                if compare(left, middle).is_le() && compare(middle, right).is_le() {
                    assert!(compare(left, right).is_le(), "{left:?}, {middle:?}, {right:?}");
                }
            }
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "\u{0}1h2m3.5s",
        "\u{0}-.5µs",
        "\u{1}1.5GiB",
        "\u{1}50 M",
        "\u{2}[::1]:2377",
        "\u{2}eth0:99",
        "\u{3}eth0:1\n10.0.0.1",
        "\u{3}[::]:9\n",
        "\u{4}a=b",
        "\u{5}node-10\nnode-9\nnode-09",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}
