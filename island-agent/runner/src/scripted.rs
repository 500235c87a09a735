//! A runner without a model, **for tests and load only**: its text means nothing.
//!
//! It emits at a set pace a stream that is a pure function of (prompt, seed, position), so that a
//! resumed stream continues as the uninterrupted one would have; and it fails where it is told to.
//! It must never serve a consumer: its description says `scripted`, and its digest is no model's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{ChatRequest, ChatRunner, FinishReason, JobEvent, RunnerDescription, StartError};
use crate::sampler::draw;

/// How often a waiting job looks at its cancel token.
const POLL: Duration = Duration::from_millis(2);

/// How a [`ScriptedRunner`] behaves.
#[derive(Clone, Debug)]
pub struct Script {
    /// The registry id that it pretends to serve.
    pub model_id: String,
    /// The digest that it pretends to have.
    pub model_sha256: String,
    /// Ids are drawn below this.
    pub vocabulary_size: u32,
    /// The most ids that a job may have in all.
    pub context_length: u32,
    /// How many jobs may run at once.
    pub slots: u32,
    /// The pause before the first id.
    pub first_token_after: Duration,
    /// The pause between two ids; zero for as fast as the sink takes them.
    pub token_interval: Duration,
    /// The position at which the stream ends by itself, as if by a stop id.
    pub stop_at: Option<u32>,
    /// What goes wrong.
    pub fault: Fault,
}

/// What a [`ScriptedRunner`] does wrong. Positions count in the whole output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Emits nothing from this position on, until cancelled.
    StallAt(u32),
    /// Ends with an error instead of emitting this position.
    FailAt(u32),
    /// Emits other ids than an honest runner from this position on.
    WrongFrom(u32),
    /// Closes the sink without a last event instead of emitting this position.
    VanishAt(u32),
}

impl Default for Script {
    /// As fast as possible, without end or fault, on a small vocabulary.
    fn default() -> Self {
        Self {
            model_id: "scripted".to_owned(),
            model_sha256: "0".repeat(64),
            vocabulary_size: 256,
            context_length: 4_096,
            slots: 4,
            first_token_after: Duration::ZERO,
            token_interval: Duration::ZERO,
            stop_at: None,
            fault: Fault::None,
        }
    }
}

/// Emits what its [`Script`] says. For tests and load only.
#[derive(Debug)]
pub struct ScriptedRunner {
    script: Arc<Script>,
    description: RunnerDescription,
    running: Arc<AtomicU32>,
}

impl ScriptedRunner {
    /// Makes a runner that follows `script`.
    ///
    /// # Panics
    ///
    /// If the script's vocabulary is empty.
    #[must_use]
    pub fn new(script: Script) -> Self {
        assert!(script.vocabulary_size > 0, "a vocabulary has an id");
        let description = RunnerDescription {
            runner: "scripted",
            model_id: script.model_id.clone(),
            model_sha256: script.model_sha256.clone(),
            device: "none".to_owned(),
            thread_count: 0,
            kernels: "scripted".to_owned(),
            context_length: script.context_length,
            vocabulary_size: script.vocabulary_size,
            slots: script.slots,
        };
        Self {
            script: Arc::new(script),
            description,
            running: Arc::new(AtomicU32::new(0)),
        }
    }

    /// The id that an honest run emits at `position`.
    #[must_use]
    pub fn token_at(&self, prompt: &[u32], seed: u64, position: u32) -> u32 {
        token_at(&self.script, digest(prompt, seed), position)
    }
}

impl ChatRunner for ScriptedRunner {
    fn description(&self) -> &RunnerDescription {
        &self.description
    }

    fn start(&self, request: ChatRequest, sink: mpsc::Sender<JobEvent>) -> Result<(), StartError> {
        request.check(&self.description)?;
        let slots = self.script.slots;
        let slot = Slot::take(&self.running, slots).ok_or(StartError::Busy { slots })?;
        let last = request
            .first_position()
            .saturating_add(request.output_room(&self.description));
        let job = Job {
            script: Arc::clone(&self.script),
            digest: digest(&request.prompt, request.sampling.seed),
            request,
            sink,
            last,
        };
        thread::Builder::new()
            .name("scripted-job".to_owned())
            .spawn(move || {
                if let Some(reason) = job.emit() {
                    job.end(reason, slot);
                }
            })
            .map_err(|_| StartError::Stopped)?;
        Ok(())
    }
}

