//! The journal's full segments, read again from time to time while the exchange runs: a disk that forgets is noticed while
//! there is still a copy to restore from, and not by the restart that needs the record.
//!
//! Segment after segment, oldest first and round and round, each record's checksums and its place in the chain are
//! checked. What is damaged is logged, counted, and passed over; `atoll journal verify` names it too. The segment that is
//! being written is left alone, and so are those that retention gives up meanwhile.
//!
//! Deliberately absent: any mending, and any effect on what runs: the engine's state is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{Digest, Sequence};
use service::shutdown::Shutdown;

use crate::journal::{Archive as _, FileArchive, JournalError};

/// The longest pause between two segments: a short journal is gone through more often than it need be.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// What the checks have found since the start. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct JournalCheckCounts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    whole: AtomicU64,
    damaged: AtomicU64,
}

impl JournalCheckCounts {
    /// How many times a segment was read and found to be whole.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.0.whole.load(Ordering::Relaxed)
    }

    /// How many times one was found to be damaged, or could not be read.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.0.damaged.load(Ordering::Relaxed)
    }
}

/// Checks a journal, a segment at a time.
#[derive(Debug)]
pub struct JournalCheck {
    archive: FileArchive,
    /// How long going through all of it may take.
    period: Duration,
    counts: JournalCheckCounts,
    /// The last record of the segment before, and the chain after it if that is known.
    passed: Sequence,
    chain: Option<Digest>,
}

/// A full segment.
#[derive(Clone, Copy, Debug)]
struct Full {
    before: Sequence,
    last: Sequence,
}

/// What a look at one segment came to.
#[derive(Debug)]
pub enum Looked {
    /// It is whole, up to this record.
    Whole(Sequence),
    /// It is not, or it cannot be read.
    Damaged(JournalError),
    /// There is no full segment behind the one before, or retention has just given it up: begin anew.
    Nothing,
}

impl JournalCheck {
    /// A check that goes through all of `archive` in about `period`, again and again, and adds to `counts`.
    #[must_use]
    pub const fn new(archive: FileArchive, period: Duration, counts: JournalCheckCounts) -> Self {
        Self {
            archive,
            period,
            counts,
            passed: Sequence::ZERO,
            chain: None,
        }
    }

    /// Checks a segment from time to time, until it is told to stop.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.pause()) => {}
                () = shutdown.triggered() => return,
            }
            let looking = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looking.await {
                Ok(check) => self = check,
                Err(error) => return tracing::error!(%error, "the journal is no longer checked"),
            }
        }
    }

    fn pause(&self) -> Duration {
        // A folder that cannot be listed is told by the look.
        let count = self.full().map_or(1, |full| full.len().max(1));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.period.checked_div(count).unwrap_or_default().min(PAUSE_MAX)
    }

    /// Checks the next segment; after the last, the first. Blocks while it reads up to a segment.
    pub fn look(&mut self) -> Looked {
        let looked = self.look_at_next();
        match &looked {
            Looked::Whole(last) => {
                self.counts.0.whole.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(through = last.get(), "a segment of the journal is whole");
            }
            Looked::Damaged(error) => {
                self.counts.0.damaged.fetch_add(1, Ordering::Relaxed);
                let error: &dyn std::error::Error = error;
                tracing::error!(
                    error,
                    "the journal is damaged on disk: keep this process running, run `atoll journal verify` on a copy of the \
                     folder, and restore what it names"
                );
            }
            Looked::Nothing => {
                let (whole, damaged) = (self.counts.whole(), self.counts.damaged());
                tracing::info!(whole, damaged, "the journal's full segments were read again");
                (self.passed, self.chain) = (Sequence::ZERO, None);
            }
        }
        looked
    }

    fn look_at_next(&mut self) -> Looked {
        let full = match self.full() {
            Ok(full) => full,
            Err(error) => return Looked::Damaged(error),
        };
        let Some(segment) = full.into_iter().find(|full| full.before >= self.passed) else {
            return Looked::Nothing;
        };
        let follows = segment.before == self.passed;
        let expected = self.chain.take().filter(|_| follows);
        match walk(&self.archive, segment, expected) {
            Ok(chain) => {
                (self.passed, self.chain) = (segment.last, Some(chain));
                Looked::Whole(segment.last)
            }
            Err(_) if self.was_given_up(segment) => Looked::Nothing,
            Err(error) => {
                self.passed = segment.last;
                Looked::Damaged(error)
            }
        }
    }

    /// All segments but the one that is being written, oldest first.
    fn full(&self) -> Result<Vec<Full>, JournalError> {
        let before = |first: Sequence| Sequence::new(first.get().saturating_sub(1));
        let segments = self.archive.segments()?;
        let pairs = segments.windows(2).map(|pair| Full {
            before: before(pair[0].first),
            last: before(pair[1].first),
        });
        Ok(pairs.collect())
    }

    /// Whether retention has taken a segment meanwhile: it takes the oldest first, so one is left that begins later.
    fn was_given_up(&self, segment: Full) -> bool {
        let oldest = self.archive.segments().ok().and_then(|all| all.first().cloned());
        oldest.is_some_and(|oldest| oldest.first > segment.before.next())
    }
}

/// Reads a segment's records, each of which is checked; returns the chain after the last.
fn walk(archive: &FileArchive, segment: Full, expected: Option<Digest>) -> Result<Digest, JournalError> {
    let records = archive.read(segment.before)?;
    if expected.is_some_and(|chain| chain != records.chain_head()) {
        return Err(JournalError::Diverged {
            sequence: segment.before,
        });
    }
    let mut passed = segment.before;
    for record in records {
        let record = record?;
        passed = record.stamped.sequence;
        if passed == segment.last {
            return Ok(record.chain);
        }
    }
    Err(JournalError::Lost {
        last: passed,
        snapshot: segment.last,
    })
}
