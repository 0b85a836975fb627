//! Fuzz targets of `worker`: what tasks ask the node, and what resolvers answer it.
#![no_main]

use common_fuzz::Target;
use worker::mesh::dns::fuzz;

const TARGETS: [Target; 3] = [
    Target { name: "dns-question", run: fuzz::question, seeds: fuzz::question_seeds },
    Target { name: "dns-answer", run: fuzz::answer, seeds: fuzz::answer_seeds },
    Target { name: "resolv-conf", run: fuzz::resolv_conf, seeds: fuzz::resolv_conf_seeds },
];

libfuzzer_sys::fuzz_target!(init: common_fuzz::start(&TARGETS), |data: &[u8]| common_fuzz::run(data));
