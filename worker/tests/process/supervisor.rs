//! The processes beside the daemon, as a program of their own for tests: `swarm` has the same behind its first argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(entry) if entry == worker::runtime::process::ENTRY => {
            worker::runtime::process::supervisor_main(arguments)
        }
        _ => ExitCode::FAILURE,
    }
}
