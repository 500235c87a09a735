//! Databases of a PostgreSQL server, one a test, gone when the test is.

use std::sync::atomic::{AtomicU32, Ordering};

use billing::store::Durability;
use billing::store::postgres::{PostgresStore, Schema};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

/// Where the server is, unless `ATOLL_TEST_POSTGRES` says otherwise.
const SERVER: &str = "postgres://postgres@127.0.0.1:5432";

/// A database of its own.
pub(crate) struct TestDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// Makes an empty one.
    ///
    /// # Panics
    /// When there is no server: a test that needs one fails without it.
    pub(crate) async fn make() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("ATOLL_TEST_POSTGRES").unwrap_or_else(|_| SERVER.to_owned());
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let moment = service::clock::unix_micros();
        let name = format!("atoll_test_{}_{moment}_{count}", std::process::id());
        let database = Self { server, name };
        database
            .administer(&format!("CREATE DATABASE {}", database.name))
            .await
            .unwrap_or_else(|error| {
                panic!(
                    "no PostgreSQL for this test at {}: {error}. `cargo xtask test` starts one; or name one whose \
                     user may make databases in ATOLL_TEST_POSTGRES",
                    database.server
                )
            });
        database
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// Its address for another login.
    pub(crate) fn address_as(&self, login: &str) -> String {
        let (_, host) = self.server.rsplit_once('@').unwrap();
        format!("postgres://{login}@{host}/{}", self.name)
    }

    /// Billing's books in it.
    pub(crate) async fn open(&self, durability: Durability) -> PostgresStore {
        PostgresStore::open(&self.address(), Schema::Migrate, durability)
            .await
            .unwrap()
    }

    /// A connection past billing, as the database's owner.
    pub(crate) async fn direct(&self) -> PgConnection {
        connect(&self.address()).await.unwrap()
    }

    /// Runs a statement outside of the database.
    pub(crate) async fn administer(&self, statement: &str) -> Result<(), sqlx::Error> {
        let mut server = connect(&format!("{}/postgres", self.server)).await?;
        server.execute(AssertSqlSafe(statement.to_owned())).await?;
        server.close().await
    }
}

async fn connect(address: &str) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = address.parse()?;
    options.connect().await
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A runtime of its own: the test's may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let _ = runtime.map(|runtime| {
                runtime.block_on(async {
                    let mut server = connect(&format!("{server}/postgres")).await?;
                    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    server.execute(AssertSqlSafe(statement)).await
                })
            });
        });
        drop(dropping.join());
    }
}
