//! The books in one SQLite file: write-ahead log, every commit synced, one writing connection, a few that read.
//!
//! The transfer rows move the counters by a trigger, and the database refuses by itself an overdraft, a second
//! transfer of one id, a second resolution, and every update or deletion (`migrations/sqlite/`).

mod audit;
mod commit;
mod rows;
mod statements;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{AccountId, Credits, Sequence, ShardId, Timestamp};
use ledger::{AccountKey, Counters, Owner, TransferKind};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;

use super::{
    AuditReport, Balances, BookedTransfer, Change, KeyRecord, LedgerStore, Maturing, Outcome,
    ReservationRecord, StoreError,
};
use crate::limits::{LOCK_WAIT, READER_WAIT, READERS};

/// The schema, one migration after the other; each only adds.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// What all accounts of one owner share: the bits below are shard and kind.
const OWNER_SHIFT: u32 = 20;

/// Why the books could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a database, or is damaged.
    #[error("{} is not a database of billing, or is damaged; restore it from a backup", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Another process holds it.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The file cannot be opened.
    #[error("could not open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The schema is not one that this version knows.
    #[error("could not bring {} to this version's schema", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Which migration.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

/// The books in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, or makes it, and brings it to this version's schema.
    ///
    /// # Errors
    /// When the file is no database, damaged, locked, or of a later version.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| open_error(path, source);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(LOCK_WAIT);
        let mut writer = options.clone().connect().await.map_err(failed)?;
        MIGRATIONS
            .run(&mut writer)
            .await
            .map_err(|source| migrate_error(path, source))?;
        let readers = reading_pool(options).await.map_err(failed)?;
        Ok(Self {
            writer: Mutex::new(writer),
            readers,
        })
    }

    /// Checks the books of a file that need not be in use, and changes nothing in it.
    ///
    /// # Errors
    /// When the file is no database, damaged or locked, or cannot be read.
    pub async fn audit_file(path: &Path) -> anyhow::Result<AuditReport> {
        let failed = |source| open_error(path, source);
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(LOCK_WAIT)
            .pragma("query_only", "ON")
            .connect()
            .await
            .map_err(failed)?;
        let report = audit::audit(&mut connection).await?;
        connection.close().await.map_err(failed)?;
        Ok(report)
    }

    async fn owner_exists(&self, owner: Owner) -> Result<bool, StoreError> {
        let row = sqlx::query(statements::OWNER_EXISTS)
            .bind(rows::stored(owner.id().get()))
            .fetch_one(&self.readers)
            .await
            .map_err(failed("look for an account"))?;
        Ok(rows::int(&row, 0)? > 0)
    }
}

async fn reading_pool(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    // These connections could write, but for this pragma: one that is opened read-only cannot make the shared memory
    // file of a write-ahead log that nobody has open.
    let options = options.create_if_missing(false).pragma("query_only", "ON");
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_WAIT)
        .connect_with(options)
        .await
}

/// SQLite's primary result code, if that is what failed.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    // An extended code has the primary one in its lowest byte.
    Some(code & 0xff)
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_NOTADB: u32 = 26;

fn open_error(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match sqlite_code(&source) {
        Some(SQLITE_NOTADB | SQLITE_CORRUPT) => OpenError::NotADatabase { path, source },
        Some(SQLITE_BUSY | SQLITE_LOCKED) => OpenError::Locked { path, source },
        _ => OpenError::Open { path, source },
    }
}

fn migrate_error(path: &Path, source: sqlx::migrate::MigrateError) -> OpenError {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    if let Execute(source) | ExecuteMigration(source, _) = source {
        return open_error(path, source);
    }
    OpenError::Migrate {
        path: path.to_owned(),
        source,
    }
}

/// Sorts what the database said into refused, damaged and unavailable.
fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| match sqlite_code(&source) {
        Some(SQLITE_CONSTRAINT) => StoreError::Refused {
            doing,
            source: Arc::new(source),
        },
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => StoreError::Damaged {
            what: format!("could not {doing}: {source}"),
        },
        _ => StoreError::Unavailable {
            doing,
            source: Arc::new(source),
        },
    }
}

impl LedgerStore for SqliteStore {
    async fn commit(&self, changes: &[Change], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let mut writer = self.writer.lock().await;
        commit::commit(&mut writer, changes, now).await
    }

    async fn key_by_hash(&self, secret_sha256: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        let row = sqlx::query(statements::KEY_BY_HASH)
            .bind(secret_sha256.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("look for a key"))?;
        row.as_ref().map(rows::key).transpose()
    }

