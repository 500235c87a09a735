//! Measures how fast a runner reads and writes here, once.
//!
//! The result proposes a tier and a price; the exchange assigns the tier from its own canary job.
//! Islands on one machine measure in turn, for two at a time would each see half a machine, and
//! keep the result in the folder of models, so that a restart does not measure again.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use runner::sampler::Sampling;
use runner::{ChatRequest, ChatRunner, FinishReason, JobEvent, StartError};

/// Ids read: enough to fill several steps, few enough to take under a second on a laptop.
const PREFILL_TOKENS: u32 = 64;
/// Ids written.
const DECODE_TOKENS: u32 = 32;
/// The name of the results' file, beside the models.
const RESULTS_FILE: &str = "benchmarks.json";
const LOCK_FILE: &str = ".benchmark.lock";
/// How often the lock of another Island is looked at.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// How long to wait for the others: a dozen slow measurements.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(600);
/// A result is measured again after a week: machines change, and one bad day should not last.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The most results that are kept; the oldest go first.
const RESULTS_MAX: usize = 64;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// How fast a runner is, with one job at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speed {
    /// Prompt tokens a second.
    pub prefill_per_second: u32,
    /// Output tokens a second.
    pub decode_per_second: u32,
}

/// Where a [`Speed`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// It was measured now.
    Now(Speed),
    /// It was measured before, on this machine with this build.
    Before(Speed),
}

impl Measured {
    /// The speed, whenever it was measured.
    #[must_use]
    pub fn speed(self) -> Speed {
        match self {
            Self::Now(speed) | Self::Before(speed) => speed,
        }
    }
}

/// Why no speed is known.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// The runner would not take the job.
    #[error("the runner refused the benchmark")]
    Refused(#[from] StartError),
    /// The runner did not finish the job.
    #[error("the runner did not finish the benchmark: {reason}")]
    Unfinished {
        /// How it ended.
        reason: String,
    },
    /// The folder cannot be used.
    #[error("could not use {path}")]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Other Islands have been measuring for too long.
    #[error("another Island has been measuring for more than {} s", LOCK_WAIT_MAX.as_secs())]
    Locked,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    speed: Speed,
    measured_at_seconds: u64,
}

/// Returns the runner's speed, from the results in `folder` or measured now.
///
/// Blocks: not for an async task.
///
/// # Errors
///
/// When the runner does not do the job, or the folder cannot be used.
pub fn measure_once(runner: &dyn ChatRunner, folder: &Path) -> Result<Measured, BenchmarkError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let key = key(runner);
    let _lock = lock(&folder.join(LOCK_FILE))?;
    let path = folder.join(RESULTS_FILE);
    let mut results = read(&path);
    let now = seconds_now();
    let is_fresh = |entry: &Entry| now.abs_diff(entry.measured_at_seconds) < AGE_MAX.as_secs();
    if let Some(entry) = results.get(&key).filter(|entry| is_fresh(entry)) {
        return Ok(Measured::Before(entry.speed));
    }
    let speed = measure(runner)?;
    let entry = Entry {
        speed,
        measured_at_seconds: now,
    };
    results.insert(key, entry);
    forget_oldest(&mut results);
    write(folder, &path, &results).map_err(at(&path))?;
    Ok(Measured::Now(speed))
}

/// Measures the runner's speed: a warm-up, then a prompt and an answer.
///
/// Blocks: not for an async task.
///
/// # Errors
///
/// When the runner does not do the jobs.
pub fn measure(runner: &dyn ChatRunner) -> Result<Speed, BenchmarkError> {
    time(runner, 4, 4)?;
    let (prefill, decode) = time(runner, PREFILL_TOKENS, DECODE_TOKENS.saturating_add(1))?;
    Ok(Speed {
        prefill_per_second: per_second(PREFILL_TOKENS, prefill),
        decode_per_second: per_second(DECODE_TOKENS, decode),
    })
}

/// The time to the first id, and from there to the last.
fn time(runner: &dyn ChatRunner, prompt: u32, output: u32) -> Result<(Duration, Duration), BenchmarkError> {
    let vocabulary_size = runner.description().vocabulary_size;
    let request = ChatRequest {
        prompt: (1..=prompt)
            .map(|index| {
                index
                    .wrapping_mul(7_919)
                    .checked_rem(vocabulary_size)
                    .unwrap_or(0)
            })
            .collect(),
        resumed: Vec::new(),
        output_tokens_max: output,
        sampling: Sampling::GREEDY,
        stop_ids: Vec::new(),
        cancel: CancellationToken::new(),
    };
    let (sink, mut events) = mpsc::channel(64);
    let start = Instant::now();
    runner.start(request, sink)?;
    let mut first = None;
    while let Some(event) = events.blocking_recv() {
        match event {
            JobEvent::Token { .. } => {
                first.get_or_insert_with(Instant::now);
            }
            JobEvent::Finished(FinishReason::Length) => {
                let first = first.unwrap_or(start);
                return Ok((first.duration_since(start), first.elapsed()));
            }
            JobEvent::Finished(reason) => {
                let reason = format!("{reason:?}");
                return Err(BenchmarkError::Unfinished { reason });
            }
        }
    }
    Err(BenchmarkError::Unfinished {
        reason: "it vanished".to_owned(),
    })
}

fn per_second(count: u32, duration: Duration) -> u32 {
    let nanos = duration.as_nanos().max(1);
    let rate = u128::from(count)
        .saturating_mul(NANOS_PER_SECOND)
        .checked_div(nanos)
        .unwrap_or(0);
    u32::try_from(rate).unwrap_or(u32::MAX)
}

/// Everything that a speed depends on: weights, build, threads, arithmetic and processor.
fn key(runner: &dyn ChatRunner) -> String {
    let description = runner.description();
    format!(
        "{} {} | {} | {} threads | {} | {}",
        description.runner,
        description.model_sha256,
        build_id(),
        description.thread_count,
        description.kernels,
        processor(),
    )
}

/// The version, and when the running program was built.
fn build_id() -> String {
    let built = std::env::current_exe()
        .and_then(fs::metadata)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|built| built.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs());
    format!("{} built at {built}", env!("CARGO_PKG_VERSION"))
}

fn processor() -> String {
    use sysinfo::{CpuRefreshKind, RefreshKind, System};

    let kind = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kind);
    let first = system.cpus().first();
    first.map_or_else(
        || "unknown processor".to_owned(),
        |cpu| cpu.brand().trim().to_owned(),
    )
}

fn lock(path: &Path) -> Result<File, BenchmarkError> {
    let file = File::create(path).map_err(at(path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(at(path)(source)),
            Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_WAIT_MAX => {
                return Err(BenchmarkError::Locked);
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_POLL),
        }
    }
}

/// The results so far; a file that is missing or damaged holds none, and is written anew.
fn read(path: &Path) -> BTreeMap<String, Entry> {
    let text = fs::read_to_string(path).ok();
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

fn forget_oldest(results: &mut BTreeMap<String, Entry>) {
    while results.len() > RESULTS_MAX {
        let oldest = results.iter().min_by_key(|(_, entry)| entry.measured_at_seconds);
        let Some(key) = oldest.map(|(key, _)| key.clone()) else {
            return;
        };
        results.remove(&key);
    }
}

fn write(folder: &Path, path: &Path, results: &BTreeMap<String, Entry>) -> io::Result<()> {
    let file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&file, results)?;
    file.persist(path)?;
    Ok(())
}

fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BenchmarkError {
    let path = path.to_owned();
    move |source| BenchmarkError::Folder { path, source }
}
