//! A range of addresses in CIDR form: `10.0.1.0/24`, `fd00::/64`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Base address and length of what all its addresses begin with. The bits behind that are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: IpAddr,
    length: u8,
}

/// Why a text or a pair is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidr {
    #[error("expected address/length")]
    Shape,
    #[error("the address is not one")]
    Address,
    #[error("the length is not a number")]
    LengthWord,
    #[error("the length is too large")]
    Length,
    #[error("the address has bits beyond the length: {0} is meant")]
    HostBits(Cidr),
}

impl Cidr {
    /// The range of that length which has `address` in it; none where the length is more than an address has.
    pub fn around(address: IpAddr, length: u8) -> Option<Self> {
        let width = width(address);
        let hosts = u32::from(width.checked_sub(length)?);
        let bits = u128::MAX.checked_shl(hosts).unwrap_or(0);
        Some(Self { base: from_number(address.is_ipv4(), to_number(address) & bits)?, length })
    }

    pub fn base(&self) -> IpAddr {
        self.base
    }

    pub fn length(&self) -> u8 {
        self.length
    }

    pub fn is_ipv4(&self) -> bool {
        self.base.is_ipv4()
    }

    /// Its lowest address, as a number within its family.
    pub fn first(&self) -> u128 {
        to_number(self.base)
    }

    /// Its highest address.
    pub fn last(&self) -> u128 {
        let hosts = u32::from(width(self.base).saturating_sub(self.length));
        self.first() | 1u128.checked_shl(hosts).map_or(u128::MAX, |size| size - 1)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && (self.first()..=self.last()).contains(&to_number(address))
    }

    /// Whether all of `other` is in it.
    pub fn covers(&self, other: &Cidr) -> bool {
        other.is_ipv4() == self.is_ipv4() && self.first() <= other.first() && other.last() <= self.last()
    }

    pub fn overlaps(&self, other: &Cidr) -> bool {
        other.is_ipv4() == self.is_ipv4() && self.first() <= other.last() && other.first() <= self.last()
    }
}

/// Bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address as a number within its family.
pub fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address that a number is; none where the family has no such number.
pub fn from_number(is_ipv4: bool, number: u128) -> Option<IpAddr> {
    match is_ipv4 {
        true => u32::try_from(number).ok().map(|number| IpAddr::V4(number.into())),
        false => Some(IpAddr::V6(number.into())),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    /// Bits behind the length are refused: who writes them may mean something else.
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (address, length) = text.split_once('/').ok_or(InvalidCidr::Shape)?;
        let address: IpAddr = address.parse().map_err(|_| InvalidCidr::Address)?;
        let length: u8 = length.parse().map_err(|_| InvalidCidr::LengthWord)?;
        let cidr = Self::around(address, length).ok_or(InvalidCidr::Length)?;
        if cidr.base == address { Ok(cidr) } else { Err(InvalidCidr::HostBits(cidr)) }
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.base, self.length).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (base, length) = <(IpAddr, u8)>::deserialize(deserializer)?;
        Self::around(base, length)
            .filter(|cidr| cidr.base == base)
            .ok_or_else(|| serde::de::Error::custom("not a range of addresses"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a range")
    }

    #[test]
    fn texts() {
        #[rustfmt::skip]
        let cases = [
            ("10.0.1.0/24",  Ok(())),
            ("0.0.0.0/0",    Ok(())),
            ("fd00::/64",    Ok(())),
            ("::/0",         Ok(())),
            ("10.0.1.7/32",  Ok(())),
            ("10.0.1.7/24",  Err("the address has bits beyond the length: 10.0.1.0/24 is meant")),
            ("10.0.1.0/33",  Err("the length is too large")),
            ("fd00::/129",   Err("the length is too large")),
            ("10.0.1.0/x",   Err("the length is not a number")),
            ("10.0.1.0/256", Err("the length is not a number")),
            ("10.0.1/24",    Err("the address is not one")),
            ("10.0.1.0",     Err("expected address/length")),
        ];
        for (text, expected) in cases {
            let read = text.parse::<Cidr>();
            let shown = read.as_ref().map(Cidr::to_string).map_err(InvalidCidr::to_string);
            assert_eq!(shown, expected.map(|()| text.to_owned()).map_err(String::from), "{text}");
        }
    }

    #[test]
    fn what_overlaps_and_what_covers() {
        #[rustfmt::skip]
        let cases = [ // one, other, overlap, the one covers the other
            ("10.0.0.0/8",  "10.1.0.0/16", true,  true),
            ("10.1.0.0/16", "10.0.0.0/8",  true,  false),
            ("10.0.0.0/24", "10.0.1.0/24", false, false),
            ("0.0.0.0/0",   "fd00::/64",   false, false),
            ("::/0",        "fd00::/64",   true,  true),
        ];
        for (one, other, overlap, covers) in cases {
            let (one, other) = (cidr(one), cidr(other));
            assert_eq!(
                (one.overlaps(&other), other.overlaps(&one), one.covers(&other)),
                (overlap, overlap, covers)
            );
        }
    }

    proptest! {
        #[test]
        fn a_range_is_around_its_addresses(v4: bool, number: u128, length in 0u8..=128) {
            let number = if v4 { number & u128::from(u32::MAX) } else { number };
            let address = from_number(v4, number).expect("in its family");
            let Some(cidr) = Cidr::around(address, length) else {
                prop_assert!(v4 && length > 32);
                return Ok(());
            };
            prop_assert!(cidr.contains(address) && cidr.first() <= cidr.last());
            prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
            let bytes = crate::wire::codec::encode(&cidr);
            prop_assert_eq!(crate::wire::codec::decode::<Cidr>(&bytes).expect("a range"), cidr);
        }
    }
}
