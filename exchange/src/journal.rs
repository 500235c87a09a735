//! The journal: every command, durable before anybody sees what it did.
//!
//! Owns the format and the rules of recovery (decision 0004). Invariants:
//! - records are dense in sequence and linked by a hash chain;
//! - what `append` has returned for survives a crash; what it has not may or may not;
//! - a torn tail, which a crash leaves, is cut off; anything else that is wrong stops the start and changes nothing.
//!
//! Deliberately absent: payloads of jobs, and any view on what a command means.

mod ahead;
mod archive;
mod batch;
mod error;
mod file;
mod genesis;
mod record;
mod records;
mod segment;
mod snapshot;
mod spare;
mod storage;

use std::sync::Arc;

use domain::{Digest, Sequence, Timestamp};
use matcher::Limits;

pub use ahead::ReadAhead;
pub use archive::{FileArchive, SegmentFile};
pub use batch::{BATCH_BYTES_MAX, Batch, PAYLOAD_BYTES_MAX, TooLarge};
pub use error::{AppendError, JournalError};
pub use file::{FileJournal, FileJournalOptions, Preparation, SEGMENT_BYTES};
pub use records::{Record, Records};
pub use snapshot::{SNAPSHOTS_KEPT, Snapshot};
pub use spare::Space;
pub use storage::{Disk, FolderLock, Storage, StorageFile};

/// How far a journal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last record's sequence, or zero.
    pub sequence: Sequence,
    /// The head of the hash chain after it.
    pub chain: Digest,
}

/// One writer's side of a journal.
pub trait Journal: Send {
    /// How far it goes; all of it is durable.
    fn position(&self) -> Position;

    /// Appends a batch whose first record follows `expected`; returns when all of it is durable.
    ///
    /// # Errors
    /// When the batch does not follow, or could not be made durable. After the latter nothing more can be appended:
    /// whether the records survive is only known after a restart.
    fn append(&mut self, expected: Sequence, batch: &Batch) -> Result<Position, AppendError>;

    /// What can be read of it, from any thread.
    fn archive(&self) -> Arc<dyn Archive>;

    /// Shows whether there is room for what comes.
    fn space(&self) -> Space;
}

/// All of a journal but its end, to any number of threads, while it is written.
pub trait Archive: Send + Sync {
    /// The bounds that its engine began with.
    fn limits(&self) -> Limits;

    /// The records after `after`. While the journal is written, a reader stops at a sequence that he knows to be
    /// durable.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged, or the journal does not reach `after`.
    fn read(&self, after: Sequence) -> Result<Records, JournalError>;

    /// The snapshots that there are, newest first, valid or not.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn snapshots(&self) -> Result<Vec<Sequence>, JournalError>;

    /// One snapshot.
    ///
    /// # Errors
    /// When it cannot be read or is not whole.
    fn snapshot(&self, sequence: Sequence) -> Result<Snapshot, JournalError>;

    /// Makes a snapshot durable, then thins out the older ones: the newest [`SNAPSHOTS_KEPT`] stay, and of those before
    /// them so many that a replay to any moment begins at most half as far again before it as it lies back.
    ///
    /// # Errors
    /// When it could not be written; the journal is as good as before.
    fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), JournalError>;

    /// The last record of the newest segment that was full before `at`, or zero.
    ///
    /// # Errors
    /// When a segment cannot be read, or its first record is damaged.
    fn full_before(&self, at: Timestamp) -> Result<Sequence, JournalError>;

    /// Gives up what no restart and no reader after `sequence` needs: the segments and snapshots before the newest
    /// valid snapshot at or below it. Returns how many segments went.
    ///
    /// # Errors
    /// When a file cannot be read or removed.
    fn retain_from(&self, sequence: Sequence) -> Result<usize, JournalError>;
}
