//! An engine's state at one record, so that a restart need not replay what was before.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `ATLSNAP` and a line feed |
//! | 8 | 4 | format: 1 |
//! | 12 | 16 | the journal's id |
//! | 28 | 8 | sequence |
//! | 36 | 32 | the chain after that record |
//! | 68 | 8 | size of the state |
//! | 76 | 4 | CRC-32C of the state |
//! | 80 | 4 | CRC-32C of bytes 0 to 79 |
//! | 84 | | the state, as `matcher::Engine::snapshot` wrote it |

use std::path::Path;

use domain::{Digest, Sequence};

use super::error::JournalError;
use super::genesis::JournalId;

/// The newest snapshots are all kept: one serves a restart, the others when it is damaged.
pub const SNAPSHOTS_KEPT: usize = 4;

pub(super) const ENDING: &str = ".snapshot";
const MAGIC: &[u8; 8] = b"ATLSNAP\n";
const FORMAT: u32 = 1;
const HEADER_SIZE: usize = 84;

/// An engine's state at one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record that is part of it.
    pub sequence: Sequence,
    /// The chain after that record.
    pub chain: Digest,
    /// What `matcher::Engine::snapshot` wrote.
    pub state: Vec<u8>,
}

pub(super) fn name(sequence: Sequence) -> String {
    format!("{:020}{ENDING}", sequence.get())
}

/// Which snapshots, newest first, are not worth their place: those beyond the newest few without which the gap between
/// their neighbours is small beside its distance. What stays grows with the logarithm of the journal.
pub(super) fn superfluous(newest_first: &[Sequence]) -> Vec<Sequence> {
    let newest = newest_first.first().copied().unwrap_or_default();
    let age = |snapshot: Sequence| newest.get() - snapshot.get();
    let mut superfluous = Vec::new();
    let mut kept = newest;
    for (index, snapshot) in newest_first.iter().copied().enumerate() {
        let before = newest_first.get(index + 1).copied();
        let is_close = |before| age(before).saturating_mul(2) <= age(kept).saturating_mul(3);
        if index >= SNAPSHOTS_KEPT && before.is_some_and(is_close) {
            superfluous.push(snapshot);
        } else {
            kept = snapshot;
        }
    }
    superfluous
}

pub(super) fn encode(snapshot: &Snapshot, journal: JournalId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_SIZE + snapshot.state.len());
    let size = u64::try_from(snapshot.state.len()).expect("a usize fits 64 bits");
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&journal.0);
    bytes.extend_from_slice(&snapshot.sequence.get().to_le_bytes());
    bytes.extend_from_slice(snapshot.chain.as_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&snapshot.state).to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&snapshot.state);
    bytes
}

pub(super) fn decode(
    path: &Path,
    bytes: &[u8],
    journal: JournalId,
    sequence: Sequence,
) -> Result<Snapshot, JournalError> {
    let bad = |what| JournalError::Snapshot {
        path: path.to_owned(),
        what,
    };
    let Some((header, state)) = bytes.split_at_checked(HEADER_SIZE) else {
        return Err(bad("it is cut short"));
    };
    if &header[..8] != MAGIC || header[8..12] != FORMAT.to_le_bytes() {
        return Err(bad("it does not begin as a snapshot that this program reads"));
    }
    if header[80..84] != crc32c::crc32c(&header[..80]).to_le_bytes() {
        return Err(bad("its header's checksum does not match"));
    }
    if header[12..28] != journal.0 || header[28..36] != sequence.get().to_le_bytes() {
        return Err(bad("it belongs to another journal or another record"));
    }
    let size = u64::from_le_bytes(header[68..76].try_into().expect("eight bytes"));
    if u64::try_from(state.len()) != Ok(size) {
        return Err(bad("it is cut short"));
    }
    if header[76..80] != crc32c::crc32c(state).to_le_bytes() {
        return Err(bad("its checksum does not match"));
    }
    let chain = <[u8; 32]>::try_from(&header[36..68]).expect("32 bytes");
    Ok(Snapshot {
        sequence,
        chain: Digest::new(chain),
        state: state.to_vec(),
    })
}
