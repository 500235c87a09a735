//! Connecting to a database, and its schema.

use std::str::FromStr;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};

use super::{code_of, statements};
use crate::limits::READER_WAIT;
use crate::store::{OpenError, rows};

/// The schema, one migration after the other; each only adds.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// What the database says of a table that is not there.
const NO_TABLE: &str = "42P01";

/// Reads an address.
pub(super) fn options(address: &str) -> Result<PgConnectOptions, OpenError> {
    PgConnectOptions::from_str(address).map_err(|error| OpenError::Address {
        message: error.to_string(),
    })
}

/// The server and the database, for people: no password.
fn name(options: &PgConnectOptions) -> String {
    format!(
        "the database `{}` at {}:{}",
        options.get_database().unwrap_or(options.get_username()),
        options.get_host(),
        options.get_port()
    )
}

pub(super) fn open_error(options: &PgConnectOptions, source: sqlx::Error) -> OpenError {
    OpenError::Open {
        database: name(options),
        source,
    }
}

/// Connections that each begin with these statements.
pub(super) fn pool(connections: u32, session: Vec<&'static str>) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(READER_WAIT)
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move {
                for statement in session {
                    connection.execute(sqlx::raw_sql(statement)).await?;
                }
                Ok(())
            })
        })
}

/// Brings the schema to this version.
pub(super) async fn migrate(options: &PgConnectOptions) -> Result<(), OpenError> {
    let failed = |source| open_error(options, source);
    let mut connection = options.clone().connect().await.map_err(failed)?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|source| migrate_error(options, source))?;
    connection.close().await.map_err(failed)
}

fn migrate_error(options: &PgConnectOptions, source: MigrateError) -> OpenError {
    if let MigrateError::Execute(source) = source {
        return open_error(options, source);
    }
    OpenError::Migrate {
        database: name(options),
        source,
    }
}

/// Refuses a schema that this version does not know. Asked before the session's role is taken: an empty database has none.
pub(super) async fn check_version(options: &PgConnectOptions) -> Result<(), OpenError> {
    let failed = |source| open_error(options, source);
    let behind = || OpenError::Behind {
        database: name(options),
    };
    let mut connection = options.clone().connect().await.map_err(failed)?;
    let row = sqlx::query(statements::SCHEMA_VERSION)
        .fetch_one(&mut connection)
        .await;
    let version = match row {
        Ok(row) => rows::int(&row, 0).map_err(|source| OpenError::Unusable { source })?,
        Err(error) if code_of(&error).as_deref() == Some(NO_TABLE) => return Err(behind()),
        Err(error) => return Err(failed(error)),
    };
    connection.close().await.map_err(failed)?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max();
    let known = known.unwrap_or(0);
    if version < known {
        return Err(behind());
    }
    if version > known {
        return Err(OpenError::Migrate {
            database: name(options),
            source: MigrateError::VersionMissing(version),
        });
    }
    Ok(())
}
