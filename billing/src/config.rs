//! Configuration: where to listen, where to keep the books, who may call.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::Credits;
use ledger::MaturityDelays;
use serde::Deserialize;
use service::config::{ConfigError, Mistakes};
use service::secret::Secret;

use crate::keys::random_text;
use crate::store::payout::PayoutState;

/// The database, in the data folder.
const DATABASE_FILE: &str = "billing.sqlite";
/// The service token, in the data folder, unless the configuration names another place.
const TOKEN_FILE: &str = "service-token";
/// Whoever holds this file's lock owns the data folder.
const LOCK_FILE: &str = "billing.lock";

/// The shortest service token: 16 characters, or it could be tried out.
const TOKEN_LENGTH_MIN: usize = 16;
/// The longest service token: a header is no place for more.
const TOKEN_LENGTH_MAX: usize = 512;

/// Earnings mature after a day: long enough for an audit to find a cheat before he is paid.
const MATURITY_DELAY: Duration = Duration::from_secs(24 * 3_600);
/// Those of Islands on probation mature after three: they are audited more, and that takes longer.
const PROBATION_DELAY: Duration = Duration::from_secs(72 * 3_600);
/// Earnings are looked over once a minute: nobody waits a day and minds a minute.
const MATURITY_INTERVAL: Duration = Duration::from_secs(60);

/// Payouts are looked for once a minute: the provider takes longer.
const PAYOUT_INTERVAL: Duration = Duration::from_secs(60);
/// A thousand credits are what a busy Island earns in weeks: somebody should look at more.
const APPROVAL_ABOVE_CREDITS: u32 = 1_000;

/// Ten credits are some seven hundred short answers: enough to find out whether one wants more.
const STARTER_GRANT_CREDITS: u32 = 10;
/// A thousand accounts a day are more than an operator welcomes in person, and ten thousand credits are not much to lose.
const SIGN_UPS_PER_DAY_MAX: u32 = 1_000;

/// The longest that earnings may be held back: a year. Beyond it a delay is a mistake.
const MATURITY_DELAY_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What billing is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where Prometheus may ask for figures, in clear and without a token; nowhere if it is empty.
    pub metrics_listen: String,
    /// The folder that holds the books. It is made if need be, for its owner's eyes only.
    pub data_dir: PathBuf,
    /// Where the books are: `sqlite:FILE` or `postgres://USER@HOST/NAME`. Without it, a SQLite file in the data folder. A
    /// secret, for it may have a password in it.
    pub database: Option<Secret>,
    /// Whether to bring the database to this version's schema at the start; if not, `billing migrate` does. A SQLite file
    /// is always brought up.
    pub migrate_on_start: bool,
    /// What callers must show. Without it, the token is in `service_token_file`.
    pub service_token: Option<Secret>,
    /// The file with what callers must show; made with a random one if it is not there. Without it, `service-token`
    /// in the data folder.
    pub service_token_file: Option<PathBuf>,
    /// When earnings become available.
    pub maturity: Maturity,
    /// How payouts are made.
    pub payouts: Payouts,
    /// Whether and how strangers make their own account.
    pub sign_up: SignUps,
}

/// When earnings become available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maturity {
    /// How long after they were booked, in milliseconds.
    pub delay_ms: u64,
    /// How long after they were booked if the Island was on probation, in milliseconds.
    pub probation_delay_ms: u64,
    /// How often to look, in milliseconds.
    pub interval_ms: u64,
}

impl Maturity {
    /// How long after they were booked, by standing.
    #[must_use]
    pub const fn delays(self) -> MaturityDelays {
        MaturityDelays {
            established: Duration::from_millis(self.delay_ms),
            probation: Duration::from_millis(self.probation_delay_ms),
        }
    }

    /// How often to look.
    #[must_use]
    pub const fn interval(self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

impl Default for Maturity {
    fn default() -> Self {
        let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            delay_ms: milliseconds(MATURITY_DELAY),
            probation_delay_ms: milliseconds(PROBATION_DELAY),
            interval_ms: milliseconds(MATURITY_INTERVAL),
        }
    }
}

/// How payouts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Payouts {
    /// How often to look for payouts to send, in milliseconds.
    pub interval_ms: u64,
    /// Payouts above so many whole credits wait for an operator's approval.
    pub approval_above_credits: u32,
}

impl Payouts {
    /// How often to look.
    #[must_use]
    pub const fn interval(self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// Where a payout of that amount begins.
    #[must_use]
    pub fn state_of(self, amount: Credits) -> PayoutState {
        let most = Credits::from_whole(i64::from(self.approval_above_credits)).unwrap_or(Credits::MAX);
        if amount > most {
            PayoutState::Held
        } else {
            PayoutState::Approved
        }
    }
}

impl Default for Payouts {
    fn default() -> Self {
        Self {
            interval_ms: u64::try_from(PAYOUT_INTERVAL.as_millis()).unwrap_or(u64::MAX),
            approval_above_credits: APPROVAL_ABOVE_CREDITS,
        }
    }
}

/// Whether and how strangers make their own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignUps {
    /// Whether anybody may. Not unless the operator says so: each new account is given credits.
    pub enabled: bool,
    /// How many whole credits a new account is given.
    pub starter_grant_credits: u32,
    /// How many may sign up in a day (UTC), from wherever.
    pub per_day_max: u32,
}

