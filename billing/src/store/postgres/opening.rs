//! Connecting to a database, and its schema.

use std::str::FromStr;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};

use super::{code_of, statements};
use crate::limits::READER_WAIT;
use crate::store::statements::SCHEMA_VERSION;
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

/// Refuses a login that may not become the role which the service works under. From PostgreSQL 16 on, membership alone does
/// not say so.
pub(super) async fn check_role(options: &PgConnectOptions) -> Result<(), OpenError> {
    let failed = |source| open_error(options, source);
    let mut connection = options.clone().connect().await.map_err(failed)?;
    let version = sqlx::query(statements::SERVER_VERSION)
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    let unusable = |source| OpenError::Unusable { source };
    let statement = role_check(rows::int(&version, 0).map_err(unusable)?);
    let row = sqlx::query(statement)
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    let allowed = rows::int(&row, 0).map_err(unusable)? > 0;
    connection.close().await.map_err(failed)?;
    if allowed {
        return Ok(());
    }
    Err(OpenError::Role {
        database: name(options),
        login: options.get_username().to_owned(),
    })
}

/// How a server of that version is asked whether the login may become the role.
const fn role_check(server_version: i64) -> &'static str {
    if server_version >= SET_OPTION_SINCE {
        statements::MAY_SET_ROLE
    } else {
        statements::IS_MEMBER
    }
}

/// The first version in which a member may be without the right to become the role.
const SET_OPTION_SINCE: i64 = 160_000;

/// Refuses a schema that this version does not know. Asked before the session's role is taken: an empty database has none.
pub(super) async fn check_version(options: &PgConnectOptions) -> Result<(), OpenError> {
    let failed = |source| open_error(options, source);
    let behind = || OpenError::Behind {
        database: name(options),
    };
    let mut connection = options.clone().connect().await.map_err(failed)?;
    let row = sqlx::query(SCHEMA_VERSION).fetch_one(&mut connection).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_without_the_set_option_is_told_apart_where_there_is_one() {
        assert_eq!(role_check(150_020), statements::IS_MEMBER);
        assert_eq!(role_check(160_000), statements::MAY_SET_ROLE);
        assert!(statements::MAY_SET_ROLE.contains("'SET'"));
    }
}
