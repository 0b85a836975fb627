//! What to measure, and how often.

use std::time::Duration;

pub const USAGE: &str = "usage: measure [writes] [failover] [silent] [idle] [join] [quorum] [placing]
               [replicas] [rolling] [moving] [creates] [objects] [reports] [standing] [dns]
  --short      so few times that it only shows whether it works
  --times N    how often what takes a moment is measured
  --seconds N  how long a rate is measured, and an idle daemon watched
  --minutes N  how long false alarms are counted under full load
  --busy N     threads that keep the processors busy, where they have to be";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Writes,
    Failover,
    Silent,
    Idle,
    Join,
    Quorum,
    Placing,
    Replicas,
    Rolling,
    Moving,
    Creates,
    Objects,
    Reports,
    Standing,
    Dns,
}

const ALL: [(&str, Section); 15] = [
    ("writes", Section::Writes),
    ("failover", Section::Failover),
    ("silent", Section::Silent),
    ("idle", Section::Idle),
    ("join", Section::Join),
    ("quorum", Section::Quorum),
    ("placing", Section::Placing),
    ("replicas", Section::Replicas),
    ("rolling", Section::Rolling),
    ("moving", Section::Moving),
    ("creates", Section::Creates),
    ("objects", Section::Objects),
    ("reports", Section::Reports),
    ("standing", Section::Standing),
    ("dns", Section::Dns),
];

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub sections: Vec<Section>,
    short: bool,
    times: Option<usize>,
    seconds: Option<f64>,
    minutes: Option<f64>,
    pub busy_threads: Option<usize>,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| anyhow::anyhow!("{argument} needs a number"));
            match argument.as_str() {
                // What cargo tells every bench.
                "--bench" => {}
                "--short" => options.short = true,
                "--times" => options.times = Some(value()?.parse()?),
                "--seconds" => options.seconds = Some(value()?.parse()?),
                "--minutes" => options.minutes = Some(value()?.parse()?),
                "--busy" => options.busy_threads = Some(value()?.parse()?),
                name => {
                    let found = ALL.iter().find(|(known, _)| *known == name);
                    let (_, section) =
                        found.ok_or_else(|| anyhow::anyhow!("there is no {name} to measure"))?;
                    options.sections.push(*section);
                }
            }
        }
        if options.sections.is_empty() {
            options.sections = ALL.map(|(_, section)| section).into();
        }
        Ok(options)
    }

    pub fn is_short(&self) -> bool {
        self.short
    }

    /// How often something is measured that is worth `usual` times.
    pub fn times(&self, usual: usize) -> usize {
        self.times.unwrap_or(if self.short { 2 } else { usual }).max(1)
    }

    pub fn seconds(&self, usual: f64) -> Duration {
        Duration::from_secs_f64(
            self.seconds.unwrap_or(if self.short { 0.3 } else { usual }).clamp(0.1, 3600.0),
        )
    }

    pub fn minutes(&self, usual: f64) -> Duration {
        let minutes = self.minutes.unwrap_or(if self.short { 0.05 } else { usual });
        Duration::from_secs_f64(60.0 * minutes.clamp(0.01, 600.0))
    }
}
