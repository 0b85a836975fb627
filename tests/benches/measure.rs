//! Measures the real program, and beside it what this machine can do at most.
//!
//! `cargo measure [SECTION…] [--short] [--times N] [--seconds N] [--minutes N]`: without sections, all of them.
//! Each prints a table of its own: ours, the limit or the target, their ratio. A figure beside its target is said and
//! fails nothing, because it says as much about the machine; what does not work at all fails.

mod api;
mod ask;
mod disk;
mod dns;
mod failover;
mod group;
mod idle;
mod join;
mod machine;
mod options;
mod placing;
mod quorum;
mod services;
mod silent;
mod spare;
mod writes;

use std::process::ExitCode;

use anyhow::Context;
use harness::figures::Table;

use self::options::{Options, Section};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    println!("{}", machine::describe());
    let mut misses = Vec::new();
    for section in &options.sections {
        println!("\n== {section:?}; the machine before: {}", machine::load().await);
        match run(*section, &options).await.with_context(|| format!("measure {section:?}")) {
            Ok(table) => {
                print!("{table}");
                misses.extend(table.0.iter().flat_map(|row| row.misses()));
            }
            Err(error) => {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    if misses.is_empty() {
        println!("\nevery limit is met");
    } else {
        println!("\n{} missed:\n{}", misses.len(), misses.join("\n"));
    }
    ExitCode::SUCCESS
}

async fn run(section: Section, options: &Options) -> anyhow::Result<Table> {
    match section {
        Section::Writes => writes::measure(options).await,
        Section::Failover => failover::measure(options).await,
        Section::Silent => silent::measure(options).await,
        Section::Idle => idle::measure(options).await,
        Section::Join => join::measure(options).await,
        Section::Quorum => quorum::measure(options).await,
        Section::Placing => placing::measure(options),
        Section::Replicas => services::replicas::measure(options).await,
        Section::Rolling => services::rolling::measure(options).await,
        Section::Moving => services::moving::measure(options).await,
        Section::Creates => services::creates::measure(options).await,
        Section::Objects => services::objects::measure(options).await,
        Section::Reports => services::reports::measure(options).await,
        Section::Standing => services::standing::measure(options).await,
        Section::Dns => dns::measure(options).await,
    }
}
