//! Walks the records of a journal, over all its segments, checking each.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{Digest, Sequence};
use matcher::Stamped;

use super::ahead::ReadAhead;
use super::error::JournalError;
use super::genesis::JournalId;
use super::record::{Found, find};
use super::segment::{self, RECORDS_START, SegmentHeader};
use super::storage::Storage;

/// A record that checks out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The command, with its place and time.
    pub stamped: Stamped,
    /// The chain after it.
    pub chain: Digest,
}

/// The records of a journal, in order. Ends where the journal ends; after an error, ends.
#[derive(Debug)]
pub struct Records {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    journal: JournalId,
    /// Segments that are still to be read.
    segments: VecDeque<Sequence>,
    segment: Option<OpenSegment>,
    /// Memory of the segment before, for the next.
    spare: Vec<u8>,
    /// The last record that was passed.
    sequence: Sequence,
    chain: Digest,
}

#[derive(Debug)]
struct OpenSegment {
    path: PathBuf,
    bytes: Vec<u8>,
    offset: usize,
}

impl OpenSegment {
    /// Reads the file again, and says whether what was still to be read has changed.
    fn has_grown(&mut self, storage: &dyn Storage) -> Result<bool, JournalError> {
        let now = storage.read(&self.path).map_err(|source| JournalError::Io {
            doing: "read",
            path: self.path.clone(),
            source,
        })?;
        let has_grown = now.get(self.offset..) != self.bytes.get(self.offset..);
        self.bytes = now;
        Ok(has_grown)
    }
}

/// What is left of the last segment behind its last whole record.
#[derive(Debug)]
pub(super) struct Tail {
    /// The segment's first sequence.
    pub(super) first: Sequence,
    /// The last whole record, or the one before the segment.
    pub(super) sequence: Sequence,
    pub(super) chain: Digest,
    /// Where the next record goes.
    pub(super) offset: usize,
    /// The segment's size.
    pub(super) size: usize,
    /// Whether something was torn there, and up to where.
    pub(super) torn: Option<usize>,
}

