//! What one `atoll up` remembers in its folder: accounts, keys and, while it runs, its address.
//!
//! The file holds secrets, so only its owner may read it. Deliberately absent: money and orders, which live with
//! billing and in the journal.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, Serializer};
use service::secret::Secret;

/// The file's name in the folder.
const FILE: &str = "up.json";

/// What is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Between exchange and billing.
    #[serde(serialize_with = "expose")]
    pub(crate) service_token: Secret,
    /// For the exchange's operator.
    #[serde(serialize_with = "expose")]
    pub(crate) operator_token: Secret,
    /// Who buys.
    pub(crate) consumer: Holder,
    /// Who owns the Islands.
    pub(crate) owner: Holder,
    /// Where the exchange listens, while it runs.
    pub(crate) address: Option<String>,
}

/// An account and its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holder {
    /// The account, `acc_…`.
    pub(crate) account: String,
    /// Its key.
    #[serde(serialize_with = "expose")]
    pub(crate) api_key: Secret,
}

fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// The name of the file with an account that somebody signed up for.
const MEMBERSHIP_FILE: &str = "account.json";

/// An account that somebody signed up for, at an exchange of somebody else's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Membership {
    /// Where the exchange is.
    pub(crate) exchange: String,
    /// The account, `acc_…`.
    pub(crate) account: String,
    /// Its key.
    #[serde(serialize_with = "expose")]
    pub(crate) api_key: Secret,
}

impl Membership {
    /// The file of an account in the folder, be it one that signed up or those of `atoll up`.
    #[must_use]
    pub(crate) fn taken(folder: &Path) -> Option<PathBuf> {
        let files = [folder.join(FILE), folder.join(MEMBERSHIP_FILE)];
        files.into_iter().find(|file| file.exists())
    }

    /// The account that the folder remembers, or `None` if nobody signed up with it.
    ///
    /// # Errors
    /// When the file cannot be read or is not ours.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MEMBERSHIP_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        };
        let read = serde_json::from_slice(&bytes).map(Some);
        read.with_context(|| format!("{} is not a file of `atoll sign-up`", path.display()))
    }

    /// Remembers this in a folder that remembers no account; returns the file.
    ///
    /// # Errors
    /// When the folder cannot be written, or has an account meanwhile: that one stays.
    pub(crate) fn keep(&self, folder: &Path) -> Result<PathBuf> {
        let (path, fresh) = (folder.join(MEMBERSHIP_FILE), folder.join(".account.json.new"));
        let save = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            // A link is made in one step, and not over a file that is there.
            let linked = fs::hard_link(&fresh, &path);
            fs::remove_file(&fresh)?;
            linked
        };
        save().with_context(|| format!("could not write {}; note the key down", path.display()))?;
        Ok(path)
    }
}

/// Where `atoll up` keeps its state unless told otherwise.
#[must_use]
pub(crate) fn default_folder() -> PathBuf {
    let home = || env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map_or_else(|| home().join(".local/state"), PathBuf::from)
        .join("atoll")
}

impl State {
    /// What the folder remembers, or `None` if nothing ever ran there.
    ///
    /// # Errors
    /// When the file cannot be read or is not ours.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        };
        serde_json::from_slice(&bytes).map(Some).with_context(|| {
            format!(
                "{} is not a state file of `atoll up`; move the folder away to begin anew",
                path.display()
            )
        })
    }

    /// Remembers this, replacing the file in one step.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let (path, fresh) = (folder.join(FILE), folder.join(".up.json.new"));
        let save = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        save().with_context(|| format!("could not write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let holder = |account: &str| Holder {
            account: account.into(),
            api_key: Secret::new("atoll_sk_x"),
        };
        State {
            service_token: Secret::new("s"),
            operator_token: Secret::new("o"),
            consumer: holder("acc_1"),
            owner: holder("acc_2"),
            address: None,
        }
    }

    #[test]
    fn state_reads_back_as_it_was_written_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        assert!(State::read(folder.path()).unwrap().is_none());
        state().write(folder.path()).unwrap();
        let read = State::read(folder.path()).unwrap().unwrap();
        assert_eq!(read.consumer.api_key.expose(), "atoll_sk_x");
        let mode = fs::metadata(folder.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_account_is_kept_once_and_for_its_owner_s_eyes() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/down");
        let member = |key: &str| Membership {
            exchange: "http://127.0.0.1:8080".into(),
            account: "acc_1".into(),
            api_key: Secret::new(key),
        };
        assert!(Membership::read(&folder).unwrap().is_none() && Membership::taken(&folder).is_none());
        let path = member("atoll_sk_first").keep(&folder).unwrap();
        assert!(member("atoll_sk_second").keep(&folder).is_err());
        let read = Membership::read(&folder).unwrap().unwrap();
        assert_eq!(read.api_key.expose(), "atoll_sk_first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Membership::taken(&folder), Some(path.clone()));
        assert!(!format!("{read:?}").contains("atoll_sk"));
        fs::write(&path, "{\"half\": ").unwrap();
        assert!(Membership::read(&folder).is_err());
        // The accounts of `atoll up` are not to be overlooked either.
        let up = tempfile::tempdir().unwrap();
        state().write(up.path()).unwrap();
        assert!(Membership::taken(up.path()).is_some());
    }

    #[test]
    fn a_file_that_is_not_ours_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{\"half\": ").unwrap();
        assert!(
            State::read(folder.path())
                .unwrap_err()
                .to_string()
                .contains("move the folder away")
        );
    }
}
