//! Runs all jobs of one model on one thread, in steps that they share.
//!
//! A step takes one row of every job that writes, and some rows of the oldest job that still reads.
//! Sharing changes the speed, never the result. Between two steps cancelled jobs end and waiting
//! ones begin, so a cancel is obeyed within one step. A job whose sink is full sits out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::cache::KvCache;
use super::llama::{Llama, Span, Wanted};
use crate::{ChatRequest, FinishReason, JobEvent};

/// Rows that a reading job gets per step when nobody writes: enough to amortise reading the
/// weights, few enough to obey a cancel within about a tenth of a second.
pub(super) const READ_ROWS_ALONE: usize = 32;
/// Rows that it gets while others write, so that their pace suffers little.
const READ_ROWS_SHARED: usize = 8;
/// How long to wait when every job's sink is full.
const FULL_SINK_PAUSE: Duration = Duration::from_millis(1);

/// A slot that is taken for as long as this lives.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicU32>);

impl Slot {
    /// Takes one of `slots`, or none if all are taken.
    pub(super) fn take(taken: &Arc<AtomicU32>, slots: u32) -> Option<Self> {
        let add = |count: u32| (count < slots).then(|| count.saturating_add(1));
        taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An accepted job on its way to the engine.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) request: ChatRequest,
    pub(super) sink: Sender<JobEvent>,
    pub(super) slot: Slot,
    /// The position of the first id to emit.
    pub(super) position: u32,
    /// How many ids may be emitted.
    pub(super) output_room: u32,
}

/// What a job is doing.
#[derive(Debug)]
enum State {
    /// Has ids that are not yet in its cache.
    Computing,
    /// Has an id that did not fit its sink.
    Emitting(u32),
    /// Has only its end to report.
    Ending(FinishReason),
    /// Has reported its end.
    Ended,
}

#[derive(Debug)]
struct Job {
    request: ChatRequest,
    sink: Sender<JobEvent>,
    slot: Option<Slot>,
    cache: KvCache,
    /// Prompt, resumed and emitted ids.
    ids: Vec<u32>,
    position: u32,
    output_room: u32,
    state: State,
}

/// Runs until the queue is closed and all jobs have ended, or `stopped` is set.
pub(super) fn run(model: &Llama, queue: &Receiver<Admitted>, stopped: &AtomicBool) {
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        if jobs.is_empty() {
            match queue.recv() {
                Ok(admitted) => jobs.push(Job::new(model, admitted)),
                Err(_) => return,
            }
        }
        admit(model, queue, &mut jobs);
        for job in &mut jobs {
            job.settle(stopped.load(Ordering::Acquire));
        }
        jobs.retain(|job| !matches!(job.state, State::Ended));
        if jobs.is_empty() {
            continue;
        }
        if !step(model, &mut jobs) {
            thread::sleep(FULL_SINK_PAUSE);
        }
    }
}

