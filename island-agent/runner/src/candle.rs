//! Runs GGUF checkpoints of the llama family on the processor, with candle's matrix products.
//!
//! Weights are padded and quantised to 8 bits at load (see [`linear`]); jobs share them, have a
//! cache each, and share steps on one engine thread (see [`engine`]).
//!
//! candle's thread pool is one per process and reads its size from `CANDLE_NUM_THREADS` when first
//! used. A process cannot safely change its own environment, so whoever starts an Island sets the
//! variable, or `main` calls [`restart_with_threads`] before anything else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use self::engine::{Admitted, Slot};
use self::linear::Rows;
use self::load::load;
use super::{ChatRequest, ChatRunner, JobEvent, RunnerDescription, StartError};
use crate::gguf::Header;

mod cache;
mod engine;
mod linear;
mod llama;
mod load;

pub use self::load::WeightsError;

/// What candle reads its thread count from.
pub const THREADS_VARIABLE: &str = "CANDLE_NUM_THREADS";

/// The most jobs at once: each holds a cache, and a step has a row for each.
pub const SLOTS_MAX: u32 = 64;

/// What to load and how to run it.
#[derive(Clone, Debug)]
pub struct CandleOptions {
    /// The model's registry id.
    pub model_id: String,
    /// The digest of the weights, already verified.
    pub model_sha256: String,
    /// The GGUF file.
    pub weights: PathBuf,
    /// The longest context to serve; the checkpoint may allow less.
    pub context_length_max: u32,
    /// How many jobs may run at once.
    pub slots: u32,
}

/// Why no runner could be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The slots are out of range.
    #[error("{slots} slots, between 1 and {SLOTS_MAX} are possible")]
    Slots {
        /// What was asked for.
        slots: u32,
    },
    /// The weights could not be loaded.
    #[error("could not load the weights")]
    Weights(#[from] WeightsError),
    /// The engine's thread could not be started.
    #[error("could not start the engine's thread")]
    Thread(#[source] io::Error),
}

/// A loaded model and the thread that runs it.
///
/// Dropping it cancels the running jobs and waits for the thread.
#[derive(Debug)]
pub struct CandleRunner {
    description: RunnerDescription,
    taken: Arc<AtomicU32>,
    stopped: Arc<AtomicBool>,
    queue: Option<SyncSender<Admitted>>,
    engine: Option<JoinHandle<()>>,
}

impl CandleRunner {
    /// Loads the weights and starts the engine. Takes about a second per 100 MB.
    ///
    /// # Errors
    ///
    /// When the options are out of range or the weights cannot be used.
    pub fn load(options: CandleOptions) -> Result<Self, LoadError> {
        let slots = options.slots;
        if !(1..=SLOTS_MAX).contains(&slots) {
            return Err(LoadError::Slots { slots });
        }
        let header = Header::read(&options.weights).map_err(WeightsError::from)?;
        let trained = header
            .number("llama.context_length")
            .map_err(WeightsError::from)?;
        let context_length = trained.min(options.context_length_max);
        let model = load(&header, context_length)?;
        let description = RunnerDescription {
            runner: "candle",
            model_id: options.model_id,
            model_sha256: options.model_sha256,
            device: "cpu".to_owned(),
            thread_count: thread_count(),
            kernels: kernels(model.rows()),
            context_length,
            vocabulary_size: u32::try_from(model.shape.vocabulary_size).unwrap_or(u32::MAX),
            slots,
        };
        let stopped = Arc::new(AtomicBool::new(false));
        let (queue, admitted) = sync_channel(usize::try_from(slots).unwrap_or(usize::MAX));
        let engine = thread::Builder::new()
            .name("candle-engine".to_owned())
            .spawn({
                let stopped = Arc::clone(&stopped);
                move || engine::run(&model, &admitted, &stopped)
            })
            .map_err(LoadError::Thread)?;
        Ok(Self {
            description,
            taken: Arc::new(AtomicU32::new(0)),
            stopped,
            queue: Some(queue),
            engine: Some(engine),
        })
    }
}

impl ChatRunner for CandleRunner {
    fn description(&self) -> &RunnerDescription {
        &self.description
    }

    fn start(&self, request: ChatRequest, sink: mpsc::Sender<JobEvent>) -> Result<(), StartError> {
        request.check(&self.description)?;
        let slots = self.description.slots;
        let slot = Slot::take(&self.taken, slots).ok_or(StartError::Busy { slots })?;
        let admitted = Admitted {
            position: request.first_position(),
            output_room: request.output_room(&self.description),
            request,
            sink,
            slot,
        };
        let queue = self.queue.as_ref().ok_or(StartError::Stopped)?;
        queue.try_send(admitted).map_err(|error| match error {
            TrySendError::Full(_) => StartError::Busy { slots },
            TrySendError::Disconnected(_) => StartError::Stopped,
        })
    }
}

impl Drop for CandleRunner {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        drop(self.queue.take());
        if let Some(engine) = self.engine.take() {
            // A panic of the engine has already closed its jobs' sinks; there is nothing to add.
            let _ = engine.join();
        }
    }
}

/// The threads that candle computes with in this process, fixed at the first call.
#[must_use]
pub fn thread_count() -> u32 {
    let workers = candle_core::utils::barrier_pool().n_workers();
    u32::try_from(workers.saturating_add(1)).unwrap_or(u32::MAX)
}

/// Replaces this process by itself with candle's thread count set, unless it is set so already.
///
/// To be called first thing in `main`: open files, sockets and threads do not survive. Returns
/// only if nothing had to be done, or if it failed.
///
/// # Errors
///
/// When the program could not be started again.
#[cfg(unix)]
pub fn restart_with_threads(thread_count: u32) -> io::Result<()> {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    let wanted = thread_count.max(1).to_string();
    if env::var(THREADS_VARIABLE).is_ok_and(|value| value == wanted) {
        return Ok(());
    }
    let error = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(THREADS_VARIABLE, wanted)
        .exec();
    Err(error)
}

/// Names the arithmetic: two Islands whose names are equal should emit equal bytes.
fn kernels(rows: Rows) -> String {
    let rows = match rows {
        Rows::Together => "rows together",
        Rows::OneByOne => "rows one by one",
    };
    format!("q8_0 padded to 256, {}, {rows}", instruction_set())
}

/// The widest instructions that candle's 8-bit kernels would take here.
fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
            return "avx512vnni";
        }
        if is_x86_feature_detected!("avxvnni") {
            return "avxvnni";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "avx2";
        }
    }
    std::env::consts::ARCH
}
