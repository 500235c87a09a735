//! Runs one job and collects what it emits.

use runner::sampler::Sampling;
use runner::{ChatRequest, ChatRunner, FinishReason, JobEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A greedy request for `output_tokens_max` ids after `prompt`.
pub(crate) fn request(prompt: &[u32], output_tokens_max: u32) -> ChatRequest {
    ChatRequest {
        prompt: prompt.to_vec(),
        resumed: Vec::new(),
        output_tokens_max,
        sampling: Sampling::GREEDY,
        stop_ids: Vec::new(),
        cancel: CancellationToken::new(),
    }
}

/// The same job, resumed after `emitted`.
pub(crate) fn resumed(request: &ChatRequest, emitted: &[u32]) -> ChatRequest {
    let done = u32::try_from(emitted.len()).unwrap();
    ChatRequest {
        resumed: emitted.to_vec(),
        output_tokens_max: request.output_tokens_max - done,
        ..request.clone()
    }
}

/// What a job emitted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub(crate) ids: Vec<u32>,
    /// `None` if the runner vanished.
    pub(crate) finish: Option<FinishReason>,
}

/// Runs a job to its end; asserts that positions count on from the resumed part.
pub(crate) fn run(runner: &dyn ChatRunner, request: ChatRequest) -> Emitted {
    let first = u32::try_from(request.resumed.len()).unwrap();
    let (sink, events) = mpsc::channel(4);
    runner.start(request, sink).unwrap();
    collect(events, first)
}

/// Collects a running job.
pub(crate) fn collect(mut events: mpsc::Receiver<JobEvent>, first: u32) -> Emitted {
    let mut ids = Vec::new();
    let mut finish = None;
    while let Some(event) = events.blocking_recv() {
        assert_eq!(finish, None, "nothing follows the end");
        match event {
            JobEvent::Token { id, position } => {
                assert_eq!(position, first + u32::try_from(ids.len()).unwrap());
                ids.push(id);
            }
            JobEvent::Finished(reason) => finish = Some(reason),
        }
    }
    Emitted { ids, finish }
}
