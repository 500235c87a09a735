//! What an Island signs: how much of which job it did, and the head of a hash chain over every id it emitted.
//!
//! Both ends of the link compute these bytes, so they are fixed here: big-endian integers in the order of the
//! fields, after a domain tag that keeps one kind of signature from being taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{JobId, LeaseEpoch, LeaseId, Price, Timestamp, TokenCount};

/// Opens the signed bytes of a receipt.
pub const RECEIPT_DOMAIN: &[u8] = b"atoll-receipt-v1\0";
/// Opens every link of the chain over emitted ids.
pub const TOKEN_CHAIN_DOMAIN: &[u8] = b"atoll-tokens-v1\0";

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of a sequence of token ids, each as four big-endian bytes: how a prompt is named in a receipt.
    #[must_use]
    pub fn of_tokens(ids: &[u32]) -> Self {
        let mut hasher = Sha256::new();
        for id in ids {
            hasher.update(id.to_be_bytes());
        }
        Self(hasher.finalize().into())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        <[u8; 32]>::try_from(bytes).ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The head of the chain over the ids that one lease emitted.
///
/// `head(0) = SHA-256(tag, lease, epoch)`, `head(n) = SHA-256(tag, head(n-1), id)`, integers big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainHead(Digest);

impl ChainHead {
    /// The head before the first id.
    #[must_use]
    pub fn start(lease: LeaseId, epoch: LeaseEpoch) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(TOKEN_CHAIN_DOMAIN);
        hasher.update(lease.get().to_be_bytes());
        hasher.update([epoch.get()]);
        Self(Digest(hasher.finalize().into()))
    }

    /// The head after one more id.
    #[must_use]
    pub fn extend(self, id: u32) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(TOKEN_CHAIN_DOMAIN);
        hasher.update(self.0.as_bytes());
        hasher.update(id.to_be_bytes());
        Self(Digest(hasher.finalize().into()))
    }

    /// Wraps a digest that came over the wire.
    #[must_use]
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub const fn digest(self) -> Digest {
        self.0
    }
}

/// Whether the Island goes on after signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReceiptKind {
    /// It goes on: what it is paid for if it vanishes.
    Checkpoint,
    /// It is done.
    Final,
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptBody {
    /// Whether the Island goes on.
    pub kind: ReceiptKind,
    /// The job.
    pub job: JobId,
    /// The lease under which it was done.
    pub lease: LeaseId,
    /// Which attempt at the job this was: the segment's number.
    pub epoch: LeaseEpoch,
    /// SHA-256 of the weights that ran.
    pub model: Digest,
    /// Digest of the prompt's token ids, what an earlier Island emitted included.
    pub prompt: Digest,
    /// Tokens read.
    pub prompt_tokens: TokenCount,
    /// Tokens emitted under this lease.
    pub output_tokens: TokenCount,
    /// Head of the chain over them.
    pub chain: ChainHead,
    /// When the Island began, by its own clock.
    pub started_at: Timestamp,
    /// When it signed, by its own clock.
    pub signed_at: Timestamp,
    /// The execution price it was told.
    pub price: Price,
}

impl ReceiptBody {
    /// The bytes that are signed: the tag, then every field in order, integers big-endian.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend_from_slice(RECEIPT_DOMAIN);
        bytes.push(match self.kind {
            ReceiptKind::Checkpoint => 0,
            ReceiptKind::Final => 1,
        });
        bytes.extend_from_slice(&self.job.get().to_be_bytes());
        bytes.extend_from_slice(&self.lease.get().to_be_bytes());
        bytes.push(self.epoch.get());
        bytes.extend_from_slice(self.model.as_bytes());
        bytes.extend_from_slice(self.prompt.as_bytes());
        bytes.extend_from_slice(&self.prompt_tokens.get().to_be_bytes());
        bytes.extend_from_slice(&self.output_tokens.get().to_be_bytes());
        bytes.extend_from_slice(self.chain.digest().as_bytes());
        bytes.extend_from_slice(&self.started_at.as_micros().to_be_bytes());
        bytes.extend_from_slice(&self.signed_at.as_micros().to_be_bytes());
        bytes.extend_from_slice(&self.price.get().to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_depends_on_lease_epoch_order_and_every_id() {
        let lease = LeaseId::new(1);
        let chain = |epoch, ids: &[u32]| {
            ids.iter()
                .fold(ChainHead::start(lease, LeaseEpoch::new(epoch)), |head, id| {
                    head.extend(*id)
                })
        };
        let head = chain(0, &[1, 2, 3]);
        assert_eq!(head, chain(0, &[1, 2, 3]));
        for other in [
            chain(1, &[1, 2, 3]),
            chain(0, &[1, 3, 2]),
            chain(0, &[1, 2]),
            chain(0, &[1, 2, 4]),
        ] {
            assert_ne!(head, other);
        }
    }

    #[test]
    fn a_digest_reads_back_from_hex() {
        let digest = Digest::of(b"atoll");
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("xyz"), None);
    }
}
