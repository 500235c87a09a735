//! Which Islands exist: an id, a public key, an owner and a name each, in an append-only file of JSON lines.
//!
//! An id is made from the key, so the same key is the same Island whenever it enrols, on any exchange's disk. The
//! owner is fixed by the first enrolment. A line that was cut short by a crash was never acknowledged and is dropped;
//! anything else that does not read is damage and is reported.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{AccountId, Digest, IslandId, Timestamp};
use serde::{Deserialize, Serialize};

/// The file, in the exchange's data folder.
const FILE: &str = "islands.jsonl";

/// Islands that one account may own: more belong to several accounts.
pub const ISLANDS_PER_ACCOUNT_MAX: usize = 1_024;

/// An Island.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Its id.
    pub island: IslandId,
    /// Its key.
    pub public_key: [u8; 32],
    /// The account that earns.
    pub owner: AccountId,
    /// A name for people.
    pub name: String,
    /// When it first enrolled.
    pub enrolled_at: Timestamp,
}

/// An Island on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    island: String,
    public_key: String,
    owner: String,
    name: String,
    enrolled_at_us: u64,
}

/// Why an Island cannot enrol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// The key belongs to another account's Island.
    #[error("this key is enrolled under another account")]
    OtherOwner,
    /// Another key has the same id: out of reach by accident.
    #[error("another key has the same Island id; make a new key")]
    Collision,
    /// The account owns as many as it may.
    #[error("an account enrols at most {ISLANDS_PER_ACCOUNT_MAX} Islands")]
    TooMany,
    /// It could not be written down.
    #[error("the enrolment could not be stored")]
    Store,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentsError {
    /// The file could not be read or written.
    #[error("could not use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A whole line that is no Island.
    #[error("line {line} of {} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

/// All Islands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Enrolments(Arc<Mutex<Store>>);

#[derive(Debug)]
struct Store {
    file: File,
    islands: HashMap<IslandId, Enrolment>,
}

/// The Island of a key: the first 63 bits of its SHA-256.
#[must_use]
pub fn island_of_key(public_key: &[u8; 32]) -> IslandId {
    let digest = Digest::of(public_key);
    let first = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    IslandId::new(u64::from_be_bytes(first) >> 1)
}

impl Enrolments {
    /// Reads the Islands in `folder`.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open(folder: &Path) -> Result<Self, EnrolmentsError> {
        let path = folder.join(FILE);
        let failed = |source| EnrolmentsError::File {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let mut islands = HashMap::new();
        let mut whole = 0;
        let mut reader = BufReader::new(&file);
        for number in 1.. {
            let mut line = Vec::new();
            let length = reader.read_until(b'\n', &mut line).map_err(failed)?;
            if length == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let enrolment = parse(&line).ok_or_else(|| EnrolmentsError::Damaged {
                path: path.clone(),
                line: number,
            })?;
            islands.insert(enrolment.island, enrolment);
            whole += u64::try_from(length).unwrap_or(u64::MAX);
        }
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::Start(whole)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        Ok(Self(Arc::new(Mutex::new(Store { file, islands }))))
    }

    /// An Island.
    #[must_use]
    pub fn find(&self, island: IslandId) -> Option<Enrolment> {
        self.lock().islands.get(&island).cloned()
    }

    /// Finds the Island of a key, or makes it; durable when this returns. Blocks while it writes.
    ///
    /// # Errors
    /// See [`EnrolError`].
    pub fn enrol(
        &self,
        public_key: [u8; 32],
        owner: AccountId,
        name: &str,
        now: Timestamp,
    ) -> Result<Enrolment, EnrolError> {
        let island = island_of_key(&public_key);
        let mut store = self.lock();
        if let Some(known) = store.islands.get(&island) {
            if known.public_key != public_key {
                return Err(EnrolError::Collision);
            }
            if known.owner != owner {
                return Err(EnrolError::OtherOwner);
            }
            return Ok(known.clone());
        }
        let owned = store.islands.values().filter(|known| known.owner == owner);
        if owned.count() >= ISLANDS_PER_ACCOUNT_MAX {
            return Err(EnrolError::TooMany);
        }
        let enrolment = Enrolment {
            island,
            public_key,
            owner,
            name: name.to_owned(),
            enrolled_at: now,
        };
        store.append(&enrolment).map_err(|error| {
            tracing::error!(%error, "an enrolment could not be stored");
            EnrolError::Store
        })?;
        store.islands.insert(island, enrolment.clone());
        Ok(enrolment)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Store> {
        // The map is only touched after the file was, so a poisoned lock still holds what the file does.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Appends a line, or leaves the file as it was.
    fn append(&mut self, enrolment: &Enrolment) -> io::Result<()> {
        let line = Line {
            island: enrolment.island.to_string(),
            public_key: data_encoding::HEXLOWER.encode(&enrolment.public_key),
            owner: enrolment.owner.to_string(),
            name: enrolment.name.clone(),
            enrolled_at_us: enrolment.enrolled_at.as_micros(),
        };
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::other)?;
        bytes.push(b'\n');
        let end = self.file.stream_position()?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
        }
        written
    }
}

fn parse(line: &[u8]) -> Option<Enrolment> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let public_key = data_encoding::HEXLOWER.decode(line.public_key.as_bytes()).ok()?;
    let enrolment = Enrolment {
        island: line.island.parse().ok()?,
        public_key: public_key.try_into().ok()?,
        owner: line.owner.parse().ok()?,
        name: line.name,
        enrolled_at: Timestamp::from_micros(line.enrolled_at_us),
    };
    (enrolment.island == island_of_key(&enrolment.public_key)).then_some(enrolment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: AccountId = AccountId::new(1);

    fn enrol(islands: &Enrolments, key: u8, owner: AccountId) -> Result<Enrolment, EnrolError> {
        islands.enrol([key; 32], owner, "a name", Timestamp::from_micros(7))
    }

    #[test]
    fn the_same_key_is_the_same_island_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = enrol(&Enrolments::open(folder.path()).unwrap(), 1, OWNER).unwrap();
        let islands = Enrolments::open(folder.path()).unwrap();
        assert_eq!(islands.find(first.island), Some(first.clone()));
        assert_eq!(enrol(&islands, 1, OWNER), Ok(first));
        let lines = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(lines.lines().count(), 1);
    }

    #[test]
    fn an_island_keeps_its_first_owner() {
        let folder = tempfile::tempdir().unwrap();
        let islands = Enrolments::open(folder.path()).unwrap();
        enrol(&islands, 1, OWNER).unwrap();
        assert_eq!(enrol(&islands, 1, AccountId::new(2)), Err(EnrolError::OtherOwner));
    }

    #[test]
    fn a_line_cut_short_is_dropped_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        enrol(&Enrolments::open(folder.path()).unwrap(), 1, OWNER).unwrap();
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            let torn = [whole.as_slice(), &whole[..cut]].concat();
            std::fs::write(&path, torn).unwrap();
            let islands = Enrolments::open(folder.path()).unwrap();
            assert_eq!(islands.lock().islands.len(), 1, "cut at {cut}");
            enrol(&islands, 2, OWNER).unwrap();
            assert_eq!(Enrolments::open(folder.path()).unwrap().lock().islands.len(), 2);
        }
    }

    #[test]
    fn a_damaged_line_is_reported_and_not_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let islands = Enrolments::open(folder.path()).unwrap();
        enrol(&islands, 1, OWNER).unwrap();
        enrol(&islands, 2, OWNER).unwrap();
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("isl_", "isl_1", 1)).unwrap();
        assert!(matches!(
            Enrolments::open(folder.path()),
            Err(EnrolmentsError::Damaged { line: 1, .. })
        ));
    }

    #[test]
    fn an_account_enrols_a_bounded_number_of_islands() {
        let folder = tempfile::tempdir().unwrap();
        let islands = Enrolments::open(folder.path()).unwrap();
        for number in 0..ISLANDS_PER_ACCOUNT_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            let enrolment = Enrolment {
                island: island_of_key(&key),
                public_key: key,
                owner: OWNER,
                name: String::new(),
                enrolled_at: Timestamp::ZERO,
            };
            islands.lock().islands.insert(enrolment.island, enrolment);
        }
        assert_eq!(enrol(&islands, 200, OWNER), Err(EnrolError::TooMany));
        assert!(enrol(&islands, 200, AccountId::new(2)).is_ok());
    }
}
