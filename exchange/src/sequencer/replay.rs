//! The past, once more: what the engine did to each command, worked out again from the journal.
//!
//! The outbox needs every `LeaseEnded` after billing's cursor. At start it replays from there to the sequence that
//! the recovery reports, then goes on with its subscription, which begins with the next one. The replay starts from
//! the newest snapshot at or below the cursor, so it costs about as much as what it yields.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use domain::Sequence;

use super::Applied;
use super::recovery::begin;
use crate::journal::{Archive, FileArchive, JournalError};

/// A past that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read or trusted.
    #[error("could not read the journal again")]
    Journal(#[from] JournalError),
    /// The journal ends before the sequence that was asked for.
    #[error("the journal ends at record {last}, before record {to}")]
    Ends {
        /// Where it ends.
        last: Sequence,
        /// What was asked for.
        to: Sequence,
    },
}

/// Replays a journal, also while the sequencer writes it.
#[derive(Clone)]
pub struct Replay {
    archive: Arc<dyn Archive>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").finish_non_exhaustive()
    }
}

impl Replay {
    /// Replays from an archive.
    #[must_use]
    pub fn new(archive: Arc<dyn Archive>) -> Self {
        Self { archive }
    }

    /// Calls `take` with every command after `after` up to `to`, which is durable, until it breaks. Blocks: reading
    /// and applying a hundred thousand commands takes a good part of a second.
    ///
    /// # Errors
    /// When the journal cannot be read, is damaged, or ends before `to`.
    pub fn events(
        &self,
        after: Sequence,
        to: Sequence,
        mut take: impl FnMut(Applied) -> ControlFlow<()>,
    ) -> Result<(), ReplayError> {
        if after >= to {
            return Ok(());
        }
        let (mut engine, _) = begin(self.archive.as_ref(), after)?;
        let mut events = Vec::new();
        for record in self.archive.read(engine.sequence())? {
            let stamped = record?.stamped;
            events.clear();
            engine.apply(&stamped, &mut events);
            if stamped.sequence > after {
                let applied = Applied {
                    sequence: stamped.sequence,
                    at: stamped.at,
                    command: Arc::new(stamped.command),
                    events: events.as_slice().into(),
                };
                if take(applied).is_break() {
                    return Ok(());
                }
            }
            if engine.sequence() >= to {
                return Ok(());
            }
        }
        Err(ReplayError::Ends {
            last: engine.sequence(),
            to,
        })
    }
}

/// Replays the journal in a folder; see [`Replay::events`].
///
/// # Errors
/// When there is no journal, it cannot be read, is damaged, or ends before `to`.
pub fn replay_events(
    folder: &Path,
    after: Sequence,
    to: Sequence,
    take: impl FnMut(Applied) -> ControlFlow<()>,
) -> Result<(), ReplayError> {
    Replay::new(Arc::new(FileArchive::open(folder)?)).events(after, to, take)
}
