//! The past, once more: what the engine did to each command, worked out again from the journal.
//!
//! The outbox needs every `LeaseEnded` after billing's cursor. At start it replays from there to the sequence that
//! the recovery reports, then goes on with its subscription, which begins with the next one. The replay starts from
//! the newest snapshot at or below the cursor, so it costs about as much as what it yields.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{Sequence, Timestamp};
use matcher::{Engine, Stamped};

use super::Applied;
use super::recovery::{ApplyError, Beginning, Poisoned, apply_while, begin, begin_by, begin_near};
use crate::journal::{Archive, FileArchive, JournalError, Records};

/// A past that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read or trusted.
    #[error("could not read the journal again")]
    Journal(#[from] JournalError),
    /// A command that the engine panics over.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The journal ends before the sequence that was asked for.
    #[error("the journal ends at record {last}, before record {to}")]
    Ends {
        /// Where it ends.
        last: Sequence,
        /// What was asked for.
        to: Sequence,
    },
}

impl From<ApplyError> for ReplayError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Journal(error) => Self::Journal(error),
            ApplyError::Poisoned(error) => Self::Poisoned(error),
        }
    }
}

/// Replays a journal, also while the sequencer writes it.
#[derive(Clone)]
pub struct Replay {
    archive: Arc<dyn Archive>,
    released: Released,
}

/// How far readers have released the past.
#[derive(Clone, Debug, Default)]
pub(super) struct Released(Arc<AtomicU64>);

impl Released {
    pub(super) fn through(&self) -> Sequence {
        Sequence::new(self.0.load(Ordering::Relaxed))
    }
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
        Self {
            archive,
            released: Released::default(),
        }
    }

    pub(super) fn released(&self) -> Released {
        self.released.clone()
    }

    /// Says that nothing at or before `sequence` will be asked for any more, not after a restart either. Until this is
    /// called, nothing is given up; see [`Retention`](super::Retention).
    pub fn release(&self, sequence: Sequence) {
        self.released.0.fetch_max(sequence.get(), Ordering::Relaxed);
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
        take: impl FnMut(Applied) -> ControlFlow<()>,
    ) -> Result<(), ReplayError> {
        if after >= to {
            return Ok(());
        }
        let Beginning { engine, records, .. } = begin(self.archive.as_ref(), after)?;
        show(engine, records, Span { after, to }, take)
    }
}

/// The commands that somebody wants to see.
#[derive(Clone, Copy)]
struct Span {
    after: Sequence,
    to: Sequence,
}

/// Applies `records` and shows those of `span`.
fn show(
    mut engine: Engine,
    records: Records,
    span: Span,
    mut take: impl FnMut(Applied) -> ControlFlow<()>,
) -> Result<(), ReplayError> {
    let Span { after, to } = span;
    let mut is_enough = engine.sequence() >= to;
    if is_enough {
        return Ok(());
    }
    apply_while(
        &mut engine,
        records,
        |stamped| stamped.sequence <= to,
        |stamped, events| {
            if stamped.sequence <= after {
                return ControlFlow::Continue(());
            }
            let taken = take(Applied {
                sequence: stamped.sequence,
                at: stamped.at,
                command: Arc::new(stamped.command.clone()),
                events: events.into(),
            });
            is_enough = taken.is_break() || stamped.sequence == to;
            if is_enough { ControlFlow::Break(()) } else { taken }
        },
    )?;
    if is_enough {
        return Ok(());
    }
    Err(ReplayError::Ends {
        last: engine.sequence(),
        to,
    })
}

impl Replay {
    /// Calls `take` with every command from about `after` on up to `to`, until it breaks: from the newest snapshot at or
    /// below `after`, or from the oldest that there is if the journal was cut behind it. So `take` is asked at every
    /// command that is applied, and a reader who has to end does not wait.
    ///
    /// # Errors
    /// When the journal cannot be read, is damaged, or ends before `to`.
    pub fn recent(
        &self,
        after: Sequence,
        to: Sequence,
        take: impl FnMut(Applied) -> ControlFlow<()>,
    ) -> Result<(), ReplayError> {
        let Beginning { engine, records, .. } = begin_near(self.archive.as_ref(), after)?;
        show(
            engine,
            records,
            Span {
                after: Sequence::ZERO,
                to,
            },
            take,
        )
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

/// A moment in the life of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its end, as far as it is written.
    End,
    /// After this command.
    Sequence(Sequence),
    /// After the last command that is not later than this.
    Time(Timestamp),
}

/// The engine as it was at a moment, also while the sequencer writes the journal.
///
/// # Errors
/// When the journal cannot be read, is damaged, or ends before the sequence that was asked for.
pub fn engine_at(archive: &dyn Archive, moment: Moment) -> Result<Engine, ReplayError> {
    let (last, time) = match moment {
        Moment::End => (Sequence::new(u64::MAX), Timestamp::MAX),
        Moment::Sequence(last) => (last, Timestamp::MAX),
        Moment::Time(time) => (Sequence::new(u64::MAX), time),
    };
    let Beginning {
        mut engine, records, ..
    } = begin_by(archive, last, time)?;
    if engine.sequence() < last {
        // Nothing beyond the moment is asked for: what is wrong there is of no matter here.
        let until = |stamped: &Stamped| {
            if stamped.sequence < last {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let is_wanted = |stamped: &Stamped| stamped.at <= time;
        apply_while(&mut engine, records, is_wanted, |stamped, _| until(stamped))?;
    }
    match moment {
        Moment::Sequence(to) if engine.sequence() < to => Err(ReplayError::Ends {
            last: engine.sequence(),
            to,
        }),
        Moment::End | Moment::Sequence(_) | Moment::Time(_) => Ok(engine),
    }
}
