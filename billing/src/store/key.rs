//! API keys as they are asked for and as they are kept.
//!
//! A key and the successors that it was rotated into are one *line*: what is said of a line holds for each key of it.

use domain::{AccountId, KeyId, Timestamp};
use proto::convert::billing::{KeyScope, SpendingLimit};

use super::seal::Digest;

/// A secret that was just made, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSecret {
    /// How the secret begins, for people to tell keys apart.
    pub prefix: String,
    /// SHA-256 of the secret.
    pub sha256: [u8; 32],
}

/// What a key is asked for under, so that asking again gives the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// Chosen by the caller.
    pub id: String,
    /// A digest of everything else that was asked.
    pub body: Digest,
}

/// A key to make. Only the hash of its secret comes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Whose.
    pub owner: AccountId,
    /// A name for people.
    pub name: String,
    /// What it may be used for.
    pub scope: KeyScope,
    /// Its secret.
    pub secret: KeptSecret,
    /// What it is asked for under; without it, every change makes another key.
    pub request: Option<KeyRequest>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A key to be replaced by a successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key.
    pub key: KeyId,
    /// What the successor is asked for under; of this key alone.
    pub request: KeyRequest,
    /// The successor's secret.
    pub secret: KeptSecret,
    /// When the key itself stops working, unless it does before.
    pub old_expires_at: Timestamp,
    /// When the successor stops working; when the key would have, if not given.
    pub expires_at: Option<Timestamp>,
}

/// A key that is there, as a batch needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Whose.
    pub owner: AccountId,
    /// A name for people.
    pub name: String,
    /// What it may be used for.
    pub scope: KeyScope,
    /// The first key of its line.
    pub line: KeyId,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Its successor, and what that was asked for under.
    pub successor: Option<(KeyId, KeyRequest)>,
}

/// A key that is to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id.
    pub id: KeyId,
    /// What was asked for.
    pub key: NewKey,
    /// The first key of its line; none if it is itself.
    pub line: Option<KeyId>,
    /// The key whose successor it is.
    pub rotated_from: Option<KeyId>,
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// Whose.
    pub owner: AccountId,
    /// A name for people.
    pub name: String,
    /// What it may be used for.
    pub scope: KeyScope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// The first key of its line.
    pub line: KeyId,
    /// The key whose successor it is.
    pub rotated_from: Option<KeyId>,
    /// Its successor.
    pub rotated_to: Option<KeyId>,
    /// What may be spent with its line.
    pub limit: SpendingLimit,
}

/// What became of a request for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMade {
    /// Made now.
    Now(KeyId),
    /// Made before: what would have been its secret is not.
    Before(KeyId),
}

impl KeyMade {
    /// The key.
    #[must_use]
    pub const fn id(self) -> KeyId {
        match self {
            Self::Now(id) | Self::Before(id) => id,
        }
    }
}
