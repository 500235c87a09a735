//! The embedded journal: a folder of segments with one writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{Sequence, ShardId};
use matcher::Limits;

use super::archive::FileArchive;
use super::batch::Batch;
use super::error::{AppendError, JournalError};
use super::genesis::Genesis;
use super::record::frame;
use super::records::{Records, Tail};
use super::segment::{self, RECORDS_START, SegmentHeader, UNFINISHED};
use super::spare::{Space, Spare};
use super::storage::{FolderLock, Storage, StorageFile};
use super::{Archive, Journal, Position};

/// The size of a segment: a hundred thousand commands, and a few milliseconds to write beforehand.
pub const SEGMENT_BYTES: usize = 16 * 1_024 * 1_024;

const LOCK: &str = "lock";

/// How a journal is opened.
#[derive(Clone, Copy, Debug)]
pub struct FileJournalOptions {
    /// Whose journal a new one is.
    pub shard: ShardId,
    /// The bounds of the engine of a new journal; one that exists keeps its own.
    pub limits: Limits,
    /// The size of new segments.
    pub segment_bytes: usize,
    /// When they are made.
    pub preparation: Preparation,
}

/// When segments are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preparation {
    /// While the one before fills, on a thread of its own.
    #[default]
    Ahead,
    /// When the one before is full, by the append that needs it: in a test of a faulty disk, a seed then always fails
    /// the same write.
    WhenNeeded,
}

impl Default for FileJournalOptions {
    fn default() -> Self {
        Self {
            shard: ShardId::new(0),
            limits: Limits::default(),
            segment_bytes: SEGMENT_BYTES,
            preparation: Preparation::default(),
        }
    }
}

/// A folder of segments, held by one writer.
#[derive(Debug)]
pub struct FileJournal {
    archive: FileArchive,
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    genesis: Genesis,
    segment_bytes: usize,
    position: Position,
    segment: Box<dyn StorageFile>,
    /// Where the next record goes, and where the segment ends.
    offset: usize,
    size: usize,
    buffer: Vec<u8>,
    state: WriterState,
    /// Goes before the lock, for its thread writes to the folder.
    spare: Option<Spare>,
    _lock: Box<dyn FolderLock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriterState {
    Sound,
    Failed,
}

impl FileJournal {
    /// Opens the journal in a folder, or begins one in an empty folder. Cuts off a torn tail.
    ///
    /// # Errors
    /// When another process has it, it is damaged, or the file system refuses.
    pub fn open(
        storage: Arc<dyn Storage>,
        folder: &Path,
        options: FileJournalOptions,
    ) -> Result<Self, JournalError> {
        let fail = |doing| {
            move |source| JournalError::Io {
                doing,
                path: folder.to_owned(),
                source,
            }
        };
        storage.create_folder(folder).map_err(fail("create"))?;
        let lock = storage.lock(&folder.join(LOCK)).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                return JournalError::InUse {
                    folder: folder.to_owned(),
                };
            }
            fail("lock")(error)
        })?;
        remove_unfinished(storage.as_ref(), folder)?;
        let genesis = genesis(storage.as_ref(), folder, options)?;
        let (segment, tail) = last_segment(&storage, folder, &genesis, options.segment_bytes)?;
        let spare = match options.preparation {
            Preparation::Ahead => Some(Spare::start(
                Arc::clone(&storage),
                folder.to_owned(),
                options.segment_bytes,
            )?),
            Preparation::WhenNeeded => None,
        };
        Ok(Self {
            archive: FileArchive::new(Arc::clone(&storage), folder.to_owned(), genesis),
            storage,
            folder: folder.to_owned(),
            genesis,
            segment_bytes: options.segment_bytes,
            position: Position {
                sequence: tail.sequence,
                chain: tail.chain,
            },
            segment,
            offset: tail.offset,
            size: tail.size,
            buffer: Vec::new(),
            state: WriterState::Sound,
            spare,
            _lock: lock,
        })
    }

    /// Begins a new segment. All before it is durable.
    fn roll(&mut self, size_min: usize) -> Result<(), JournalError> {
        let size = self.segment_bytes.max(RECORDS_START + size_min);
        let header = SegmentHeader {
            journal: self.genesis.journal,
            first: self.position.sequence.next(),
            chain: self.position.chain,
            size,
        };
        self.segment = match &self.spare {
            Some(spare) if size == self.segment_bytes => {
                segment::install(self.storage.as_ref(), &self.folder, &header, spare.take()?)?
            }
            Some(_) | None => segment::create(self.storage.as_ref(), &self.folder, &header)?,
        };
        self.offset = RECORDS_START;
        self.size = size;
        Ok(())
    }

    fn write(&mut self) -> Result<(), JournalError> {
        if self.offset + self.buffer.len() > self.size {
            self.roll(self.buffer.len())?;
        }
        let path = || self.folder.clone();
        self.segment
            .write_at(segment::offset(self.offset), &self.buffer)
            .map_err(|source| JournalError::Io {
                doing: "write to a segment in",
                path: path(),
                source,
            })?;
        self.segment.sync().map_err(|source| JournalError::Io {
            doing: "sync a segment in",
            path: path(),
            source,
        })
    }
}