fn admit(model: &Llama, queue: &Receiver<Admitted>, jobs: &mut Vec<Job>) {
    loop {
        match queue.try_recv() {
            Ok(admitted) => jobs.push(Job::new(model, admitted)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
        }
    }
}

/// Computes one step; false if no job could take part.
fn step(model: &Llama, jobs: &mut [Job]) -> bool {
    let writing = jobs.iter().filter(|job| job.rows_left() == 1).count();
    let mut read_rows = match writing {
        0 => READ_ROWS_ALONE,
        _ => READ_ROWS_SHARED,
    };
    let mut members: Vec<&mut Job> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    for job in jobs.iter_mut() {
        let rows_left = job.rows_left();
        let count = match rows_left {
            0 | 1 => rows_left,
            _ => rows_left.min(read_rows),
        };
        if count == 0 {
            continue;
        }
        if rows_left > 1 {
            read_rows -= count;
        }
        members.push(job);
        counts.push(count);
    }
    if members.is_empty() {
        return false;
    }
    let mut spans: Vec<Span<'_>> = members
        .iter_mut()
        .zip(&counts)
        .map(|(job, &count)| job.span(count))
        .collect();
    match model.forward(&mut spans) {
        Ok(logits) => {
            let mut logits = logits.into_iter();
            for job in members {
                if job.rows_left() == 0 {
                    let logits = logits.next().expect("a span that wants logits gets them");
                    job.choose(&logits);
                }
            }
        }
        Err(error) => {
            for job in members {
                job.fail(error.to_string());
            }
        }
    }
    true
}

impl Job {
    fn new(model: &Llama, admitted: Admitted) -> Self {
        let Admitted {
            request,
            sink,
            slot,
            position,
            output_room,
        } = admitted;
        let mut ids = request.prompt.clone();
        ids.extend_from_slice(&request.resumed);
        let room = usize::try_from(output_room).unwrap_or(usize::MAX);
        let cache = model.new_cache(ids.len().saturating_add(room));
        Self {
            request,
            sink,
            slot: Some(slot),
            cache,
            ids,
            position,
            output_room,
            state: State::Computing,
        }
    }

    /// How many ids are not yet in the cache, if the job may compute.
    fn rows_left(&self) -> usize {
        match self.state {
            State::Computing => self.ids.len().saturating_sub(self.cache.length()),
            State::Emitting(_) | State::Ending(_) | State::Ended => 0,
        }
    }

    fn span(&mut self, count: usize) -> Span<'_> {
        let start = self.cache.length();
        let end = start.saturating_add(count);
        let wanted = match end == self.ids.len() {
            true => Wanted::Last,
            false => Wanted::Nothing,
        };
        Span {
            ids: &self.ids[start..end],
            cache: &mut self.cache,
            wanted,
        }
    }

    fn choose(&mut self, logits: &[f32]) {
        match self.request.sampling.choose(logits, self.position) {
            Err(error) => self.fail(error.to_string()),
            Ok(id) if self.request.stop_ids.contains(&id) => {
                self.state = State::Ending(FinishReason::Stop);
            }
            Ok(id) => self.state = State::Emitting(id),
        }
        self.settle(false);
    }

    fn fail(&mut self, message: String) {
        self.state = State::Ending(FinishReason::Failed { message });
    }

    /// Ends a cancelled job, and hands over what waits for room in the sink.
    fn settle(&mut self, stopped: bool) {
        let is_ending = matches!(self.state, State::Ending(_) | State::Ended);
        if (stopped || self.request.cancel.is_cancelled()) && !is_ending {
            self.state = State::Ending(FinishReason::Cancelled);
        }
        if self.sink.is_closed() {
            self.state = State::Ended;
        }
        if let State::Emitting(id) = self.state {
            self.emit(id);
        }
        if matches!(self.state, State::Ending(_)) {
            self.end(stopped);
        }
    }

    fn emit(&mut self, id: u32) {
        let position = self.position;
        match self.sink.try_send(JobEvent::Token { id, position }) {
            Err(TrySendError::Full(_)) => return,
            Err(TrySendError::Closed(_)) => {
                self.state = State::Ended;
                return;
            }
            Ok(()) => {}
        }
        self.ids.push(id);
        self.position = position.saturating_add(1);
        self.output_room = self.output_room.saturating_sub(1);
        self.state = match self.output_room {
            0 => State::Ending(FinishReason::Length),
            _ => State::Computing,
        };
    }

    /// Reports the end; the slot is free before anybody sees it.
    fn end(&mut self, stopped: bool) {
        let Ok(permit) = self.sink.try_reserve() else {
            // Whoever reads a full sink still learns of the end; a runner that stops cannot wait.
            if stopped {
                self.state = State::Ended;
            }
            return;
        };
        let State::Ending(reason) = std::mem::replace(&mut self.state, State::Ended) else {
            return;
        };
        drop(self.slot.take());
        permit.send(JobEvent::Finished(reason));
    }
}