/// Counts one running job for as long as it lives.
struct Slot(Arc<AtomicU32>);

impl Slot {
    fn take(running: &Arc<AtomicU32>, slots: u32) -> Option<Self> {
        running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < slots).then(|| count.saturating_add(1))
            })
            .ok()?;
        Some(Self(Arc::clone(running)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Job {
    script: Arc<Script>,
    request: ChatRequest,
    sink: mpsc::Sender<JobEvent>,
    digest: u64,
    last: u32,
}

/// The job was cancelled while it waited.
struct Cancelled;

impl Job {
    /// Emits the stream; `None` means that the runner vanishes without a word.
    fn emit(&self) -> Option<FinishReason> {
        let mut pause = self.script.first_token_after;
        for position in self.request.first_position()..self.last {
            if self.wait(pause).is_err() {
                return Some(FinishReason::Cancelled);
            }
            pause = self.script.token_interval;
            let mut id = token_at(&self.script, self.digest, position);
            match self.script.fault {
                Fault::StallAt(at) if position >= at => {
                    let _ = self.wait(Duration::MAX);
                    return Some(FinishReason::Cancelled);
                }
                Fault::FailAt(at) if position >= at => {
                    let message = format!("scripted failure at position {at}");
                    return Some(FinishReason::Failed { message });
                }
                Fault::VanishAt(at) if position >= at => return None,
                Fault::WrongFrom(at) if position >= at => {
                    id = id.wrapping_add(1).checked_rem(self.script.vocabulary_size)?;
                }
                Fault::None
                | Fault::StallAt(_)
                | Fault::FailAt(_)
                | Fault::VanishAt(_)
                | Fault::WrongFrom(_) => {}
            }
            if self.script.stop_at == Some(position) || self.request.stop_ids.contains(&id) {
                return Some(FinishReason::Stop);
            }
            if self.send(JobEvent::Token { id, position }).is_err() {
                return Some(FinishReason::Cancelled);
            }
        }
        Some(FinishReason::Length)
    }

    fn wait(&self, pause: Duration) -> Result<(), Cancelled> {
        let start = Instant::now();
        loop {
            if self.request.cancel.is_cancelled() || self.sink.is_closed() {
                return Err(Cancelled);
            }
            let left = pause.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(POLL));
        }
    }

    /// Sends one id, waiting for room in the sink.
    fn send(&self, event: JobEvent) -> Result<(), Cancelled> {
        loop {
            match self.sink.try_reserve() {
                Ok(permit) => {
                    permit.send(event);
                    return Ok(());
                }
                Err(TrySendError::Closed(())) => return Err(Cancelled),
                Err(TrySendError::Full(())) => self.wait(POLL)?,
            }
        }
    }

    /// Reports the end once there is room; the slot is free before anybody sees it.
    fn end(&self, reason: FinishReason, slot: Slot) {
        loop {
            match self.sink.try_reserve() {
                Ok(permit) => {
                    drop(slot);
                    permit.send(JobEvent::Finished(reason));
                    return;
                }
                Err(TrySendError::Closed(())) => return,
                Err(TrySendError::Full(())) => thread::sleep(POLL),
            }
        }
    }
}

/// Folds the prompt and the seed into one number (FNV-1a over the ids, from the drawn seed).
fn digest(prompt: &[u32], seed: u64) -> u64 {
    prompt.iter().fold(draw(seed, 0), |digest, &id| {
        (digest ^ u64::from(id)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn token_at(script: &Script, digest: u64, position: u32) -> u32 {
    let drawn = draw(digest, position).checked_rem(u64::from(script.vocabulary_size));
    let id = drawn.expect("a vocabulary has an id");
    u32::try_from(id).expect("the remainder is below a u32")
}
