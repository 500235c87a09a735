//! The books in one SQLite file: write-ahead log, every commit synced, one writing connection, a few that read.
//!
//! The transfer rows move the counters by a trigger, and the database refuses by itself an overdraft, a second
//! transfer of one id, a second resolution, and every update or deletion (`migrations/sqlite/`).

mod audit;
mod commit;
mod days;
mod payouts;
mod rows;
mod spans;
mod statements;

use std::path::Path;
use std::sync::Arc;

use domain::{AccountId, Credits, IslandId, Sequence, ShardId, Standing, Timestamp, TransferId};
use ledger::{AccountKey, Owner};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;
use tokio_stream::StreamExt;

use super::merkle::Day;
use super::payout::{Payable, Payout, PayoutFilter};
use super::rows as columns;
use super::seal::{self, Seal, Sealing};
use super::{
    AuditReport, Balances, BookedTransfer, Change, ClosedDay, Durability, KeyRecord, LedgerStore, Maturing,
    OpenError, Outcome, ReservationRecord, Settled, Span, StoreError,
};
use crate::limits::{LOCK_WAIT, READER_WAIT, READERS};

/// The schema, one migration after the other; each only adds.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

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
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, OpenError> {
        let failed = |source| open_error(path, source);
        let synchronous = match durability {
            Durability::Synced => SqliteSynchronous::Full,
            Durability::Lost => SqliteSynchronous::Off,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .foreign_keys(true)
            .busy_timeout(LOCK_WAIT);
        migrate(path, options.clone()).await?;
        let writer = options.clone().connect().await.map_err(failed)?;
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
        check_version(path, &mut connection).await?;
        let report = audit::audit(&mut connection).await?;
        connection.close().await.map_err(failed)?;
        Ok(report)
    }

    /// Copies the books in a file, as they are at one moment, into a file that is not there yet. Others may write meanwhile.
    ///
    /// # Errors
    /// When the books cannot be read, or the copy not written.
    pub async fn copy_file(path: &Path, copy: &Path) -> Result<(), OpenError> {
        let failed = |source| open_error(path, source);
        // Not `query_only`: that would also refuse the copy.
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(LOCK_WAIT);
        let mut connection = options.connect().await.map_err(failed)?;
        sqlx::query(statements::COPY)
            .bind(copy.display().to_string())
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        connection.close().await.map_err(failed)
    }

    async fn owner_exists(&self, owner: Owner) -> Result<bool, StoreError> {
        let row = sqlx::query(statements::OWNER_EXISTS)
            .bind(columns::stored(owner.id().get()))
            .fetch_one(&self.readers)
            .await
            .map_err(failed("look for an account"))?;
        Ok(columns::int(&row, 0)? > 0)
    }
}

/// Refuses a schema that the audit does not know.
async fn check_version(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let row = sqlx::query(statements::SCHEMA_VERSION)
        .fetch_one(connection)
        .await
        .map_err(|source| open_error(path, source))?;
    let version = columns::int(&row, 0).map_err(|source| OpenError::Unusable { source })?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max();
    if Some(version) < known {
        let database = path.display().to_string();
        return Err(OpenError::Behind { database });
    }
    Ok(())
}

async fn migrate(path: &Path, options: SqliteConnectOptions) -> Result<(), OpenError> {
    let failed = |source| open_error(path, source);
    // A table that is made anew is dropped first: with foreign keys on, SQLite would look for each row's children.
    let mut connection = options.foreign_keys(false).connect().await.map_err(failed)?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|source| migrate_error(path, source))?;
    let sealed = seal_history(&mut connection).await;
    sealed.map_err(|source| OpenError::Unusable { source })?;
    connection.close().await.map_err(failed)
}

/// Seals what was booked before there were seals.
async fn seal_history(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed("begin a transaction"))?;
    let mut sealing = Sealing::after(seal::Digest::default());
    let mut range = None;
    {
        let mut transfers = sqlx::query(statements::UNSEALED).fetch(&mut *transaction);
        while let Some(row) = transfers.next().await {
            let booked = columns::transfer(&row.map_err(failed("read the transfers"))?)?;
            sealing.add(&booked);
            let (first, _) = range.unwrap_or((booked.number, booked.number));
            range = Some((first, booked.number));
        }
    }
    if let Some((first, through)) = range {
        let hash = sealing.finish();
        commit::insert_seal(&mut transaction, Seal { first, through, hash }).await?;
    }
    transaction.commit().await.map_err(failed("commit"))
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
        _ => OpenError::Open {
            database: path.display().to_string(),
            source,
        },
    }
}

