//! The runners, and the channels between their threads and the session.
//!
//! Each job has a bounded channel that its runner fills; a task takes out whatever is there and hands it on
//! as one batch. An idle link so carries every id at once, and a busy one carries few, larger messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::effect::{Assignment, Input, RunId};
use crate::limits::{JOB_BATCHES_MAX, JOB_EVENTS_MAX};
use runner::{ChatRequest, ChatRunner, JobEvent};

/// The jobs that run on this machine.
#[derive(Debug)]
pub(super) struct Jobs {
    runners: BTreeMap<String, Arc<dyn ChatRunner>>,
    cancels: BTreeMap<RunId, CancellationToken>,
    sender: mpsc::Sender<Input>,
    receiver: mpsc::Receiver<Input>,
}

impl Jobs {
    pub(super) fn new(runners: BTreeMap<String, Arc<dyn ChatRunner>>) -> Self {
        let (sender, receiver) = mpsc::channel(JOB_BATCHES_MAX);
        Self {
            runners,
            cancels: BTreeMap::new(),
            sender,
            receiver,
        }
    }

    /// Hands a job to its model's runner, and says whether it took it.
    pub(super) fn start(&mut self, run: RunId, assignment: Assignment) -> Input {
        let Some(runner) = self.runners.get(&assignment.model) else {
            let reason = "this Island does not offer that model".to_owned();
            return Input::RunRefused { run, reason };
        };
        let cancel = CancellationToken::new();
        let request = ChatRequest {
            prompt: assignment.prompt_ids,
            resumed: assignment.emitted_ids,
            output_tokens_max: assignment.max_tokens,
            sampling: assignment.sampling,
            stop_ids: assignment.stop_ids,
            cancel: cancel.clone(),
        };
        let (sink, events) = mpsc::channel(JOB_EVENTS_MAX);
        if let Err(error) = runner.start(request, sink) {
            let reason = error.to_string();
            return Input::RunRefused { run, reason };
        }
        self.cancels.insert(run, cancel);
        tokio::spawn(forward(run, events, self.sender.clone()));
        Input::RunStarted { run }
    }

    pub(super) fn cancel(&self, run: RunId) {
        if let Some(cancel) = self.cancels.get(&run) {
            cancel.cancel();
        }
    }

    /// The next thing that a job reports.
    pub(super) async fn next(&mut self) -> Input {
        let input = self.receiver.recv().await;
        let input = input.expect("the channel's sender lives beside its receiver");
        if let Input::RunEnded { run, .. } = &input {
            self.cancels.remove(run);
        }
        input
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for cancel in self.cancels.values() {
            cancel.cancel();
        }
    }
}

/// Hands on what a runner says until it is done, in batches as large as the session is slow.
async fn forward(run: RunId, mut events: mpsc::Receiver<JobEvent>, sender: mpsc::Sender<Input>) {
    let mut batch = Vec::with_capacity(JOB_EVENTS_MAX);
    loop {
        let count = events.recv_many(&mut batch, JOB_EVENTS_MAX).await;
        let (inputs, done) = inputs_of(run, batch.drain(..));
        for input in inputs {
            if sender.send(input).await.is_err() {
                return;
            }
        }
        if done {
            return;
        }
        if count == 0 {
            let _ = sender.send(Input::RunEnded { run, reason: None }).await;
            return;
        }
    }
}

/// Joins ids at neighbouring positions; true if the job is over.
fn inputs_of(run: RunId, events: impl Iterator<Item = JobEvent>) -> (Vec<Input>, bool) {
    let mut inputs = Vec::new();
    let mut next_position = None;
    for event in events {
        match event {
            JobEvent::Token { id, position } => {
                match inputs.last_mut() {
                    Some(Input::RunTokens { ids, .. }) if next_position == Some(position) => ids.push(id),
                    Some(_) | None => inputs.push(Input::RunTokens {
                        run,
                        position,
                        ids: vec![id],
                    }),
                }
                next_position = position.checked_add(1);
            }
            JobEvent::Finished(reason) => {
                let reason = Some(reason);
                inputs.push(Input::RunEnded { run, reason });
                return (inputs, true);
            }
        }
    }
    (inputs, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runner::FinishReason;

    #[test]
    fn neighbours_are_joined_and_gaps_are_kept_apart() {
        let token = |id, position| JobEvent::Token { id, position };
        let run = RunId(3);
        let events = [
            token(7, 4),
            token(8, 5),
            token(9, 9),
            JobEvent::Finished(FinishReason::Stop),
            token(1, 10),
        ];
        let tokens = |position, ids: &[u32]| Input::RunTokens {
            run,
            position,
            ids: ids.to_vec(),
        };
        let ended = Input::RunEnded {
            run,
            reason: Some(FinishReason::Stop),
        };
        assert_eq!(
            inputs_of(run, events.into_iter()),
            (vec![tokens(4, &[7, 8]), tokens(9, &[9]), ended], true)
        );
    }

    #[tokio::test]
    async fn a_sink_that_closes_without_a_last_word_ends_the_job() {
        let (sender, mut receiver) = mpsc::channel(4);
        let (sink, events) = mpsc::channel(4);
        drop(sink);
        forward(RunId(1), events, sender).await;
        let ended = Input::RunEnded {
            run: RunId(1),
            reason: None,
        };
        assert_eq!(receiver.recv().await, Some(ended));
    }
}
