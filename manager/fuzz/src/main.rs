//! Fuzz targets of `manager`: what other managers send, what lies on its disk, and what API clients ask.
#![no_main]

mod api;
mod store;

use common_fuzz::{Target, take_byte};

const TARGETS: [Target; 7] = [
    Target { name: "raft-message", run: raft_message, seeds: manager::raft::fuzz::message_seeds },
    Target {
        name: "snapshot-file",
        run: manager::raft::fuzz::snapshot_file,
        seeds: manager::raft::fuzz::snapshot_file_seeds,
    },
    Target { name: "tables", run: store::tables, seeds: store::table_seeds },
    Target { name: "proposals", run: store::proposals, seeds: store::proposal_seeds },
    Target { name: "backup", run: manager::api::fuzz::backup, seeds: store::backup_seeds },
    Target { name: "api", run: api::run, seeds: api::seeds },
    Target { name: "service-spec", run: manager::api::fuzz::service_spec, seeds: api::spec_seeds },
];

libfuzzer_sys::fuzz_target!(init: common_fuzz::start(&TARGETS), |data: &[u8]| common_fuzz::run(data));

/// The first byte says which message.
fn raft_message(mut data: &[u8]) {
    match take_byte(&mut data) {
        0xff => manager::forward::fuzz(data),
        kind => manager::raft::fuzz::message(kind, data),
    }
}