impl Journal for FileJournal {
    fn position(&self) -> Position {
        self.position
    }

    fn append(&mut self, expected: Sequence, batch: &Batch) -> Result<Position, AppendError> {
        if self.state == WriterState::Failed {
            return Err(AppendError::Failed);
        }
        let Some(first) = batch.first() else {
            return Ok(self.position);
        };
        if expected != self.position.sequence || first != expected.next() {
            return Err(AppendError::OutOfOrder {
                last: self.position.sequence,
                found: expected,
            });
        }
        self.buffer.clear();
        let mut position = self.position;
        for payload in batch.payloads() {
            let sequence = position.sequence.next();
            let chain = frame(&mut self.buffer, sequence, expected, position.chain, payload);
            position = Position { sequence, chain };
        }
        if let Err(source) = self.write() {
            self.state = WriterState::Failed;
            return Err(AppendError::Write {
                sequence: first,
                source: Box::new(source),
            });
        }
        self.offset += self.buffer.len();
        self.position = position;
        Ok(position)
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(self.archive.clone())
    }

    fn space(&self) -> Space {
        self.spare.as_ref().map(Spare::space).unwrap_or_default()
    }
}

/// Writes a file that is either there as a whole or not at all.
pub(super) fn write_whole(
    storage: &dyn Storage,
    folder: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), JournalError> {
    let path = folder.join(name);
    let unfinished = folder.join(format!("{name}{UNFINISHED}"));
    let fail = |doing| {
        let path = path.clone();
        move |source| JournalError::Io { doing, path, source }
    };
    let file = storage.create(&unfinished).map_err(fail("create"))?;
    let written = file.write_at(0, bytes).and_then(|()| file.sync());
    if let Err(error) = written {
        // On a full disk, half a file is in the way of everybody.
        drop(storage.remove(&unfinished));
        return Err(fail("write")(error));
    }
    storage.rename(&unfinished, &path).map_err(fail("rename"))?;
    storage.sync_folder(folder).map_err(fail("sync the folder of"))
}

/// Removes what a crash left of files that were never whole.
fn remove_unfinished(storage: &dyn Storage, folder: &Path) -> Result<(), JournalError> {
    let fail = |doing| {
        move |source| JournalError::Io {
            doing,
            path: folder.to_owned(),
            source,
        }
    };
    for name in storage.list(folder).map_err(fail("list"))? {
        if name.ends_with(UNFINISHED) {
            storage
                .remove(&folder.join(name))
                .map_err(fail("remove an unfinished file from"))?;
        }
    }
    Ok(())
}

fn genesis(
    storage: &dyn Storage,
    folder: &Path,
    options: FileJournalOptions,
) -> Result<Genesis, JournalError> {
    if let Some(genesis) = Genesis::read(storage, folder)? {
        return Ok(genesis);
    }
    if !segment::list(storage, folder)?.is_empty() {
        return Err(JournalError::Genesis {
            path: folder.to_owned(),
            what: "there are segments, but no journal.json".to_owned(),
        });
    }
    Genesis::create(storage, folder, options.shard, options.limits)
}

/// Opens the last segment at its tail, or makes the first.
fn last_segment(
    storage: &Arc<dyn Storage>,
    folder: &Path,
    genesis: &Genesis,
    segment_bytes: usize,
) -> Result<(Box<dyn StorageFile>, Tail), JournalError> {
    let Some(first) = segment::list(storage.as_ref(), folder)?.last().copied() else {
        let size = segment_bytes.max(RECORDS_START);
        let header = SegmentHeader {
            journal: genesis.journal,
            first: Sequence::ZERO.next(),
            chain: genesis.chain(),
            size,
        };
        let file = segment::create(storage.as_ref(), folder, &header)?;
        let tail = Tail {
            first: header.first,
            sequence: Sequence::ZERO,
            chain: header.chain,
            offset: RECORDS_START,
            size,
            torn: None,
        };
        return Ok((file, tail));
    };
    let records = Records::new(Arc::clone(storage), folder.to_owned(), genesis.journal, [first]);
    let tail = records.tail()?;
    let path = segment::path(folder, tail.first);
    let fail = |doing| {
        let path = path.clone();
        move |source| JournalError::Io { doing, path, source }
    };
    let file = storage.open(&path).map_err(fail("open"))?;
    if let Some(torn_end) = tail.torn {
        tracing::warn!(
            sequence = tail.sequence.get(),
            offset = tail.offset,
            torn_bytes = torn_end - tail.offset,
            "cut off the torn end of the journal: a crash came before it was acknowledged"
        );
        segment::write_zeros(file.as_ref(), tail.offset, torn_end).map_err(fail("write"))?;
        file.sync().map_err(fail("sync"))?;
    }
    Ok((file, tail))
}