    async fn keys_of(&self, owner: AccountId) -> Result<Option<Vec<KeyRecord>>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        if !self.owner_exists(owner).await? {
            return Ok(None);
        }
        let keys = sqlx::query(statements::KEYS_OF_OWNER)
            .bind(rows::stored(owner.id().get()))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list keys"))?;
        keys.iter().map(rows::key).collect::<Result<_, _>>().map(Some)
    }

    async fn balances(&self, owner: AccountId) -> Result<Option<Balances>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        let first = rows::stored(owner.id().get() << OWNER_SHIFT);
        let accounts = sqlx::query(statements::ACCOUNTS_OF_OWNER)
            .bind(first)
            .bind(first | ((1 << OWNER_SHIFT) - 1))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read balances"))?;
        if accounts.is_empty() {
            return Ok(None);
        }
        sum_up(&accounts).map(Some)
    }

    async fn history(
        &self,
        owner: AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Option<Vec<BookedTransfer>>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        if !self.owner_exists(owner).await? {
            return Ok(None);
        }
        let transfers = sqlx::query(statements::HISTORY)
            .bind(rows::stored(owner.id().get()))
            .bind(before.map_or(i64::MAX, rows::stored))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list transfers"))?;
        transfers
            .iter()
            .map(rows::transfer)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    async fn reservations(
        &self,
        shard: ShardId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ReservationRecord>, StoreError> {
        let transfers = sqlx::query(statements::RESERVATIONS)
            .bind(i64::from(shard.get()))
            .bind(rows::stored(after))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list reservations"))?;
        transfers.iter().map(reservation).collect()
    }

    async fn cursor(&self, shard: ShardId) -> Result<Sequence, StoreError> {
        let row = sqlx::query(statements::CURSOR)
            .bind(i64::from(shard.get()))
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a cursor"))?;
        let Some(row) = row else { return Ok(Sequence::ZERO) };
        rows::unsigned(&row, 0).map(Sequence::new)
    }

    async fn due(&self, cutoff: Timestamp, limit: u32) -> Result<Vec<Maturing>, StoreError> {
        let due = sqlx::query(statements::DUE)
            .bind(rows::stored(cutoff.as_micros()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("look for earnings that matured"))?;
        let maturing = |row: &SqliteRow| {
            Ok(Maturing {
                owner: rows::owner(row, 0)?,
                after: rows::unsigned(row, 1)?,
                through: rows::unsigned(row, 2)?,
                amount: Credits::from_nano(rows::int(row, 3)?),
            })
        };
        due.iter().map(maturing).collect()
    }

    async fn audit(&self) -> Result<AuditReport, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed("begin an audit"))?;
        audit::audit(&mut reader).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        let mut writer = self.writer.lock().await;
        // Moves the log into the file and empties it, so that the file alone is a whole backup.
        sqlx::query(statements::CHECKPOINT)
            .execute(&mut *writer)
            .await
            .map_err(failed("checkpoint the log"))?;
        Ok(())
    }
}

fn sum_up(accounts: &[SqliteRow]) -> Result<Balances, StoreError> {
    let mut balances = Balances::default();
    for row in accounts {
        let (account, counters) = rows::account(row)?;
        let spendable = Counters::spendable(counters).unwrap_or(Credits::ZERO);
        match account {
            AccountKey::Available(_) => balances.available = spendable,
            AccountKey::Pending(_) => balances.pending = spendable,
            AccountKey::Reserved(..) => {
                let sum = balances.reserved.checked_add(spendable);
                balances.reserved = sum.ok_or_else(|| StoreError::Damaged {
                    what: format!("what is reserved with {account} leaves the range"),
                })?;
            }
            AccountKey::Grants | AccountKey::Fees | AccountKey::Pool | AccountKey::Payouts => {}
        }
    }
    Ok(balances)
}

fn reservation(row: &SqliteRow) -> Result<ReservationRecord, StoreError> {
    let BookedTransfer { number, transfer, .. } = rows::transfer(row)?;
    let returned = transfer.kind == TransferKind::Return;
    let account = if returned { transfer.debit } else { transfer.credit };
    let owner = account.owner().ok_or_else(|| StoreError::Damaged {
        what: format!("{} reserves for nobody", transfer.id),
    })?;
    let nano = transfer.amount.as_nano();
    Ok(ReservationRecord {
        number,
        transfer: transfer.id,
        owner: owner.id(),
        amount: Credits::from_nano(if returned { -nano } else { nano }),
    })
}
