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
pub(super) const FORMAT: u32 = 4;

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
    /// The whole file's.
    pub(super) size: usize,
}

impl SegmentHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORDS_START);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.journal.0);
        bytes.extend_from_slice(&self.first.get().to_le_bytes());
        bytes.extend_from_slice(self.chain.as_bytes());
        let size = u64::try_from(self.size).expect("a usize fits 64 bits");
        bytes.extend_from_slice(&size.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.resize(RECORDS_START, 0);
        bytes
    }

    /// Reads the header of the segment that begins with `first`, and checks that the file is as long as it was made.
    pub(super) fn read(
        path: &Path,
        segment: &[u8],
        journal: JournalId,
        first: Sequence,
    ) -> Result<Self, JournalError> {
        let damaged = |what| JournalError::Damaged {
            sequence: first,
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
        let size = u64::from_le_bytes(segment[68..76].try_into().expect("eight bytes"));
        let header = Self {
            journal,
            first,
            chain: Digest::new(segment[36..68].try_into().expect("32 bytes")),
            size: usize::try_from(size).unwrap_or(usize::MAX),
        };
        if segment[..RECORDS_START] != header.encode() {
            return Err(damaged(
                "the segment's header is not whole, or is that of another segment",
            ));
        }
        if segment.len() != header.size {
            return Err(damaged("the file is not as long as it was made"));
        }
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

/// Where the segment is that is made before it is needed: each in another place, for the one before may not have its
/// name yet.
pub(super) fn spare_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("spare-{number}{UNFINISHED}"))
}

/// Zeros are synced in such pieces, so that an append that syncs meanwhile does not wait for all of them.
const ZEROS_PER_SYNC: usize = 1_024 * 1_024;

/// A file of zeros that will be a segment. It is durable, its name does not count yet.
#[derive(Debug)]
pub(super) struct Prepared {
    file: Box<dyn StorageFile>,
    pub(super) path: PathBuf,
}

/// Writes the zeros of a segment of `size` bytes, durably. One that fails leaves nothing behind.
pub(super) fn prepare(storage: &dyn Storage, path: PathBuf, size: usize) -> Result<Prepared, JournalError> {
    let failed = |doing| {
        let path = path.clone();
        move |source| JournalError::Io { doing, path, source }
    };
    let write = |file: &dyn StorageFile| {
        let mut start = 0;
        while start < size {
            let end = size.min(start + ZEROS_PER_SYNC);
            write_zeros(file, start, end).map_err(failed("write"))?;
            file.sync().map_err(failed("sync"))?;
            start = end;
        }
        Ok(())
    };
    let file = storage.create(&path).map_err(failed("create"))?;
    if let Err(error) = write(file.as_ref()) {
        // On a full disk, half a segment is in the way of everybody.
        drop(storage.remove(&path));
        return Err(error);
    }
    Ok(Prepared { file, path })
}

/// Makes a prepared file the segment that `header` describes, durably.
pub(super) fn install(
    storage: &dyn Storage,
    folder: &Path,
    header: &SegmentHeader,
    prepared: Prepared,
) -> Result<Box<dyn StorageFile>, JournalError> {
    let Prepared { file, path: from } = prepared;
    let failed = |doing| {
        let path = from.clone();
        move |source| JournalError::Io { doing, path, source }
    };
    file.write_at(0, &header.encode()).map_err(failed("write"))?;
    file.sync().map_err(failed("sync"))?;
    let to = path(folder, header.first);
    storage.rename(&from, &to).map_err(failed("rename"))?;
    storage.sync_folder(folder).map_err(|source| JournalError::Io {
        doing: "sync",
        path: folder.to_owned(),
        source,
    })?;
    Ok(file)
}

/// Makes a segment, durably, there and then.
pub(super) fn create(
    storage: &dyn Storage,
    folder: &Path,
    header: &SegmentHeader,
) -> Result<Box<dyn StorageFile>, JournalError> {
    let unfinished = path(folder, header.first).with_extension("segment.unfinished");
    let prepared = prepare(storage, unfinished, header.size)?;
    install(storage, folder, header, prepared)
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
