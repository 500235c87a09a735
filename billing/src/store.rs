//! What billing keeps, whatever database keeps it.
//!
//! A [`LedgerStore`] commits batches of [`Change`]s and answers questions. All rules are in the `ledger` crate and in
//! [`plan`]: a store loads what a batch needs, lets the plan decide, and writes the rows that come out, in one
//! transaction. The database holds the same invariants by itself and refuses what breaks them.

pub mod plan;
pub mod sqlite;

use std::future::Future;
use std::sync::Arc;

use domain::{AccountId, Credits, KeyId, Sequence, ShardId, Timestamp, TransferId};
use ledger::{Applied, Owner, Refusal, Transfer};
use proto::convert::billing::{KeyScope, Settlement};

/// Why a store could not do what was asked: the world's fault or ours, never the user's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer: locked, full, gone.
    #[error("could not {doing}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A constraint or trigger of the database refused a row. Nothing of the batch was written.
    #[error("the database refused to {doing}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Which rule.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The database is damaged, or holds what no version of this program writes.
    #[error("the database is damaged: {what}")]
    Damaged {
        /// Where, and what is there.
        what: String,
    },
}

/// One thing to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make an owner with his accounts.
    OpenOwner {
        /// The key of idempotence.
        request_id: String,
        /// A name for people.
        display_name: String,
    },
    /// Book a journal.
    Book(Vec<Transfer>),
    /// Move what is there, up to `wanted`, to a reserved account, which is opened if need be.
    Reserve {
        /// The transfer; its amount does not count.
        order: Transfer,
        /// At least so much.
        minimum: Credits,
        /// At most so much.
        wanted: Credits,
    },
    /// Make a key.
    CreateKey(NewKey),
    /// Revoke a key.
    RevokeKey(KeyId),
    /// Settle an ended lease, or keep it with the reason why not.
    Settle(ShardSettlement),
    /// Keep a settlement that the database itself refused.
    KeepRefused(ShardSettlement, KeptRefusal),
    /// Note that a shard is settled through this command.
    MoveCursor(ShardId, Sequence),
    /// Move earnings from pending to available.
    Mature(Maturing),
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
    /// How the secret begins, for people to tell keys apart.
    pub prefix: String,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
}

/// A settlement with its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSettlement {
    /// The shard whose journal it comes from.
    pub shard: ShardId,
    /// What the exchange claims.
    pub settlement: Settlement,
}

/// Why a settlement was not booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRefusal {
    /// The stable code.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Earnings that have matured: those after one transfer's number, through another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maturing {
    /// Whose.
    pub owner: Owner,
    /// Where the earnings matured so far end.
    pub after: u64,
    /// Where these end.
    pub through: u64,
    /// What they come to.
    pub amount: Credits,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The owner, made now or before.
    Owner(AccountId),
    /// Booked now or before.
    Booked(Applied),
    /// Reserved so much, now or before.
    Reserved(Credits),
    /// The key.
    Key(KeyId),
    /// Revoked now or before.
    Revoked,
    /// Settled now or before.
    Settled,
    /// Not settled, and kept, or refused because what was settled before is different.
    SettlementRefused(KeptRefusal),
    /// Where the shard's cursor is.
    Cursor(Sequence),
    /// Refused; nothing changed.
    Rejected(Rejection),
}

/// Why a change was refused: the asker's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// By the rules of the ledger.
    #[error(transparent)]
    Ledger(#[from] Refusal),
    /// The request id was used before, for something else.
    #[error("the request id was used before, with another body")]
    RequestDiffers,
    /// No such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// No such key.
    #[error("there is no key {0}")]
    UnknownKey(KeyId),
    /// These earnings matured already, or do not follow those that did.
    #[error("these earnings do not follow those that matured before")]
    NotNextToMature,
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
}

/// A transfer as it was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedTransfer {
    /// Its place in the order of booking, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub transfer: Transfer,
}

/// What an owner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances {
    /// Free to spend or to reserve.
    pub available: Credits,
    /// Buying power on all shards.
    pub reserved: Credits,
    /// Earned and not yet matured.
    pub pending: Credits,
}

/// A transfer into a shard's reserved account, or, negative, out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationRecord {
    /// Its place in the order of booking.
    pub number: u64,
    /// The transfer.
    pub transfer: TransferId,
    /// Whose.
    pub owner: AccountId,
    /// How much; negative for a return.
    pub amount: Credits,
}

/// What a check of the books found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// What is wrong, a sentence each, the first hundred.
    pub findings: Vec<String>,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many transfers there are.
    pub transfers: u64,
    /// The sum over all accounts, which is zero.
    pub sum: i128,
    /// What the failover pool has.
    pub pool: Credits,
    /// What the exchange's fees have come to.
    pub fees: Credits,
    /// What is reserved, where.
    pub reserved: Vec<(AccountId, ShardId, Credits)>,
}

impl AuditReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A database with the books in it. One writer calls [`LedgerStore::commit`]; anybody may ask.
pub trait LedgerStore: Send + Sync + 'static {
    /// Writes all changes in one transaction, in order, or none of them. A refused change is an outcome and leaves
    /// the others alone. Durable when it returns.
    fn commit(
        &self,
        changes: &[Change],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Outcome>, StoreError>> + Send;

    /// Whose key has this hash, if it is not revoked.
    fn key_by_hash(
        &self,
        secret_sha256: [u8; 32],
    ) -> impl Future<Output = Result<Option<KeyRecord>, StoreError>> + Send;

    /// An owner's keys, oldest first; `None` if there is no such owner.
    fn keys_of(
        &self,
        owner: AccountId,
    ) -> impl Future<Output = Result<Option<Vec<KeyRecord>>, StoreError>> + Send;

    /// What an owner has; `None` if there is no such owner.
    fn balances(&self, owner: AccountId)
    -> impl Future<Output = Result<Option<Balances>, StoreError>> + Send;

    /// An owner's transfers before a number, newest first; `None` if there is no such owner.
    fn history(
        &self,
        owner: AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Vec<BookedTransfer>>, StoreError>> + Send;

    /// A shard's reservations and returns after a number, oldest first.
    fn reservations(
        &self,
        shard: ShardId,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ReservationRecord>, StoreError>> + Send;

    /// How far a shard is settled.
    fn cursor(&self, shard: ShardId) -> impl Future<Output = Result<Sequence, StoreError>> + Send;

    /// Earnings booked at or before `cutoff` that have not matured, summed by owner, at most `limit` owners.
    fn due(
        &self,
        cutoff: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Maturing>, StoreError>> + Send;

    /// Checks the books against themselves, at one instant.
    fn audit(&self) -> impl Future<Output = Result<AuditReport, StoreError>> + Send;

    /// Makes the database tidy and lets it go. Everything committed is durable without it.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
