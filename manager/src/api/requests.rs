//! `init` and `join` requests: filled where they are empty, refused where no cluster can be made of them. Pure.

use std::net::IpAddr;

use common::engine_api::convert::{availability_from_api, cluster_spec_from_api};
use common::engine_api::swarm::{InitRequest, JoinRequest};
use common::object::sensitive::Sensitive;
use common::object::{Availability, ClusterSpec};

use super::error::ApiError;
use super::host::{Init, Join};
use super::target::shortened;

const SUBNET_SIZE: u32 = 24;
const SUBNET_SIZE_MAX: u32 = 29;
const ADDRESS_POOL: &str = "10.0.0.0/8";
const DATA_PATH_PORT: u32 = 4789;

pub fn init(request: InitRequest) -> Result<Init, ApiError> {
    let ca = &request.spec.ca_config;
    if !ca.signing_ca_cert.is_empty() || !ca.signing_ca_key.is_empty() {
        return Err(common::engine_api::convert::ConvertError::Unsupported {
            what: "beginning with a given CA certificate (rotate to it)",
        }
        .into());
    }
    let mut spec = cluster_spec_from_api(request.spec, ClusterSpec::default())?;
    spec.autolock_managers |= request.auto_lock_managers;
    let data_path_port = if request.data_path_port == 0 { DATA_PATH_PORT } else { request.data_path_port };
    if !(1024..=49151).contains(&data_path_port) {
        return Err(ApiError::invalid(format!(
            "Datapath port number is not in valid range (1024-49151) : {data_path_port}"
        )));
    }
    let subnet_size = if request.subnet_size == 0 { SUBNET_SIZE } else { request.subnet_size };
    Ok(Init {
        listen_addr: request.listen_addr,
        advertise_addr: request.advertise_addr,
        data_path_addr: request.data_path_addr,
        data_path_port,
        address_pools: address_pools(request.default_addr_pool, subnet_size)?,
        subnet_size,
        force_new_cluster: request.force_new_cluster,
        spec,
        availability: availability(&request.availability)?,
    })
}

pub fn join(request: JoinRequest) -> Result<Join, ApiError> {
    let remote_addrs: Vec<String> =
        request.remote_addrs.into_iter().filter(|addr| !addr.trim().is_empty()).collect();
    if remote_addrs.is_empty() {
        return Err(ApiError::invalid("at least 1 RemoteAddr is required to join"));
    }
    if request.join_token.is_empty() {
        return Err(ApiError::invalid("invalid join token"));
    }
    Ok(Join {
        listen_addr: request.listen_addr,
        advertise_addr: request.advertise_addr,
        data_path_addr: request.data_path_addr,
        remote_addrs,
        token: Sensitive::new(request.join_token),
        availability: availability(&request.availability)?,
    })
}

/// Empty means active here, unlike in a node's spec.
fn availability(word: &str) -> Result<Availability, ApiError> {
    if word.is_empty() { Ok(Availability::default()) } else { Ok(availability_from_api(word)?) }
}

fn address_pools(pools: Vec<String>, subnet_size: u32) -> Result<Vec<String>, ApiError> {
    if pools.is_empty() {
        // Docker's client sends a size with no pool: it is for the default one.
        return address_pools(vec![ADDRESS_POOL.into()], subnet_size);
    }
    if subnet_size > SUBNET_SIZE_MAX {
        return Err(ApiError::invalid(format!("subnet size is out of range: {subnet_size}")));
    }
    let mut read: Vec<(String, Pool)> = Vec::new();
    for text in pools.iter().map(|pool| pool.trim()) {
        let pool = Pool::parse(text).map_err(|reason| {
            ApiError::invalid(format!("invalid base pool {}: {reason}", shortened(text)))
        })?;
        if subnet_size < pool.prefix {
            return Err(ApiError::invalid(format!(
                "invalid CIDR: {text:?}. Subnet size is too small for pool: {subnet_size}"
            )));
        }
        if let Some((other, _)) = read.iter().find(|(_, other)| other.overlaps(&pool)) {
            return Err(ApiError::invalid(format!("address pools {other} and {text} overlap")));
        }
        read.push((text.into(), pool));
    }
    Ok(read.into_iter().map(|(text, _)| text).collect())
}

/// A network in CIDR form, its bits at the top.
struct Pool {
    v4: bool,
    bits: u128,
    prefix: u32,
}

