//! What computes on an Island, and the contract between it and the agent.
//!
//! A runner reads token ids and writes token ids; tensors, files and devices stay behind it. Its
//! promises, which failover in mid-stream rests on:
//!
//! - What is emitted at a position depends on the weights, the build, the ids before it and
//!   ([`Sampling::seed`], position), and on nothing else: not on how the ids before it were cut
//!   into a prompt and a resumed part, nor on what runs beside it.
//! - Every accepted job ends with exactly one [`JobEvent::Finished`], unless the runner itself
//!   dies; then the channel closes without one, and the job failed.
//! - Nothing is unbounded: jobs by [`RunnerDescription::slots`], ids by
//!   [`RunnerDescription::context_length`], events by the sink's capacity. A full sink pauses its
//!   own job only; a closed one cancels it.
//!
//! It does not meter, sign, price, tokenise or detokenise.

use std::fmt;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::sampler::{Sampling, SamplingError};

pub mod candle;
pub mod gguf;
mod kernels;
pub mod sampler;
pub mod scripted;

/// The most stop ids that one request may name.
pub const STOP_IDS_MAX: usize = 16;

/// Something that continues token streams.
///
/// Implementations own their worker threads: `start` never waits for inference.
pub trait ChatRunner: Send + Sync + fmt::Debug {
    /// What this runner is and what it can take.
    fn description(&self) -> &RunnerDescription;

    /// Begins a job, whose events go to `sink` in order.
    ///
    /// # Errors
    ///
    /// Refuses a request that could never run, and one for which no slot is free. Nothing is sent
    /// to `sink` then.
    fn start(&self, request: ChatRequest, sink: mpsc::Sender<JobEvent>) -> Result<(), StartError>;
}

/// One job: the ids to continue, and how.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The ids of the rendered prompt.
    pub prompt: Vec<u32>,
    /// The ids that an earlier Island has already emitted after the prompt; empty for a new job.
    pub resumed: Vec<u32>,
    /// How many ids are still to be emitted at most, the resumed ones not counted.
    pub output_tokens_max: u32,
    /// How the next id is chosen.
    pub sampling: Sampling,
    /// Ids that end the stream. They are not emitted and not counted.
    pub stop_ids: Vec<u32>,
    /// Ends the job with [`FinishReason::Cancelled`] within a few tokens' time.
    pub cancel: CancellationToken,
}

/// What a job reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// The next id of the stream.
    Token {
        /// The id.
        id: u32,
        /// Its index in the whole output: the first id after `resumed` has `resumed.len()`.
        position: u32,
    },
    /// The last event.
    Finished(FinishReason),
}

/// Why a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model chose a stop id.
    Stop,
    /// `output_tokens_max` was reached, or the context is full.
    Length,
    /// The cancel token fired or the sink was closed.
    Cancelled,
    /// The runner could not go on.
    Failed {
        /// What went wrong, for the log.
        message: String,
    },
}

/// What a runner is; reported to the exchange and printed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerDescription {
    /// `candle` or `scripted`.
    pub runner: &'static str,
    /// The model's registry id.
    pub model_id: String,
    /// SHA-256 of the weights, in lower-case hexadecimal.
    pub model_sha256: String,
    /// Where it computes, such as `cpu`.
    pub device: String,
    /// The threads that compute.
    pub thread_count: u32,
    /// The arithmetic in use: byte equality is only claimed between equal values of this.
    pub kernels: String,
    /// The most ids that prompt, resumed part and output may have together.
    pub context_length: u32,
    /// Ids are below this.
    pub vocabulary_size: u32,
    /// How many jobs may run at once.
    pub slots: u32,
}

/// Why a job was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is nothing to continue.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// An id is not in the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocabulary_size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// The size that it must be below.
        vocabulary_size: u32,
    },
    /// No room is left for one more id.
    #[error("{token_count} tokens leave no room in a context of {context_length}")]
    ContextExceeded {
        /// Prompt and resumed ids together.
        token_count: usize,
        /// What they must be below.
        context_length: u32,
    },
    /// Zero ids were asked for.
    #[error("no output tokens were asked for")]
    NoOutput,
    /// There are too many stop ids.
    #[error("{count} stop ids, at most {STOP_IDS_MAX} are allowed")]
    TooManyStopIds {
        /// How many there were.
        count: usize,
    },
    /// The sampling parameters make no sense.
    #[error("the sampling parameters are not usable")]
    Sampling(#[from] SamplingError),
    /// Every slot is taken.
    #[error("all {slots} slots are taken")]
    Busy {
        /// How many there are.
        slots: u32,
    },
    /// The runner's worker has ended.
    #[error("the runner has stopped")]
    Stopped,
}

impl ChatRequest {
    /// Checks the request against what a runner can take, in the order of [`StartError`].
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self, description: &RunnerDescription) -> Result<(), StartError> {
        if self.prompt.is_empty() {
            return Err(StartError::EmptyPrompt);
        }
        let vocabulary_size = description.vocabulary_size;
        let mut ids = self.prompt.iter().chain(&self.resumed);
        if let Some(&id) = ids.find(|&&id| id >= vocabulary_size) {
            return Err(StartError::UnknownToken { id, vocabulary_size });
        }
        let token_count = self.prompt.len().saturating_add(self.resumed.len());
        let context_length = description.context_length;
        if u32::try_from(token_count).map_or(true, |count| count >= context_length) {
            return Err(StartError::ContextExceeded {
                token_count,
                context_length,
            });
        }
        if self.output_tokens_max == 0 {
            return Err(StartError::NoOutput);
        }
        if self.stop_ids.len() > STOP_IDS_MAX {
            return Err(StartError::TooManyStopIds {
                count: self.stop_ids.len(),
            });
        }
        self.sampling.check()?;
        Ok(())
    }

    /// The index in the whole output of the next id to be emitted.
    fn first_position(&self) -> u32 {
        u32::try_from(self.resumed.len()).expect("a checked request fits the context, a u32")
    }

    /// The ids that may still be emitted: what was asked for, or what the context leaves.
    fn output_room(&self, description: &RunnerDescription) -> u32 {
        let taken = u32::try_from(self.prompt.len().saturating_add(self.resumed.len()))
            .expect("a checked request fits the context, a u32");
        let room = description.context_length.saturating_sub(taken);
        self.output_tokens_max.min(room)
    }
}
