//! The whole state as versioned bytes.

/// Bytes that are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes end too early.
    #[error("the snapshot is cut short")]
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
