//! The `billing` program.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use billing::Config;
use billing::config::{Database, database_in};
use billing::store::postgres::{PostgresStore, Schema};
use billing::store::sqlite::SqliteStore;
use billing::store::{Durability, LedgerStore};
use clap::{Parser, Subcommand};
use service::secret::Secret;
use service::shutdown::Shutdown;

/// Atoll's billing: accounts, keys and settlement. All credits are virtual.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The configuration file; every default without one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks the books and prints what it finds; fails if something is wrong.
    Audit(Where),
    /// Copies the books to a new file while billing runs, and audits the copy. For books in a SQLite file; PostgreSQL has
    /// its own `pg_dump`.
    Backup {
        /// The data folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The file to make.
        file: PathBuf,
    },
    /// Makes the books in a file those of a data folder that has none, and audits them first.
    Restore {
        /// The data folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The file that `billing backup` made.
        file: PathBuf,
    },
    /// Brings the database to this version's schema, as its owner; the service need not be able to.
    Migrate(Where),
}

/// Which books.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Where {
    /// The data folder, with the books in a file.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// `sqlite:FILE` or `postgres://USER@HOST/NAME`.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ATOLL_BILLING_DATABASE",
        hide_env_values = true
    )]
    database: Option<Secret>,
}

impl Where {
    fn database(self) -> anyhow::Result<Database> {
        let folder = self.data.map(|data| Database::Sqlite(database_in(&data)));
        let address = self.database.map(|address| Database::parse(&address));
        match folder.map(Ok).or(address) {
            Some(database) => database.context("--database"),
            None => bail!("give --data or --database"),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    service::logs::init("info");
    service::tls::install_provider();
    let outcome = match arguments.command {
        None => serve(arguments.config).await,
        Some(Command::Audit(books)) => audit(books).await,
        Some(Command::Migrate(books)) => migrate(books).await,
        Some(Command::Backup { data, file }) => billing::backup::backup(&data, &file)
            .await
            .map(|report| billing::report::print(&report)),
        Some(Command::Restore { data, file }) => billing::backup::restore(&file, &data)
            .await
            .map(|report| billing::report::print(&report)),
    };
    outcome.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

async fn serve(config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = Config::load(config.as_deref())?;
    billing::run(config, Shutdown::on_signals()).await?;
    Ok(ExitCode::SUCCESS)
}

async fn audit(books: Where) -> anyhow::Result<ExitCode> {
    let report = match books.database()? {
        Database::Sqlite(path) => SqliteStore::audit_file(&path).await?,
        Database::Postgres(address) => {
            let store = PostgresStore::open(address.expose(), Schema::AsItIs, Durability::Synced).await?;
            store.audit().await?
        }
    };
    Ok(billing::report::print(&report))
}

async fn migrate(books: Where) -> anyhow::Result<ExitCode> {
    match books.database()? {
        Database::Sqlite(path) => {
            SqliteStore::open(&path, Durability::Synced)
                .await?
                .close()
                .await?
        }
        Database::Postgres(address) => PostgresStore::migrate(address.expose()).await?,
    }
    println!("the database has this version's schema");
    Ok(ExitCode::SUCCESS)
}
