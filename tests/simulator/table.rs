//! Measured times, as a line of a table.

use std::time::Duration;

/// Times of the same thing, sorted.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    pub fn quantile(&self, fraction: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * fraction).round() as usize).copied().unwrap_or_default()
    }

    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    pub fn worst(&self) -> Duration {
        self.quantile(1.0)
    }

    /// `median / 90 % / worst` in milliseconds, and how many there are.
    pub fn line(&self) -> String {
        let ms = |fraction| self.quantile(fraction).as_millis();
        format!("{:>5} {:>5} {:>5} ms of {}", ms(0.5), ms(0.9), ms(1.0), self.0.len())
    }
}