impl SignUps {
    /// What a new account is given.
    #[must_use]
    pub fn grant(self) -> Credits {
        Credits::from_whole(i64::from(self.starter_grant_credits)).unwrap_or(Credits::MAX)
    }
}

impl Default for SignUps {
    fn default() -> Self {
        Self {
            enabled: false,
            starter_grant_credits: STARTER_GRANT_CREDITS,
            per_day_max: SIGN_UPS_PER_DAY_MAX,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            metrics_listen: String::new(),
            data_dir: PathBuf::from("atoll-billing"),
            database: None,
            migrate_on_start: true,
            service_token: None,
            service_token_file: None,
            maturity: Maturity::default(),
            payouts: Payouts::default(),
            sign_up: SignUps::default(),
        }
    }
}

impl Config {
    /// Reads the file, or takes every default when there is none, and checks it whole.
    ///
    /// # Errors
    /// When the file cannot be read, or with every mistake in it.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let config: Self = service::config::load(path)?;
        config.check()?;
        Ok(config)
    }

    /// Checks the values that parse and may make no sense.
    ///
    /// # Errors
    /// With every mistake.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut mistakes = Mistakes::new();
        mistakes.check(!self.data_dir.as_os_str().is_empty(), "data_dir: is empty");
        mistakes.check(
            self.service_token.is_none() || self.service_token_file.is_none(),
            "service_token: give this or service_token_file, not both",
        );
        if let Some(token) = &self.service_token {
            mistakes.take("service_token", check_token(token));
        }
        let delays = self.maturity.delays();
        mistakes.check(
            delays.established <= MATURITY_DELAY_MAX,
            "maturity.delay_ms: must be at most a year",
        );
        mistakes.check(
            delays.probation <= MATURITY_DELAY_MAX,
            "maturity.probation_delay_ms: must be at most a year",
        );
        mistakes.check(
            delays.established <= delays.probation,
            "maturity.probation_delay_ms: must not be less than delay_ms",
        );
        mistakes.take("database", self.database());
        mistakes.take("metrics_listen", self.metrics_address());
        mistakes.check(
            !self.maturity.interval().is_zero() && self.maturity.interval() <= MATURITY_DELAY_MAX,
            "maturity.interval_ms: must be above 0 and at most a year",
        );
        mistakes.check(
            !self.payouts.interval().is_zero() && self.payouts.interval() <= MATURITY_DELAY_MAX,
            "payouts.interval_ms: must be above 0 and at most a year",
        );
        mistakes.finish()
    }

    /// Where the books are: what `database` says, or a file in the data folder.
    ///
    /// # Errors
    /// When `database` is no address of a database that billing can use.
    pub fn database(&self) -> Result<Database, DatabaseError> {
        self.database.as_ref().map_or_else(
            || Ok(Database::Sqlite(database_in(&self.data_dir))),
            Database::parse,
        )
    }

    /// Where Prometheus may ask; `None` for nowhere.
    ///
    /// # Errors
    /// When it is no address.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, std::net::AddrParseError> {
        if self.metrics_listen.is_empty() {
            return Ok(None);
        }
        self.metrics_listen.parse().map(Some)
    }

    /// The file with the service token, if it is not in the configuration itself.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.service_token_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join(TOKEN_FILE))
    }

    /// What callers must show: from the configuration, or from the token's file, which is made if need be.
    ///
    /// # Errors
    /// When the file can neither be read nor made, or holds no token.
    pub fn token(&self) -> Result<Secret, TokenError> {
        if let Some(token) = &self.service_token {
            return Ok(token.clone());
        }
        let path = self.token_file();
        read_or_make_token(&path).map_err(|source| TokenError { path, source })
    }
}

/// Where the books are.
#[derive(Clone, Debug)]
pub enum Database {
    /// In a file.
    Sqlite(PathBuf),
    /// In PostgreSQL, at an address that may have a password in it.
    Postgres(Secret),
}

/// Not where books can be.
#[derive(Debug, thiserror::Error)]
#[error("must be `sqlite:FILE` or `postgres://USER@HOST/NAME`")]
pub struct DatabaseError;

impl Database {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is no address of a database that billing can use.
    pub fn parse(address: &Secret) -> Result<Self, DatabaseError> {
        let text = address.expose();
        if let Some(file) = text.strip_prefix("sqlite:") {
            let file = file.strip_prefix("//").unwrap_or(file);
            let path = PathBuf::from(file);
            return if file.is_empty() {
                Err(DatabaseError)
            } else {
                Ok(Self::Sqlite(path))
            };
        }
        let postgres = ["postgres://", "postgresql://"];
        if postgres.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Postgres(address.clone()));
        }
        Err(DatabaseError)
    }
}

