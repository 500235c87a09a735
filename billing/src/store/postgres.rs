//! The books in PostgreSQL: READ COMMITTED, one batch at a time, accounts locked in the order of their numbers, every
//! commit synced.
//!
//! The service works under a role that can add to the books and change nothing in them. The database moves the counters
//! by a trigger, and refuses by itself an overdraft, a second transfer of one id, a second resolution, and every update
//! or deletion, whoever asks (`migrations/postgres/`).

mod insert;
mod opening;
mod statements;

use std::sync::Arc;

use ledger::AccountKey;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio_stream::StreamExt;

use super::plan::OwnerRow;
use super::rows::stored;
use super::session::{Backend, InTransaction, OwnStatements, Session, Value, Wanted, WrittenCounters};
use super::{BookedTransfer, Durability, KeptRefusal, OpenError, ShardSettlement, StoreError, session};
use crate::limits::READERS;
use insert::{id_bytes, lease_bytes};
use opening::{check_role, check_version, migrate, open_error, options, pool};

/// What a store may do to the schema when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Bring it to this version: the login owns the database.
    Migrate,
    /// Use it as it is, and refuse one of another version: somebody else runs `billing migrate`.
    AsItIs,
}

/// The books in one PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    /// One connection: the group committer writes one batch at a time.
    writer: PgPool,
    readers: PgPool,
    written: WrittenCounters,
}

impl PostgresStore {
    /// Connects to `address`, such as `postgres://billing@db.example/billing`.
    ///
    /// # Errors
    /// When the address is none, nobody answers, the login is refused, or the schema is of another version.
    pub async fn open(address: &str, schema: Schema, durability: Durability) -> Result<Self, OpenError> {
        let options = options(address)?;
        match schema {
            Schema::Migrate => migrate(&options).await?,
            Schema::AsItIs => check_version(&options).await?,
        }
        check_role(&options).await?;
        let failed = |source| open_error(&options, source);
        let begin = match durability {
            Durability::Synced => statements::SESSION_SYNCED,
            Durability::Lost => statements::SESSION_LOST,
        };
        let writer = pool(1, vec![begin]).connect_with(options.clone());
        let writer = writer.await.map_err(failed)?;
        let readers = pool(READERS, vec![begin, statements::READ_ONLY]).connect_with(options.clone());
        let readers = readers.await.map_err(failed)?;
        let store = Self {
            writer,
            readers,
            written: WrittenCounters::default(),
        };
        let unusable = |source| OpenError::Unusable { source };
        let mut reader = store.reader().await.map_err(unusable)?;
        session::check_sealed(&mut *reader).await.map_err(unusable)?;
        drop(reader);
        Ok(store)
    }

    /// Brings the schema to this version, and opens nothing.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(address: &str) -> Result<(), OpenError> {
        migrate(&options(address)?).await
    }
}

/// What the database's word begins with: data that does not fit, a constraint, a privilege.
const REFUSALS: [&str; 2] = ["22", "23"];
const RAISED: &str = "P0001";
const NO_PRIVILEGE: &str = "42501";
/// Damaged pages and indexes.
const DAMAGED: [&str; 2] = ["XX001", "XX002"];
/// Given up for the sake of another transaction: a deadlock, or a conflict.
const GIVEN_UP: [&str; 2] = ["40P01", "40001"];

fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Sorts what the database said into refused, damaged and unavailable.
fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| {
        let code = code_of(&source).unwrap_or_default();
        let refused = REFUSALS.iter().any(|class| code.starts_with(class));
        if refused || code == RAISED || code == NO_PRIVILEGE {
            return StoreError::Refused {
                doing,
                source: Arc::new(source),
            };
        }
        if DAMAGED.contains(&code.as_str()) {
            return StoreError::Damaged {
                what: format!("could not {doing}: {source}"),
            };
        }
        StoreError::Unavailable {
            doing,
            source: Arc::new(source),
        }
    }
}

