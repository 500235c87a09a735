//! What can go wrong with a store: the world's fault or ours, never the user's.

use std::path::PathBuf;
use std::sync::Arc;

/// Why a store could not do what was asked: the world's fault or ours, never the user's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer: locked, full, gone.
    #[error("could not {doing}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A constraint or trigger of the database refused a row. Nothing of the batch was written.
    #[error("the database refused to {doing}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Which rule.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The database is damaged, or holds what no version of this program writes.
    #[error("the database is damaged: {what}")]
    Damaged {
        /// Where, and what is there.
        what: String,
    },
}

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
    /// It cannot be opened.
    #[error("could not open {database}")]
    Open {
        /// The file, or the server and the database, without the password.
        database: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The address is no address of a database.
    #[error("could not read the address of the database: {message}")]
    Address {
        /// What is wrong with it; the address has a password in it.
        message: String,
    },
    /// The schema is not one that this version knows.
    #[error("could not bring {database} to this version's schema")]
    Migrate {
        /// The file, or the server and the database.
        database: String,
        /// Which migration.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The schema is of an earlier version, and this program was told not to change it.
    #[error("{database} has an earlier schema; bring it up with `billing migrate`, as its owner")]
    Behind {
        /// The file, or the server and the database.
        database: String,
    },
    /// The login may not become the role that the service works under.
    #[error(
        "`{login}` may not become the role `atoll_billing` in {database}; let somebody who may run `GRANT atoll_billing \
         TO \"{login}\"` there, from PostgreSQL 16 on `WITH SET TRUE`"
    )]
    Role {
        /// The server and the database.
        database: String,
        /// Who logged in.
        login: String,
    },
    /// What is in it cannot be used.
    #[error("the books cannot be used")]
    Unusable {
        /// Why.
        #[source]
        source: StoreError,
    },
}
