//! The machine below: what it is, how busy it is, keeping it busy, and what a process takes of it.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use common::time::{Clock, Monotonic, SystemClock};
use harness::cluster::{Cluster, options};
use harness::node::NodeOptions;
use harness::{binary, run};

/// How long the machine is looked at to say how busy it is.
const LOOK: Duration = Duration::from_secs(1);

pub fn now() -> Monotonic {
    SystemClock.monotonic()
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Daemons without Docker, whose doings are not ours, that play faults where they are asked to.
pub async fn cluster(managers: usize, workers: usize) -> anyhow::Result<Cluster> {
    Cluster::with_options(managers, options(managers, workers).into_iter().map(plain).collect()).await
}

pub fn plain(options: NodeOptions) -> NodeOptions {
    options.with_argument("--lab").with_argument("--engine").with_argument("none")
}

/// What is measured, and on what: a figure without this says nothing.
pub fn describe() -> String {
    let program = binary::swarm();
    let profile = program.parent().and_then(Path::file_name).unwrap_or_default();
    let size = std::fs::metadata(program).map_or(0, |metadata| metadata.len());
    let folder = run::folder();
    let measured = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!(
        "program: {} ({}, {:.1} MiB); this one: {measured}; {} processors; files: {} on {}",
        program.display(),
        profile.display(),
        size as f64 / f64::from(1 << 20),
        processors(),
        folder.display(),
        filesystem(&folder),
    )
}

fn filesystem(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        folder.starts_with(place).then_some((place.len(), words.next()?))
    });
    mounted.max().map_or("an unknown file system".into(), |(_, kind)| kind.into())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How busy the machine is with whatever else runs.
pub async fn load() -> String {
    let before = ticks();
    tokio::time::sleep(LOOK).await;
    let after = ticks();
    let average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let average = average.split(' ').next().unwrap_or("?").to_owned();
    match (before, after) {
        (Some(before), Some(after)) if after.1 > before.1 => {
            let busy = 100.0 * (after.0 - before.0) as f64 / (after.1 - before.1) as f64;
            format!("{busy:.0} % busy, load average {average}")
        }
        _ => format!("load average {average}"),
    }
}

/// Busy and all ticks of all processors.
fn ticks() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields = stat.lines().next()?.split_whitespace().skip(1).take(8);
    let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let all: u64 = fields.iter().sum();
    Some((all - fields.get(3)? - fields.get(4)?, all))
}

/// Threads that do nothing but take processor time, until dropped.
pub struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    /// One thread per processor, where nothing else is asked for.
    pub fn start(threads: Option<usize>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut sum = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
                }
            })
        };
        let threads = (0..threads.unwrap_or_else(processors)).map(spin).collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a busy thread does not panic");
        }
    }
}

/// What a process takes.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Its share of memory, in MiB: what it has alone, and its part of what it shares.
    pub memory: f64,
    /// The part of it that no file stands behind.
    pub anonymous: f64,
    /// Processor time so far.
    pub time: Duration,
}

impl Usage {
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let rollup = read(&format!("/proc/{process}/smaps_rollup"))?;
        let mebibytes = |name: &str| {
            let line = rollup.lines().find(|line| line.split(':').next() == Some(name));
            let words = line.and_then(|line| line.split_whitespace().nth(1));
            words.and_then(|number| number.parse::<f64>().ok()).map(|number| number / 1024.0)
        };
        let missing = || format!("a memory figure of process {process}");
        Ok(Self {
            memory: mebibytes("Pss").with_context(missing)?,
            anonymous: mebibytes("Pss_Anon").with_context(missing)?,
            time: time_of(process)?,
        })
    }
}

/// In nanoseconds where the kernel counts so; else in ticks, 100 a second.
fn time_of(process: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has just ended counts no more, and takes its time with it.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    }
    if nanoseconds > 0 {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    let stat = read(&format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ')).context("read a process' times")?;
    let ticks: u64 = fields.skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(10 * ticks))
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {path}"))
}
