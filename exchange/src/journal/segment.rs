//! A segment: one file of records, written full of zeros before its first record, so that an append changes no
//! metadata and what was not written is known to be zero.
//!
//! Its first sector is a header; records begin in the second. A segment appears under its name only when it is whole.

use std::path::{Path, PathBuf};

use domain::{Digest, Sequence};

use super::error::JournalError;
use super::genesis::JournalId;
use super::storage::{Storage, StorageFile};

/// Where the first record begins.
pub(super) const RECORDS_START: usize = 512;
pub(super) const FORMAT: u32 = 2;

const MAGIC: &[u8; 8] = b"ATLSEGM\n";
const ENDING: &str = ".segment";
/// How a file is called that is not whole yet.
pub(super) const UNFINISHED: &str = ".unfinished";
static ZEROS: [u8; 64 * 1_024] = [0; 64 * 1_024];

/// What a segment's first sector says.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentHeader {
    pub(super) journal: JournalId,
    /// The first record's sequence.
    pub(super) first: Sequence,
    /// The chain before the first record.
    pub(super) chain: Digest,
}

impl SegmentHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORDS_START);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.journal.0);
        bytes.extend_from_slice(&self.first.get().to_le_bytes());
        bytes.extend_from_slice(self.chain.as_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.resize(RECORDS_START, 0);
        bytes
    }

    /// Reads a segment's header and checks that it is the one that `expected` describes.
    pub(super) fn check(&self, path: &Path, segment: &[u8]) -> Result<(), JournalError> {
        let damaged = |what| JournalError::Damaged {
            sequence: self.first,
            path: path.to_owned(),
            offset: 0,
            what,
        };
        if segment.len() < RECORDS_START || &segment[..MAGIC.len()] != MAGIC {
            return Err(damaged("the file does not begin as a segment"));
        }
        let found = u32::from_le_bytes(segment[8..12].try_into().expect("four bytes"));
        if found != FORMAT {
            return Err(JournalError::Format {
                path: path.to_owned(),
                found,
                known: FORMAT,
            });
        }
        if segment[..RECORDS_START] != self.encode() {
            return Err(damaged("the segment does not follow from the one before it"));
        }
        Ok(())
    }

    /// Reads the chain that a segment says it begins with.
    pub(super) fn read(
        path: &Path,
        segment: &[u8],
        journal: JournalId,
        first: Sequence,
    ) -> Result<Self, JournalError> {
        let chain = segment
            .get(36..68)
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .unwrap_or_default();
        let header = Self {
            journal,
            first,
            chain: Digest::new(chain),
        };
        header.check(path, segment)?;
        Ok(header)
    }
}

/// Where the segment that begins with `first` is.
pub(super) fn path(folder: &Path, first: Sequence) -> PathBuf {
    folder.join(format!("{:020}{ENDING}", first.get()))
}

/// The first sequences of the segments in a folder, in order.
pub(super) fn list(storage: &dyn Storage, folder: &Path) -> Result<Vec<Sequence>, JournalError> {
    let names = storage.list(folder).map_err(|source| JournalError::Io {
        doing: "list",
        path: folder.to_owned(),
        source,
    })?;
    Ok(numbered(&names, ENDING))
}

/// The numbers of the names that end so, in order.
pub(super) fn numbered(names: &[String], ending: &str) -> Vec<Sequence> {
    let mut numbers: Vec<Sequence> = names
        .iter()
        .filter_map(|name| name.strip_suffix(ending))
        .filter(|digits| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|digits| digits.parse().ok().map(Sequence::new))
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Makes a segment of `size` bytes, durably.
pub(super) fn create(
    storage: &dyn Storage,
    folder: &Path,
    header: &SegmentHeader,
    size: usize,
) -> Result<Box<dyn StorageFile>, JournalError> {
    let path = path(folder, header.first);
    let unfinished = path.with_extension("segment.unfinished");
    let failed = |doing| {
        let path = unfinished.clone();
        move |source| JournalError::Io { doing, path, source }
    };
    let file = storage.create(&unfinished).map_err(failed("create"))?;
    write_zeros(file.as_ref(), RECORDS_START, size).map_err(failed("write"))?;
    file.write_at(0, &header.encode()).map_err(failed("write"))?;
    file.sync().map_err(failed("sync"))?;
    storage.rename(&unfinished, &path).map_err(failed("rename"))?;
    storage.sync_folder(folder).map_err(|source| JournalError::Io {
        doing: "sync",
        path: folder.to_owned(),
        source,
    })?;
    Ok(file)
}

/// Writes zeros over the bytes from `start` to `end`.
pub(super) fn write_zeros(file: &dyn StorageFile, start: usize, end: usize) -> std::io::Result<()> {
    let mut at = start;
    while at < end {
        let size = ZEROS.len().min(end - at);
        file.write_at(offset(at), &ZEROS[..size])?;
        at += size;
    }
    Ok(())
}

/// A place in a file.
pub(super) fn offset(at: usize) -> u64 {
    u64::try_from(at).expect("a usize fits 64 bits")
}
