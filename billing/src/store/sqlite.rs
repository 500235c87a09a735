//! The books in one SQLite file: write-ahead log, every commit synced, one writing connection, a few that read.
//!
//! The transfer rows move the counters by a trigger, and the database refuses by itself an overdraft, a second
//! transfer of one id, a second resolution, and every update or deletion (`migrations/sqlite/`).

mod rows;
mod statements;

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use ledger::AccountKey;
use serde::Serialize;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool};
use tokio_stream::StreamExt;

use super::plan::OwnerRow;
use super::rows::{self as columns, stored};
use super::seal::{self, Seal, Sealing};
use super::session::{Backend, InTransaction, OwnStatements, Session, Value, Wanted, WrittenCounters};
use super::statements::SCHEMA_VERSION;
use super::{
    AuditReport, BookedTransfer, Durability, KeptRefusal, OpenError, ShardSettlement, StoreError, batch,
    session,
};
use crate::limits::{LOCK_WAIT, READER_WAIT, READERS, WRITER_WAIT};
use rows::{account_json, lease_hex, settlement_json, transfer_id_hex, transfer_json};

/// The schema, one migration after the other; each only adds.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The books in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    /// One connection: whoever holds it writes.
    writer: SqlitePool,
    readers: SqlitePool,
    written: WrittenCounters,
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
        let writer = writing_pool(options.clone()).await.map_err(failed)?;
        let readers = reading_pool(options).await.map_err(failed)?;
        Ok(Self {
            writer,
            readers,
            written: WrittenCounters::default(),
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
        let report = super::audit::audit(&mut connection).await?;
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
}

/// Refuses a schema that the audit does not know.
async fn check_version(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let row = sqlx::query(SCHEMA_VERSION)
        .fetch_one(connection)
        .await
        .map_err(|source| open_error(path, source))?;
    let version = columns::int(&row, 0).map_err(|source| OpenError::Unusable { source })?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max();
    let database = path.display().to_string();
    match known.map(|known| version.cmp(&known)) {
        Some(Ordering::Less) => Err(OpenError::Behind { database }),
        Some(Ordering::Greater) => Err(OpenError::Migrate {
            database,
            source: MigrateError::VersionMissing(version),
        }),
        Some(Ordering::Equal) | None => Ok(()),
    }
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

/// Seals what was booked before there were seals: once in the life of a file. Where that was done, transfers without a
/// seal have lost theirs.
async fn seal_history(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin_writing().await?;
    let doing = "look for seals";
    let state = session::row(&mut *transaction, statements::SEALED, vec![], doing).await?;
    if columns::int(&state, 0)? > 0 {
        return session::check_sealed(&mut *transaction).await;
    }
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
        batch::insert_seal(&mut *transaction, Seal { first, through, hash }).await?;
    }
    transaction
        .execute(statements::MARK_SEALED, vec![], "note that history is sealed")
        .await?;
    transaction.commit().await.map_err(failed("commit"))
}

async fn writing_pool(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(WRITER_WAIT)
        .connect_with(options)
        .await
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

fn migrate_error(path: &Path, source: MigrateError) -> OpenError {
    use MigrateError::{Execute, ExecuteMigration};
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

/// A statement with its parameters.
fn query(statement: &'static str, values: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
    let query = sqlx::query(statement);
    values.into_iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
        Value::OptionalInt(number) => query.bind(number),
        Value::OptionalText(text) => query.bind(text),
        Value::OptionalBytes(bytes) => query.bind(bytes),
    })
}

/// Values as the one JSON parameter that a statement takes.
fn list<T: Serialize>(values: impl IntoIterator<Item = T>) -> Value {
    let values: Vec<T> = values.into_iter().collect();
    Value::Text(serde_json::to_string(&values).expect("numbers and texts are JSON"))
}

impl Session for SqliteConnection {
    type Row = SqliteRow;

    const OWN: OwnStatements = statements::OWN;

    fn failure(doing: &'static str, source: sqlx::Error) -> StoreError {
        failed(doing)(source)
    }

    async fn begin_writing(&mut self) -> Result<InTransaction<'_, Self>, StoreError> {
        // The write lock is taken at once, so what is read stays true until the commit.
        self.begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed("begin a transaction"))
    }

    async fn begin_snapshot(&mut self) -> Result<InTransaction<'_, Self>, StoreError> {
        self.begin().await.map_err(failed("begin a transaction"))
    }

    async fn rows(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let rows = query(statement, values).fetch_all(self).await;
        rows.map_err(failed(doing))
    }

    async fn each(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
        mut take: impl FnMut(&SqliteRow) + Send,
    ) -> Result<(), StoreError> {
        let mut rows = query(statement, values).fetch(self);
        while let Some(row) = rows.next().await {
            take(&row.map_err(failed(doing))?);
        }
        Ok(())
    }

    async fn find(&mut self, statement: &'static str, wanted: Wanted) -> Result<Vec<SqliteRow>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let list = match wanted {
            Wanted::Numbers(numbers) => list(numbers),
            Wanted::Ids(ids) => list(ids.into_iter().map(transfer_id_hex)),
            Wanted::Texts(texts) => list(texts),
            Wanted::Leases(leases) => list(
                leases
                    .into_iter()
                    .map(|(shard, lease)| (shard.get(), lease_hex(lease))),
            ),
            Wanted::KeyRequests(requests) => list(
                requests
                    .into_iter()
                    .map(|(owner, request)| (stored(owner.get()), request)),
            ),
        };
        self.rows(statement, vec![list], "read the books").await
    }

    async fn execute(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
    ) -> Result<(), StoreError> {
        let done = query(statement, values).execute(self).await;
        done.map(drop).map_err(failed(doing))
    }

    async fn insert_owners(&mut self, owners: &[OwnerRow], at: i64) -> Result<(), StoreError> {
        for owner in owners {
            let values = vec![
                stored(owner.id.get()).into(),
                owner.request_id.as_str().into(),
                owner.display_name.as_str().into(),
                at.into(),
            ];
            let doing = "make an owner";
            self.execute(statements::INSERT_OWNER, values, doing).await?;
        }
        Ok(())
    }

    async fn insert_accounts(&mut self, accounts: &[AccountKey]) -> Result<(), StoreError> {
        let opened = list(accounts.iter().map(|account| account_json(*account)));
        let doing = "open an account";
        self.execute(statements::INSERT_ACCOUNTS, vec![opened], doing)
            .await
    }

    async fn insert_transfers(&mut self, transfers: &[BookedTransfer], at: i64) -> Result<(), StoreError> {
        let values = vec![list(transfers.iter().map(transfer_json)), at.into()];
        let doing = "book transfers";
        self.execute(statements::INSERT_TRANSFERS, values, doing).await
    }

    async fn insert_settlements(
        &mut self,
        settlements: &[(ShardSettlement, Option<KeptRefusal>)],
        at: i64,
    ) -> Result<(), StoreError> {
        let kept = settlements.iter();
        let kept = list(kept.map(|(settlement, refusal)| settlement_json(settlement, refusal.as_ref())));
        let doing = "keep settlements";
        let values = vec![kept, at.into()];
        self.execute(statements::INSERT_SETTLEMENTS, values, doing).await
    }

    async fn check_files(&mut self) -> Result<Vec<String>, StoreError> {
        let doing = "check the database's pages";
        let checked = self.rows(statements::QUICK_CHECK, vec![], doing).await?;
        let mut findings = Vec::new();
        for row in &checked {
            let said = columns::text(row, 0)?;
            if said != "ok" {
                findings.push(said);
            }
        }
        let doing = "check the database's references";
        for row in &self.rows(statements::FOREIGN_KEY_CHECK, vec![], doing).await? {
            let (table, rows) = (columns::text(row, 0)?, columns::int(row, 1)?);
            findings.push(format!("{rows} rows of {table} refer to nothing"));
        }
        Ok(findings)
    }
}

impl Backend for SqliteStore {
    type Session = SqliteConnection;
    type Connection = PoolConnection<Sqlite>;

    async fn reader(&self) -> Result<Self::Connection, StoreError> {
        let reader = self.readers.acquire().await;
        reader.map_err(failed("reach the database"))
    }

    async fn writer(&self) -> Result<Self::Connection, StoreError> {
        let writer = self.writer.acquire().await;
        writer.map_err(failed("reach the database"))
    }

    fn counters(&self) -> &WrittenCounters {
        &self.written
    }

    fn gave_up(_error: &StoreError) -> bool {
        // There is one writer, who waits for the lock: nobody is given up.
        false
    }

    async fn shut(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        let mut writer = self.writer().await?;
        // Moves the log into the file and empties it, so that the file alone is a whole backup.
        writer
            .execute(statements::CHECKPOINT, vec![], "checkpoint the log")
            .await?;
        drop(writer);
        // Returns once the file is closed: whoever comes next finds it alone, without a log beside it.
        self.writer.close().await;
        Ok(())
    }
}
