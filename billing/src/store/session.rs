//! What the two databases do alike, said once: a connection that answers statements, and a store that has connections.
//!
//! Everything that is asked or written by the same statement goes through a [`Session`], whatever database is behind it
//! (`answers`, `batch`, `audit`, `days`). What differs stays with each database: how lists go in, how a batch of rows is
//! inserted, and what an error means.

use std::future::Future;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{AccountId, LeaseId, ShardId, TransferId};
use ledger::AccountKey;
use sqlx::{Connection, Transaction};

use super::plan::OwnerRow;
use super::rows::{self, Columns};
use super::{BookedTransfer, KeptRefusal, ShardSettlement, StoreError, Written, statements};

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A number or null.
    OptionalInt(Option<i64>),
    /// A text or null.
    OptionalText(Option<String>),
    /// Bytes or null.
    OptionalBytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<TransferId> for Value {
    fn from(id: TransferId) -> Self {
        Self::Bytes(id.get().to_be_bytes().to_vec())
    }
}

/// Which rows of a table are wanted.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// Those with these numbers.
    Numbers(Vec<i64>),
    /// Those with these ids.
    Ids(Vec<TransferId>),
    /// Those with these texts.
    Texts(Vec<String>),
    /// The settlements of these leases.
    Leases(Vec<(ShardId, LeaseId)>),
    /// The keys that these owners asked for under these names.
    KeyRequests(Vec<(AccountId, String)>),
}

impl Wanted {
    /// Whether nothing is wanted.
    pub(super) const fn is_empty(&self) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.is_empty(),
            Self::Ids(ids) => ids.is_empty(),
            Self::Texts(texts) => texts.is_empty(),
            Self::Leases(leases) => leases.is_empty(),
            Self::KeyRequests(requests) => requests.is_empty(),
        }
    }
}

/// The statements that take a list, each in the database's own form, and those that it plans in its own way.
#[derive(Debug)]
pub(super) struct OwnStatements {
    pub(super) accounts: &'static str,
    pub(super) transfers: &'static str,
    pub(super) settlements: &'static str,
    pub(super) cursors: &'static str,
    pub(super) keys: &'static str,
    pub(super) sign_ups: &'static str,
    pub(super) key_requests: &'static str,
    pub(super) key_counts: &'static str,
    pub(super) owners_by_request: &'static str,
    pub(super) matured: &'static str,
    pub(super) payouts: &'static str,
    pub(super) paid_out: &'static str,
    pub(super) refunds: &'static str,
    pub(super) reset_owners: &'static str,
    pub(super) reserved_before: &'static str,
    pub(super) refunds_of_leases: &'static str,
    pub(super) due: &'static str,
    pub(super) weekly_payable: &'static str,
}

/// A transaction of a session.
pub(super) type InTransaction<'c, S> = Transaction<'c, <S as Connection>::Database>;

/// A connection to a database with the books in it.
pub(super) trait Session: Connection {
    /// A row that comes out.
    type Row: Columns + Send + Sync;

    /// The statements that are the database's own.
    const OWN: OwnStatements;

    /// Sorts what the database said into refused, damaged and unavailable.
    fn failure(doing: &'static str, source: sqlx::Error) -> StoreError;

    /// Begins a transaction that nobody else writes beside.
    fn begin_writing(&mut self) -> impl Future<Output = Result<InTransaction<'_, Self>, StoreError>> + Send;

    /// Begins a transaction that reads everything as of one instant.
    fn begin_snapshot(&mut self) -> impl Future<Output = Result<InTransaction<'_, Self>, StoreError>> + Send;

    /// The rows that a statement gives.
    fn rows(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// Shows each row that a statement gives, however many there are.
    fn each(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
        take: impl FnMut(&Self::Row) + Send,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The rows of a list; none for an empty one.
    fn find(
        &mut self,
        statement: &'static str,
        wanted: Wanted,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// Runs a statement that writes.
    fn execute(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes owners.
    fn insert_owners(
        &mut self,
        owners: &[OwnerRow],
        at: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Opens accounts.
    fn insert_accounts(
        &mut self,
        accounts: &[AccountKey],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Books transfers.
    fn insert_transfers(
        &mut self,
        transfers: &[BookedTransfer],
        at: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps settlements.
    fn insert_settlements(
        &mut self,
        settlements: &[(ShardSettlement, Option<KeptRefusal>)],
        at: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What the database finds wrong with its own files, a sentence each.
    fn check_files(&mut self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}

/// The one row that a statement always gives.
pub(super) async fn row<S: Session>(
    session: &mut S,
    statement: &'static str,
    values: Vec<Value>,
    doing: &'static str,
) -> Result<S::Row, StoreError> {
    let rows = session.rows(statement, values, doing).await?;
    rows.into_iter().next().ok_or_else(|| StoreError::Damaged {
        what: format!("could not {doing}: there is no row"),
    })
}

/// Refuses books with transfers and not a single seal: somebody took the chain away, and books on which it began anew
/// would look untouched.
pub(super) async fn check_sealed<S: Session>(session: &mut S) -> Result<(), StoreError> {
    let counts = row(session, statements::COUNTS, vec![], "look for seals").await?;
    if rows::is_stripped(&counts)? {
        return Err(StoreError::Damaged {
            what: "there are transfers and no seals: restore the books from a backup, or have them audited"
                .to_owned(),
        });
    }
    Ok(())
}

/// Commits a transaction.
pub(super) async fn commit<S: Session>(transaction: InTransaction<'_, S>) -> Result<(), StoreError> {
    transaction
        .commit()
        .await
        .map_err(|source| S::failure("commit", source))
}

/// Counts what a store writes.
#[derive(Debug, Default)]
pub(super) struct WrittenCounters {
    transfers: AtomicU64,
    settlements: AtomicU64,
}

impl WrittenCounters {
    /// Adds what a batch wrote.
    pub(super) fn add(&self, written: Written) {
        self.transfers.fetch_add(written.transfers, Ordering::Relaxed);
        self.settlements.fetch_add(written.settlements, Ordering::Relaxed);
    }

    /// What was written so far.
    pub(super) fn read(&self) -> Written {
        Written {
            transfers: self.transfers.load(Ordering::Relaxed),
            settlements: self.settlements.load(Ordering::Relaxed),
        }
    }
}

/// A store with connections: one that writes at a time, and some that read.
pub(super) trait Backend: Send + Sync + Sized + 'static {
    /// What is done with a connection.
    type Session: Session;
    /// A connection of a pool.
    type Connection: DerefMut<Target = Self::Session> + Send;

    /// Takes a connection that reads.
    fn reader(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;

    /// Takes the connection that writes, when its turn comes.
    fn writer(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;

    /// Where what it writes is counted.
    fn counters(&self) -> &WrittenCounters;

    /// Whether the same batch again may well go through.
    fn gave_up(error: &StoreError) -> bool;

    /// Makes the database tidy and lets it go.
    fn shut(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