impl Pool {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (addr, prefix) = text.split_once('/').ok_or("expected address/length")?;
        let addr: IpAddr = addr.parse().map_err(|_| "the address is not one")?;
        let prefix: u32 = prefix.parse().map_err(|_| "the length is not a number")?;
        let (v4, bits, width) = match addr {
            IpAddr::V4(addr) => (true, u128::from(u32::from(addr)) << 96, 32),
            IpAddr::V6(addr) => (false, u128::from(addr), 128),
        };
        if prefix > width { Err("the length is too large") } else { Ok(Self { v4, bits, prefix }) }
    }

    fn overlaps(&self, other: &Pool) -> bool {
        let shared = self.prefix.min(other.prefix);
        let head = |bits: u128| bits.checked_shr(128 - shared).unwrap_or(0);
        self.v4 == other.v4 && head(self.bits) == head(other.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init_of(json: &str) -> Result<Init, String> {
        init(serde_json::from_str(json).expect("a request")).map_err(|error| error.message)
    }

    #[test]
    fn what_is_empty_is_the_default() {
        let made = init_of(
            r#"{"ListenAddr":"0.0.0.0:2377","Availability":"","DefaultAddrPool":[],"SubnetSize":24}"#,
        )
        .expect("what Docker's client sends");
        assert_eq!(made.address_pools, [ADDRESS_POOL]);
        assert_eq!((made.subnet_size, made.data_path_port), (24, 4789));
        assert_eq!((made.availability, made.spec), (Availability::Active, ClusterSpec::default()));
    }

    #[test]
    fn what_no_cluster_can_be_made_of_is_refused() {
        #[rustfmt::skip]
        let cases = [ // request, sentence
            (r#"{"DataPathPort":1023}"#,  "Datapath port number is not in valid range (1024-49151) : 1023"),
            (r#"{"DataPathPort":49152}"#, "Datapath port number is not in valid range (1024-49151) : 49152"),
            (r#"{"SubnetSize":30}"#,      "subnet size is out of range: 30"),
            (r#"{"SubnetSize":7}"#,       "invalid CIDR: \"10.0.0.0/8\". Subnet size is too small for pool: 7"),
            (r#"{"DefaultAddrPool":["10.0.0.0/25"]}"#, "invalid CIDR: \"10.0.0.0/25\". Subnet size is too small for pool: 24"),
            (r#"{"DefaultAddrPool":["10.0.0.0"]}"#,    "invalid base pool 10.0.0.0: expected address/length"),
            (r#"{"DefaultAddrPool":["10.0.0.0/33"]}"#, "invalid base pool 10.0.0.0/33: the length is too large"),
            (r#"{"DefaultAddrPool":["x/8"]}"#,         "invalid base pool x/8: the address is not one"),
            (r#"{"DefaultAddrPool":["10.0.0.0/8","10.1.0.0/16"]}"#, "address pools 10.0.0.0/8 and 10.1.0.0/16 overlap"),
            (r#"{"DefaultAddrPool":["0.0.0.0/0","10.1.0.0/16"]}"#,  "address pools 0.0.0.0/0 and 10.1.0.0/16 overlap"),
            (r#"{"Availability":"gone"}"#,             "invalid Availability: \"gone\""),
        ];
        for (json, sentence) in cases {
            assert_eq!(init_of(json), Err(sentence.to_string()), "{json}");
        }
        for json in
            [r#"{"AutoLockManagers":true}"#, r#"{"Spec":{"EncryptionConfig":{"AutoLockManagers":true}}}"#]
        {
            assert!(init_of(json).expect("both places count").spec.autolock_managers, "{json}");
        }
        let apart =
            init_of(r#"{"DefaultAddrPool":[" 10.0.0.0/16 ","10.1.0.0/16","fd00::/20"],"SubnetSize":28}"#);
        assert_eq!(apart.expect("apart").address_pools, ["10.0.0.0/16", "10.1.0.0/16", "fd00::/20"]);
    }

    #[test]
    fn a_join_needs_somebody_to_ask_and_a_token() {
        let join_of =
            |json| join(serde_json::from_str(json).expect("a request")).map_err(|error| error.message);
        assert_eq!(
            join_of(r#"{"RemoteAddrs":[""],"JoinToken":"t"}"#),
            Err("at least 1 RemoteAddr is required to join".into())
        );
        assert_eq!(join_of(r#"{"RemoteAddrs":["a:1"]}"#), Err("invalid join token".into()));
        let made =
            join_of(r#"{"RemoteAddrs":["a:1"],"JoinToken":"t","Availability":"drain"}"#).expect("all there");
        assert_eq!((made.availability, made.token.reveal()), (Availability::Drain, "t"));
    }
}
