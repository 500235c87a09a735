//! What keeps a journal short: snapshots while it runs, and giving up what nobody needs any more.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use domain::{Sequence, Timestamp};
use matcher::Engine;

use super::replay::Released;
use super::{Retention, Upkeep};
use crate::journal::{Archive, JournalError, Position, Snapshot};

/// Takes snapshots on a thread of its own, one at a time.
pub(super) struct Upkeeper {
    archive: Arc<dyn Archive>,
    upkeep: Upkeep,
    released: Released,
    /// The newest snapshot that was begun.
    snapshotted: Sequence,
    thread: Option<JoinHandle<()>>,
}

impl Upkeeper {
    pub(super) fn new(
        archive: Arc<dyn Archive>,
        upkeep: Upkeep,
        released: Released,
        from_snapshot: Option<Sequence>,
    ) -> Self {
        Self {
            archive,
            upkeep,
            released,
            snapshotted: from_snapshot.unwrap_or_default(),
            thread: None,
        }
    }

    /// Starts a snapshot, unless it is too early or one is still being written.
    pub(super) fn snapshot_if_due(&mut self, engine: &Engine, position: Position) {
        let commands = position.sequence.get() - self.snapshotted.get();
        let is_busy = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if commands < self.upkeep.commands_per_snapshot || is_busy {
            return;
        }
        self.snapshotted = position.sequence;
        let engine = engine.clone();
        let archive = Arc::clone(&self.archive);
        let (retention, released) = (self.upkeep.retention, self.released.clone());
        let thread = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            write_snapshot(archive.as_ref(), &engine, position);
            give_up(archive.as_ref(), retention, engine.now(), released.through());
        });
        match thread {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => tracing::error!(%error, "could not start a snapshot"),
        }
    }

    /// Takes a last snapshot, so that the next start has nothing to replay.
    pub(super) fn finish(self, engine: &Engine, position: Position) {
        if let Some(thread) = self.thread {
            // A panic there leaves an unfinished file, which the next start removes.
            drop(thread.join());
        }
        if position.sequence > self.snapshotted {
            write_snapshot(self.archive.as_ref(), engine, position);
        }
    }
}

/// A snapshot that cannot be written costs time at the next start, and nothing else.
fn write_snapshot(archive: &dyn Archive, engine: &Engine, position: Position) {
    let snapshot = Snapshot {
        sequence: position.sequence,
        chain: position.chain,
        state: engine.snapshot(),
    };
    if let Err(error) = archive.write_snapshot(&snapshot) {
        let error: &dyn std::error::Error = &error;
        tracing::error!(
            sequence = position.sequence.get(),
            error,
            "could not write a snapshot: the next start replays more"
        );
    }
}

/// Removes what is older than it need be and released by every reader.
fn give_up(archive: &dyn Archive, retention: Retention, now: Timestamp, released: Sequence) {
    let Retention::For(span) = retention else {
        return;
    };
    let give_up = || -> Result<usize, JournalError> {
        let full = archive.full_before(now.before(span))?;
        archive.retain_from(full.min(released))
    };
    match give_up() {
        Ok(0) => {}
        Ok(segments) => tracing::info!(segments, "gave up the oldest part of the journal"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "could not give up the oldest part of the journal");
        }
    }
}
