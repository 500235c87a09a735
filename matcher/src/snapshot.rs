//! The whole state as versioned bytes.
//!
//! A snapshot is a header (magic, version, length, SHA-256 of what follows) and the state in postcard. The state names
//! things by their ids, in order, so it does not show how it was reached: an engine that was restored writes the same
//! bytes as the one that was saved, and the digest of the state is the state hash.
//!
//! Bytes are not trusted. A digest is checked first, then each value as it is decoded, then each reference, then the
//! whole restored engine by its audit. Memory grows with the bytes that are there, not with the lengths they claim.

mod load;
mod save;
mod state;

use domain::Digest;

use crate::engine::Engine;
use crate::snapshot::state::State;

const MAGIC: [u8; 8] = *b"ATOLLENG";

/// The version that this program writes and reads.
const VERSION: u32 = 3;

const HEADER_SIZE: usize = 8 + 4 + 8 + 32;

/// Bytes that are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes end too early, or go on after the end.
    #[error("the snapshot does not have the length that it states")]
    Truncated,
    /// The bytes do not begin as a snapshot does.
    #[error("these bytes are no snapshot of an engine")]
    Magic,
    /// A version that this program does not read.
    #[error("snapshot version {found} is not the one that this program reads")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The digest does not match the bytes.
    #[error("the snapshot is damaged: its digest does not match")]
    Digest,
    /// The bytes do not decode.
    #[error("the snapshot does not decode")]
    Malformed,
    /// The bytes decode to a state that cannot be.
    #[error("the snapshot holds a state that cannot be: {what}")]
    Inconsistent {
        /// What is wrong with it.
        what: String,
    },
}

impl Engine {
    /// A digest of the whole state: equal after equal commands.
    #[must_use]
    pub fn state_hash(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// The whole state as versioned bytes.
    ///
    /// # Panics
    /// Never: every value of the state can be written.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let state = self.encode();
        let size = u64::try_from(state.len()).expect("a size fits 64 bits");
        let mut bytes = Vec::with_capacity(HEADER_SIZE + state.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(Digest::of(&state).as_bytes());
        bytes.extend_from_slice(&state);
        bytes
    }

    /// The engine that a snapshot holds.
    ///
    /// # Errors
    /// When the bytes are not a whole and consistent snapshot of this version.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let state = State::load(open(bytes)?)?;
        let engine = load::engine(state)?;
        engine.audit().map_err(|error| SnapshotError::Inconsistent {
            what: error.to_string(),
        })?;
        Ok(engine)
    }

    fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(&save::state(self)).expect("every value of the state can be written")
    }
}

/// The state's bytes, if the header vouches for them.
fn open(bytes: &[u8]) -> Result<&[u8], SnapshotError> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(SnapshotError::Truncated)?;
    if *magic != MAGIC {
        return Err(SnapshotError::Magic);
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(SnapshotError::Truncated)?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(SnapshotError::Version { found: version });
    }
    let (size, rest) = rest.split_first_chunk::<8>().ok_or(SnapshotError::Truncated)?;
    let (digest, state) = rest.split_first_chunk::<32>().ok_or(SnapshotError::Truncated)?;
    if u64::try_from(state.len()) != Ok(u64::from_le_bytes(*size)) {
        return Err(SnapshotError::Truncated);
    }
    if Digest::of(state) != Digest::new(*digest) {
        return Err(SnapshotError::Digest);
    }
    Ok(state)
}
