//! What can go wrong with a journal, and what to do about it.

use std::io;
use std::path::PathBuf;

use domain::Sequence;

/// A journal that cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error(
        "the journal in {folder} is in use by another process; stop that one, or give this one another folder"
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The file system refused.
    #[error("could not {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The current segment is full, and the disk has no room for another.
    #[error(
        "no room for another segment in {folder}: free some space, then start again; nothing acknowledged is lost"
    )]
    NoSpace {
        /// The folder.
        folder: PathBuf,
    },
    /// The file that begins a journal is missing or does not read.
    #[error("{path} does not begin a journal: {what}; restore the folder from a copy")]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A format that this program does not read.
    #[error("{path} has format {found}, this program reads format {known}; run the program that wrote it")]
    Format {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format known.
        known: u32,
    },
    /// Bytes that no crash leaves behind.
    #[error(
        "record {sequence} is damaged, at byte {offset} of {path}: {what}; nothing was changed; \
         restore the folder from a copy, for what follows the damage was acknowledged"
    )]
    Damaged {
        /// The record that should be there.
        sequence: Sequence,
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A segment is gone.
    #[error("record {sequence} is missing: no segment in {folder} holds it; restore the folder from a copy")]
    Missing {
        /// The first record that is missing.
        sequence: Sequence,
        /// The folder.
        folder: PathBuf,
    },
    /// A snapshot that was cut short or damaged.
    #[error("the snapshot {path} is not whole: {what}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// Snapshots are only taken of durable records, so records have been lost.
    #[error(
        "the journal ends at record {last}, before its snapshot at {snapshot}: records are lost; \
         restore the folder from a copy"
    )]
    Lost {
        /// The last record.
        last: Sequence,
        /// The snapshot.
        snapshot: Sequence,
    },
    /// The chain at a snapshot is not the one that it was taken at.
    #[error(
        "the records up to {sequence} are not those that its snapshot was taken of; restore the folder from a copy"
    )]
    Diverged {
        /// The snapshot.
        sequence: Sequence,
    },
    /// A record that is whole but holds no command of this program.
    #[error(
        "record {sequence} holds a command that this program does not know; run the program that wrote it"
    )]
    Malformed {
        /// The record.
        sequence: Sequence,
    },
}

/// A batch that could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer was faster, or the batch has a gap.
    #[error("a batch after record {found} was appended to a journal that ends at {last}")]
    OutOfOrder {
        /// Where the journal ends.
        last: Sequence,
        /// What the batch was made to follow.
        found: Sequence,
    },
    /// The file system refused. Nothing of the batch may be acknowledged.
    #[error("could not make record {sequence} durable")]
    Write {
        /// The batch's first record.
        sequence: Sequence,
        /// Why not.
        #[source]
        source: Box<JournalError>,
    },
    /// An append failed before; what it left is only known after a restart.
    #[error("the journal failed before: restart to find out how far it goes")]
    Failed,
}
