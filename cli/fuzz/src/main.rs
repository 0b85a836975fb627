//! Fuzz targets of `cli`: what people type. The program has no library, so its parsers are taken in as they are.
#![no_main]
#![allow(dead_code, unfulfilled_lint_expectations, clippy::duplicate_mod)] // the program uses more of them

#[path = "../../src/daemon/address.rs"]
mod daemon_address;
#[path = "../../src/parse/duration.rs"]
mod duration;
#[path = "../../src/output/human.rs"]
mod human;
#[path = "../../src/parse/address.rs"]
mod listen_address;
#[path = "../../src/output/natural.rs"]
mod natural;
#[path = "../../src/parse/pair.rs"]
mod pair;
#[path = "../../src/parse/size.rs"]
mod size;
#[path = "../../src/output/template/mod.rs"]
mod template;

mod templates;
mod values;

use common_fuzz::Target;

const TARGETS: [Target; 2] = [
    Target { name: "template", run: templates::run, seeds: templates::seeds },
    Target { name: "value", run: values::run, seeds: values::seeds },
];

libfuzzer_sys::fuzz_target!(init: common_fuzz::start(&TARGETS), |data: &[u8]| common_fuzz::run(data));
