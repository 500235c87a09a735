//! A database of either kind, fresh, with billing's schema.

use std::time::{Duration, Instant};

use billing::store::postgres::{PostgresStore, Schema};
use billing::store::sqlite::SqliteStore;
use billing::store::{Change, Durability, LedgerStore};
use domain::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row, SqliteConnection};
use tempfile::TempDir;

use crate::load::opening;
use crate::raw::{self, Rows};

/// Where the books are.
pub(crate) struct Books {
    pub(crate) folder: TempDir,
    postgres: Option<Database>,
}

struct Database {
    server: String,
    name: String,
}

impl Books {
    pub(crate) async fn sqlite() -> Self {
        let books = Self {
            folder: tempfile::tempdir().unwrap(),
            postgres: None,
        };
        let store = SqliteStore::open(&books.file(), Durability::Synced)
            .await
            .unwrap();
        store.close().await.unwrap();
        books
    }

    pub(crate) async fn postgres() -> Self {
        let server = std::env::var("ATOLL_TEST_POSTGRES")
            .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432".to_owned());
        let name = format!(
            "atoll_measure_{}_{}",
            std::process::id(),
            service::clock::unix_micros()
        );
        let mut operator = PgConnection::connect(&format!("{server}/postgres"))
            .await
            .unwrap();
        operator
            .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .unwrap();
        let books = Self {
            folder: tempfile::tempdir().unwrap(),
            postgres: Some(Database { server, name }),
        };
        PostgresStore::migrate(&books.address()).await.unwrap();
        books
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("billing.sqlite")
    }

    /// What billing is told.
    pub(crate) fn address(&self) -> String {
        match &self.postgres {
            Some(database) => format!("{}/{}", database.server, database.name),
            None => format!("sqlite:{}", self.file().display()),
        }
    }

    /// Opens the accounts and funds them, as the other side's were.
    pub(crate) async fn prepare(&self) {
        let (changes, now) = (opening(), Timestamp::from_micros(1));
        match &self.postgres {
            Some(_) => {
                let address = self.address();
                let store = PostgresStore::open(&address, Schema::AsItIs, Durability::Synced).await;
                commit(&store.unwrap(), &changes, now).await;
            }
            None => {
                let store = SqliteStore::open(&self.file(), Durability::Synced).await;
                commit(&store.unwrap(), &changes, now).await;
            }
        }
    }

    async fn direct_sqlite(&self) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(self.file())
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .connect()
            .await
            .unwrap()
    }

    async fn direct_postgres(&self) -> PgConnection {
        let options: PgConnectOptions = self.address().parse().unwrap();
        options.connect().await.unwrap()
    }

    /// Everything that the settlements wrote.
    pub(crate) async fn read_rows(&self) -> Rows {
        match &self.postgres {
            Some(_) => raw::postgres::read(&mut self.direct_postgres().await).await,
            None => raw::sqlite::read(&mut self.direct_sqlite().await).await,
        }
    }

    /// Writes the rows in the same batches; returns how long that took.
    pub(crate) async fn insert_raw(&self, rows: &Rows) -> Duration {
        let texts = rows.texts();
        match &self.postgres {
            Some(_) => {
                let mut db = self.direct_postgres().await;
                raw::postgres::prepare(&mut db, &texts).await;
                let started = Instant::now();
                raw::postgres::insert(&mut db, rows, &texts).await;
                started.elapsed()
            }
            None => {
                let mut db = self.direct_sqlite().await;
                raw::sqlite::prepare(&mut db, &texts).await;
                let started = Instant::now();
                raw::sqlite::insert(&mut db, rows, &texts).await;
                started.elapsed()
            }
        }
    }

    /// Transfers, settlements, and the sum of all counters.
    pub(crate) async fn counts(&self) -> [i64; 3] {
        let sql = "SELECT (SELECT count(*) FROM transfers), (SELECT count(*) FROM settlements),
            CAST((SELECT sum(credits_posted) FROM accounts) AS BIGINT)";
        match &self.postgres {
            Some(_) => {
                let row = sqlx::query(sql)
                    .fetch_one(&mut self.direct_postgres().await)
                    .await;
                let row = row.unwrap();
                [0, 1, 2].map(|column| row.get(column))
            }
            None => {
                let row = sqlx::query(sql).fetch_one(&mut self.direct_sqlite().await).await;
                let row = row.unwrap();
                [0, 1, 2].map(|column| row.get(column))
            }
        }
    }

    pub(crate) async fn close(self) {
        if let Some(Database { server, name }) = &self.postgres {
            let mut operator = PgConnection::connect(&format!("{server}/postgres"))
                .await
                .unwrap();
            operator
                .execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
                .await
                .unwrap();
        }
    }
}

async fn commit<S: LedgerStore>(store: &S, changes: &[Change], now: Timestamp) {
    store.commit(changes, now).await.unwrap();
    store.close().await.unwrap();
}
