//! Whether a command waits for its service, for how long, and what it shows meanwhile.

use std::time::Duration;

use super::health::positive;
use crate::parse::duration::Nanoseconds;
use crate::parse::number::boolean;

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Waiting")]
pub struct WaitFlags {
    /// Return at once instead of waiting until the service stands
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub detach: Option<bool>,

    /// Wait until the service stands; this is what happens without --detach
    #[arg(long, conflicts_with = "detach")]
    pub wait: bool,

    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,

    /// Give up waiting after this long, with exit code 3 (ms|s|m|h) [default: while there is hope]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub timeout: Option<Nanoseconds>,
}

impl WaitFlags {
    pub fn waits(&self) -> bool {
        self.detach != Some(true)
    }

    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(|Nanoseconds(time)| Duration::from_nanos(time.unsigned_abs()))
    }
}