/// The database's file in a data folder.
#[must_use]
pub fn database_in(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE_FILE)
}

/// A service token that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("could not get the service token from {}", path.display())]
pub struct TokenError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

fn check_token(token: &Secret) -> Result<(), String> {
    let text = token.expose();
    if text.len() < TOKEN_LENGTH_MIN || text.len() > TOKEN_LENGTH_MAX {
        return Err(format!(
            "must be {TOKEN_LENGTH_MIN} to {TOKEN_LENGTH_MAX} characters"
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be printable ASCII without spaces".to_owned());
    }
    Ok(())
}

fn read_or_make_token(path: &Path) -> io::Result<Secret> {
    match private_file().create_new(true).open(path) {
        Ok(mut file) => {
            let token = random_text().map_err(io::Error::other)?;
            file.write_all(token.as_bytes())?;
            file.sync_all()?;
            Ok(Secret::new(token))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut text = String::new();
            let longest = u64::try_from(TOKEN_LENGTH_MAX).unwrap_or(u64::MAX);
            File::open(path)?
                .take(longest.saturating_add(2))
                .read_to_string(&mut text)?;
            let token = Secret::new(text.trim_end());
            check_token(&token).map_err(io::Error::other)?;
            Ok(token)
        }
        Err(error) => Err(error),
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// Why a data folder could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another billing has it.
    #[error("{} is in use by another billing", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be made or written.
    #[error("could not use the folder {}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A data folder that nobody else uses until this is dropped.
#[derive(Debug)]
pub struct OwnedFolder {
    path: PathBuf,
    /// Holding it open holds the lock.
    _lock: File,
}

impl OwnedFolder {
    /// Makes the folder if need be, and takes it.
    ///
    /// # Errors
    /// When another process has it, or it cannot be used.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable {
            path: path.to_owned(),
            source,
        };
        make_private_folder(path).map_err(unusable)?;
        let lock = private_file()
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

impl OwnedFolder {
    /// Makes an empty file for its owner's eyes only, unless it is there. What SQLite puts beside it gets the same
    /// rights.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_private_file(&self, file: &Path) -> Result<(), FolderError> {
        match private_file().create_new(true).open(file) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(FolderError::Unusable {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

fn make_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_reported_together() {
        let config = Config {
            data_dir: PathBuf::new(),
            database: Some(Secret::new("mysql://secret@host/x")),
            service_token: Some(Secret::new("short")),
            service_token_file: Some(PathBuf::from("x")),
            maturity: Maturity {
                delay_ms: u64::MAX,
                probation_delay_ms: u64::MAX,
                interval_ms: 0,
            },
            ..Config::default()
        };
        let text = config.check().unwrap_err().to_string();
        for key in [
            "data_dir",
            "service_token_file",
            "16 to 512",
            "maturity.delay_ms",
            "probation_delay_ms",
            "sqlite:FILE",
            "interval_ms",
        ] {
            assert!(text.contains(key), "{key} is missing in: {text}");
        }
        assert!(!text.contains("short") && !text.contains("secret@"), "{text}");
    }

    #[test]
    fn the_database_is_told_by_its_address() {
        let parse = |text: &str| Database::parse(&Secret::new(text));
        let file = |text| match parse(text) {
            Ok(Database::Sqlite(path)) => path,
            other => panic!("{other:?}"),
        };
        assert_eq!(file("sqlite:books.sqlite"), Path::new("books.sqlite"));
        assert_eq!(file("sqlite:///var/books.sqlite"), Path::new("/var/books.sqlite"));
        let postgres = parse("postgres://me:secret@localhost/books").unwrap();
        assert!(!format!("{postgres:?}").contains("secret"), "{postgres:?}");
        for wrong in ["", "sqlite:", "books.sqlite", "mysql://x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_example_says_the_defaults() {
        let example = Config::load(Some(Path::new("example.toml"))).unwrap();
        assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "listn = '127.0.0.1:1'").unwrap();
        assert!(Config::load(Some(file.path())).is_err());
    }

    #[test]
    fn a_token_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        let token = config.token().unwrap();
        assert_eq!(config.token().unwrap(), token);
        assert_eq!(token.expose().len(), 52);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(config.token_file())
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_token_file_with_a_weak_token_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for weak in ["", "x", "sixteen characters but spaced", &"x".repeat(600)] {
            std::fs::write(&path, weak).unwrap();
            let config = Config {
                service_token_file: Some(path.clone()),
                ..Config::default()
            };
            assert!(config.token().is_err(), "{weak:?}");
        }
    }

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let owned = OwnedFolder::take(folder.path()).unwrap();
        assert!(matches!(
            OwnedFolder::take(folder.path()),
            Err(FolderError::InUse { .. })
        ));
        drop(owned);
        assert!(OwnedFolder::take(folder.path()).is_ok());
    }
}
