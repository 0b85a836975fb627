//! Fuzz targets of `common`: what reaches every node from the network, from its disk and from people.
#![no_main]

mod files;
mod gossip;
mod identity;
mod text;
mod wire;

use common_fuzz::Target;

const TARGETS: [Target; 6] = [
    Target { name: "wire", run: wire::run, seeds: wire::seeds },
    Target { name: "gossip", run: gossip::run, seeds: gossip::seeds },
    Target { name: "certificate", run: identity::certificate, seeds: identity::certificate_seeds },
    Target { name: "signing-request", run: identity::request, seeds: identity::request_seeds },
    Target { name: "state-file", run: files::run, seeds: files::seeds },
    Target { name: "text", run: text::run, seeds: text::seeds },
];

libfuzzer_sys::fuzz_target!(init: common_fuzz::start(&TARGETS), |data: &[u8]| common_fuzz::run(data));