impl Records {
    /// The records of `segments`, from the first of them on.
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        folder: PathBuf,
        journal: JournalId,
        segments: impl IntoIterator<Item = Sequence>,
    ) -> Self {
        Self {
            storage,
            folder,
            journal,
            segments: segments.into_iter().collect(),
            segment: None,
            spare: Vec::new(),
            sequence: Sequence::ZERO,
            chain: Digest::new([0; 32]),
        }
    }

    /// The chain after the last record that was passed: at first, the one before the first record to come.
    #[must_use]
    pub fn chain_head(&self) -> Digest {
        self.chain
    }

    /// The same commands, read and checked by a thread of its own while the caller works on those before.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn read_ahead(self) -> Result<ReadAhead, JournalError> {
        ReadAhead::start(self)
    }

    /// Decodes up to `count` commands, fewer only at the end or before what is wrong.
    pub(super) fn decode_into(
        &mut self,
        commands: &mut Vec<Stamped>,
        count: usize,
    ) -> Result<(), JournalError> {
        for _ in 0..count {
            let sequence = self.sequence.next();
            let decoded = self.advance(|payload| {
                commands.push(decode(payload, sequence)?);
                Ok(())
            })?;
            if decoded.is_none() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Passes records up to and with `sequence`.
    pub(super) fn skip_to(&mut self, sequence: Sequence) -> Result<(), JournalError> {
        loop {
            let is_ready = self.segment.is_some() || self.open_next()?;
            if is_ready && self.sequence == sequence {
                return Ok(());
            }
            if !is_ready || self.advance(|_| Ok(()))?.is_none() {
                return Err(JournalError::Missing {
                    sequence: self.sequence.next(),
                    folder: self.folder.clone(),
                });
            }
        }
    }

    /// Walks to the end of one segment and says what is behind its last record.
    pub(super) fn tail(mut self) -> Result<Tail, JournalError> {
        let first = self
            .segments
            .front()
            .copied()
            .expect("a tail belongs to a segment");
        self.open_next()?;
        while self.advance(|_| Ok(()))?.is_some() {}
        let segment = self.segment.take().expect("the only segment stays open");
        let torn = segment.bytes[segment.offset..]
            .iter()
            .rposition(|byte| *byte != 0)
            .map(|last| segment.offset + last + 1);
        Ok(Tail {
            first,
            sequence: self.sequence,
            chain: self.chain,
            offset: segment.offset,
            size: segment.bytes.len(),
            torn,
        })
    }

    /// Opens the next segment, which must follow from what was read.
    fn open_next(&mut self) -> Result<bool, JournalError> {
        let Some(first) = self.segments.pop_front() else {
            return Ok(false);
        };
        let path = segment::path(&self.folder, first);
        let mut bytes = std::mem::take(&mut self.spare);
        let read = self.storage.read_into(&path, &mut bytes);
        read.map_err(|source| JournalError::Io {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        if self.segment.is_none() {
            self.chain = SegmentHeader::read(&path, &bytes, self.journal, first)?.chain;
            self.sequence = Sequence::new(first.get().saturating_sub(1));
        } else if self.sequence.next() != first {
            return Err(self.gap(&path, first));
        } else {
            let header = SegmentHeader::read(&path, &bytes, self.journal, first)?;
            if header.chain != self.chain {
                return Err(self.gap(&path, first));
            }
        }
        let opened = OpenSegment {
            path,
            bytes,
            offset: RECORDS_START,
        };
        if let Some(read) = self.segment.replace(opened) {
            self.spare = read.bytes;
        }
        Ok(true)
    }

    /// The segment before ended too early, or a whole segment is gone.
    fn gap(&self, next: &Path, first: Sequence) -> JournalError {
        let sequence = self.sequence.next();
        match &self.segment {
            Some(segment)
                if segment.bytes[segment.offset..].iter().any(|byte| *byte != 0) || sequence >= first =>
            {
                JournalError::Damaged {
                    sequence,
                    path: next.to_owned(),
                    offset: 0,
                    what: "the segment does not follow from the one before it",
                }
            }
            Some(_) | None => JournalError::Missing {
                sequence,
                folder: self.folder.clone(),
            },
        }
    }

    /// Passes one record; `None` at the end.
    fn advance<T>(
        &mut self,
        take: impl FnOnce(&[u8]) -> Result<T, JournalError>,
    ) -> Result<Option<T>, JournalError> {
        loop {
            let Some(segment) = &mut self.segment else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            let expected = self.sequence.next();
            let is_last = self.segments.is_empty();
            let broken = match find(&segment.bytes, segment.offset, expected, self.chain) {
                Found::Record { payload, chain, next } => {
                    let taken = take(payload)?;
                    segment.offset = next;
                    self.sequence = expected;
                    self.chain = chain;
                    return Ok(Some(taken));
                }
                Found::End => None,
                Found::Torn => Some(None),
                Found::Damaged { what } => Some(Some(what)),
            };
            let Some(damage) = broken else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            // Somebody may be writing there: what looks torn or damaged may be half of what he has written by now.
            if is_last && segment.has_grown(self.storage.as_ref())? {
                continue;
            }
            let what = match damage {
                Some(what) => what,
                None if is_last => return Ok(None),
                // Only the last segment can have a torn tail: the next is begun when all before it is durable.
                None => "it is not whole, and segments follow",
            };
            return Err(JournalError::Damaged {
                sequence: expected,
                path: segment.path.clone(),
                offset: segment::offset(segment.offset),
                what,
            });
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let sequence = self.sequence.next();
        let stamped = self.advance(|payload| decode(payload, sequence)).transpose()?;
        if stamped.is_err() {
            self.segments.clear();
            self.segment = None;
        }
        Some(stamped.map(|stamped| Record {
            stamped,
            chain: self.chain,
        }))
    }
}

fn decode(payload: &[u8], sequence: Sequence) -> Result<Stamped, JournalError> {
    match postcard::take_from_bytes::<Stamped>(payload) {
        Ok((stamped, [])) if stamped.sequence == sequence => Ok(stamped),
        Ok(_) | Err(_) => Err(JournalError::Malformed { sequence }),
    }
}