fn migrate_error(path: &Path, source: sqlx::migrate::MigrateError) -> OpenError {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    if let Execute(source) | ExecuteMigration(source, _) = source {
        return open_error(path, source);
    }
    OpenError::Migrate {
        database: path.display().to_string(),
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
        row.as_ref().map(columns::key).transpose()
    }

    async fn keys_of(&self, owner: AccountId) -> Result<Option<Vec<KeyRecord>>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        if !self.owner_exists(owner).await? {
            return Ok(None);
        }
        let keys = sqlx::query(statements::KEYS_OF_OWNER)
            .bind(columns::stored(owner.id().get()))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list keys"))?;
        keys.iter().map(columns::key).collect::<Result<_, _>>().map(Some)
    }

    async fn balances(&self, owner: AccountId) -> Result<Option<Balances>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        let (first, last) = AccountKey::range_of(owner);
        let accounts = sqlx::query(statements::ACCOUNTS_OF_OWNER)
            .bind(first)
            .bind(last)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read balances"))?;
        if accounts.is_empty() {
            return Ok(None);
        }
        columns::balances(&accounts).map(Some)
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
            .bind(columns::stored(owner.id().get()))
            .bind(before.map_or(i64::MAX, columns::stored))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list transfers"))?;
        transfers
            .iter()
            .map(columns::transfer)
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
            .bind(columns::stored(after))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list reservations"))?;
        transfers.iter().map(columns::reservation).collect()
    }

    async fn reserved_balances(
        &self,
        shard: ShardId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<(AccountId, Credits)>, StoreError> {
        let after = after
            .and_then(Owner::new)
            .map_or(0, |owner| AccountKey::Reserved(owner, shard).number());
        let accounts = sqlx::query(statements::RESERVED_BALANCES)
            .bind(i64::from(shard.get()))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list what is reserved"))?;
        accounts.iter().map(columns::reserved_balance).collect()
    }

    async fn cursor(&self, shard: ShardId) -> Result<Sequence, StoreError> {
        let row = sqlx::query(statements::CURSOR)
            .bind(i64::from(shard.get()))
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a cursor"))?;
        let Some(row) = row else { return Ok(Sequence::ZERO) };
        columns::unsigned(&row, 0).map(Sequence::new)
    }

    async fn due(
        &self,
        standing: Standing,
        cutoff: Timestamp,
        limit: u32,
    ) -> Result<Vec<Maturing>, StoreError> {
        let due = sqlx::query(statements::DUE)
            .bind(i64::from(columns::earning_kind(standing).code()))
            .bind(columns::stored(cutoff.as_micros()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("look for earnings that matured"))?;
        due.iter().map(|row| columns::maturing(row, standing)).collect()
    }

    async fn first_open_day(&self) -> Result<Option<Day>, StoreError> {
        let row = sqlx::query(statements::FIRST_OPEN_DAY)
            .fetch_one(&self.readers)
            .await
            .map_err(failed("look for a day to close"))?;
        Ok(columns::optional_time(&row, 0)?.map(Day::of))
    }

    async fn close_day(&self, day: Day, now: Timestamp) -> Result<ClosedDay, StoreError> {
        let mut writer = self.writer.lock().await;
        days::close(&mut writer, day, now).await
    }

    async fn closed_days(&self, after: Option<Day>, limit: u32) -> Result<Vec<ClosedDay>, StoreError> {
        let days = sqlx::query(statements::CLOSED_DAYS)
            .bind(after.map_or(-1, |day| i64::from(day.get())))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list closed days"))?;
        days.iter().map(columns::closed_day).collect()
    }

    async fn booked_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Option<(Credits, Vec<BookedTransfer>)>, StoreError> {
        self.find_booked(owner, span, limit).await
    }

    async fn settled_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Settled>, StoreError> {
        self.find_settled(owner, span, limit).await
    }

    async fn earned_before(
        &self,
        owner: AccountId,
        island: IslandId,
        until: Timestamp,
    ) -> Result<Credits, StoreError> {
        self.sum_earned(owner, island, until).await
    }

    async fn payout(&self, id: TransferId) -> Result<Option<Payout>, StoreError> {
        self.find_payout(id).await
    }

    async fn payouts(
        &self,
        filter: PayoutFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Payout)>, StoreError> {
        self.list_payouts(filter, before, limit).await
    }

    async fn payouts_to_send(&self, now: Timestamp, limit: u32) -> Result<Vec<Payout>, StoreError> {
        self.find_payouts_to_send(now, limit).await
    }

    async fn weekly_payable(
        &self,
        since: Day,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Payable>, StoreError> {
        self.find_weekly_payable(since, after, limit).await
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