/// A statement with its parameters.
fn query(statement: &'static str, values: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
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

impl Session for PgConnection {
    type Row = PgRow;

    const OWN: OwnStatements = statements::OWN;

    fn failure(doing: &'static str, source: sqlx::Error) -> StoreError {
        failed(doing)(source)
    }

    async fn begin_writing(&mut self) -> Result<InTransaction<'_, Self>, StoreError> {
        let mut transaction = self
            .begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")
            .await
            .map_err(failed("begin a transaction"))?;
        transaction
            .execute(statements::TAKE_THE_PEN, vec![], "wait for other writers")
            .await?;
        Ok(transaction)
    }

    async fn begin_snapshot(&mut self) -> Result<InTransaction<'_, Self>, StoreError> {
        self.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(failed("begin a transaction"))
    }

    async fn rows(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
    ) -> Result<Vec<PgRow>, StoreError> {
        let rows = query(statement, values).fetch_all(self).await;
        rows.map_err(failed(doing))
    }

    async fn each(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
        doing: &'static str,
        mut take: impl FnMut(&PgRow) + Send,
    ) -> Result<(), StoreError> {
        let mut rows = query(statement, values).fetch(self);
        while let Some(row) = rows.next().await {
            take(&row.map_err(failed(doing))?);
        }
        Ok(())
    }

    async fn find(&mut self, statement: &'static str, wanted: Wanted) -> Result<Vec<PgRow>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query(statement);
        let query = match wanted {
            Wanted::Numbers(numbers) => query.bind(numbers),
            Wanted::Ids(ids) => query.bind(ids.into_iter().map(id_bytes).collect::<Vec<_>>()),
            Wanted::Texts(texts) => query.bind(texts),
            Wanted::Leases(leases) => {
                let wanted = leases.into_iter();
                let (shards, leases): (Vec<i64>, Vec<[u8; 8]>) = wanted
                    .map(|(shard, lease)| (i64::from(shard.get()), lease_bytes(lease)))
                    .unzip();
                query.bind(shards).bind(leases)
            }
            Wanted::KeyRequests(requests) => {
                let wanted = requests.into_iter();
                let (owners, requests): (Vec<i64>, Vec<String>) = wanted
                    .map(|(owner, request)| (stored(owner.get()), request))
                    .unzip();
                query.bind(owners).bind(requests)
            }
        };
        query.fetch_all(self).await.map_err(failed("read the books"))
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
        let done = insert::owners(owners, at).execute(self).await;
        done.map(drop).map_err(failed("make an owner"))
    }

    async fn insert_accounts(&mut self, accounts: &[AccountKey]) -> Result<(), StoreError> {
        let done = insert::accounts(accounts).execute(self).await;
        done.map(drop).map_err(failed("open an account"))
    }

    async fn insert_transfers(&mut self, transfers: &[BookedTransfer], at: i64) -> Result<(), StoreError> {
        let done = insert::transfers(transfers, at).execute(self).await;
        done.map(drop).map_err(failed("book transfers"))
    }

    async fn insert_settlements(
        &mut self,
        settlements: &[(ShardSettlement, Option<KeptRefusal>)],
        at: i64,
    ) -> Result<(), StoreError> {
        let done = insert::settlements(settlements, at).execute(self).await;
        done.map(drop).map_err(failed("keep settlements"))
    }

    async fn check_files(&mut self) -> Result<Vec<String>, StoreError> {
        // The server's files are the server's to check.
        Ok(Vec::new())
    }
}

impl Backend for PostgresStore {
    type Session = PgConnection;
    type Connection = PoolConnection<Postgres>;

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

    fn gave_up(error: &StoreError) -> bool {
        match error {
            StoreError::Unavailable { source, .. } => {
                code_of(source).is_some_and(|code| GIVEN_UP.contains(&code.as_str()))
            }
            StoreError::Refused { .. } | StoreError::Damaged { .. } => false,
        }
    }

    async fn shut(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.writer.close().await;
        Ok(())
    }
}
