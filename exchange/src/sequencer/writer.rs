//! The journal's thread: it syncs a batch while the engine applies it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use domain::Sequence;

use super::running::SequencerError;
use crate::journal::{Batch, Journal, Position};

struct Job {
    expected: Sequence,
    batch: Batch,
}

struct Done {
    batch: Batch,
    result: Result<Position, SequencerError>,
}

/// The thread that owns the journal. One batch is under way at most.
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(mut journal: Box<dyn Journal>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let (report, done) = sync_channel::<Done>(1);
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || {
            while let Ok(Job { expected, batch }) = queue.recv() {
                let result = journal.append(expected, &batch).map_err(SequencerError::Journal);
                if report.send(Done { batch, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    /// Begins to make a batch durable.
    pub(super) fn begin(&self, expected: Sequence, batch: Batch) -> Result<(), SequencerError> {
        let jobs = self.jobs.as_ref().ok_or(SequencerError::Panicked)?;
        jobs.send(Job { expected, batch })
            .map_err(|_| SequencerError::Panicked)
    }

    /// Waits until the batch that was begun is durable; hands its memory back.
    pub(super) fn finish(&self) -> Result<(Position, Batch), SequencerError> {
        let Done { mut batch, result } = self.done.recv().map_err(|_| SequencerError::Panicked)?;
        let position = result?;
        batch.clear();
        Ok((position, batch))
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the journal's folder is free afterwards.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by `begin` or `finish`.
            drop(thread.join());
        }
    }
}
