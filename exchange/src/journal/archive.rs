//! What can be read of a journal in a folder, while another part of this process, or another process, writes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{Sequence, Timestamp};
use matcher::{Engine, Limits};

use super::error::JournalError;
use super::file::write_whole;
use super::genesis::Genesis;
use super::records::Records;
use super::snapshot::{self, Snapshot};
use super::storage::{Disk, Storage};
use super::{Archive, segment};

/// A journal's folder, to read.
#[derive(Clone, Debug)]
pub struct FileArchive {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    genesis: Genesis,
}

/// A file of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its first record.
    pub first: Sequence,
    /// Where it is.
    pub path: PathBuf,
}

impl FileArchive {
    /// The archive of the journal in a folder of this machine.
    ///
    /// # Errors
    /// When there is no journal.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        Self::open_on(Arc::new(Disk), folder)
    }

    /// The archive of the journal in a folder of a file system.
    ///
    /// # Errors
    /// When there is no journal.
    pub fn open_on(storage: Arc<dyn Storage>, folder: &Path) -> Result<Self, JournalError> {
        let genesis = Genesis::read(storage.as_ref(), folder)?.ok_or_else(|| JournalError::Genesis {
            path: folder.to_owned(),
            what: "the folder holds no journal".to_owned(),
        })?;
        Ok(Self::new(storage, folder.to_owned(), genesis))
    }

    /// The journal's id, which no other journal has.
    #[must_use]
    pub fn id(&self) -> String {
        self.genesis.journal.to_string()
    }

    /// Its segments, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn segments(&self) -> Result<Vec<SegmentFile>, JournalError> {
        let firsts = segment::list(self.storage.as_ref(), &self.folder)?;
        let file = |first| SegmentFile {
            first,
            path: segment::path(&self.folder, first),
        };
        Ok(firsts.into_iter().map(file).collect())
    }

    pub(super) fn new(storage: Arc<dyn Storage>, folder: PathBuf, genesis: Genesis) -> Self {
        Self {
            storage,
            folder,
            genesis,
        }
    }

    /// Removes segments that hold nothing after `base`, and snapshots before it, oldest first; returns how many
    /// segments went.
    fn remove_before(&self, base: Sequence) -> Result<usize, JournalError> {
        let segments = segment::list(self.storage.as_ref(), &self.folder)?;
        let removable = segments
            .windows(2)
            .filter(|pair| pair[1] <= base.next())
            .map(|pair| pair[0]);
        let mut count = 0;
        for first in removable {
            self.remove(&segment::path(&self.folder, first))?;
            count += 1;
        }
        for old in self.snapshots()?.into_iter().filter(|snapshot| *snapshot < base) {
            self.remove(&self.folder.join(snapshot::name(old)))?;
        }
        self.sync()?;
        Ok(count)
    }

    fn remove(&self, path: &Path) -> Result<(), JournalError> {
        self.storage.remove(path).map_err(|source| JournalError::Io {
            doing: "remove",
            path: path.to_owned(),
            source,
        })
    }

    fn sync(&self) -> Result<(), JournalError> {
        self.storage
            .sync_folder(&self.folder)
            .map_err(|source| JournalError::Io {
                doing: "sync",
                path: self.folder.clone(),
                source,
            })
    }
}

impl Archive for FileArchive {
    fn limits(&self) -> Limits {
        self.genesis.limits
    }

    fn read(&self, after: Sequence) -> Result<Records, JournalError> {
        let segments = segment::list(self.storage.as_ref(), &self.folder)?;
        let next = after.next();
        let Some(start) = segments.iter().rposition(|first| *first <= next) else {
            return Err(JournalError::Missing {
                sequence: next,
                folder: self.folder.clone(),
            });
        };
        let mut records = Records::new(
            Arc::clone(&self.storage),
            self.folder.clone(),
            self.genesis.journal,
            segments[start..].iter().copied(),
        );
        records.skip_to(after)?;
        Ok(records)
    }

    fn snapshots(&self) -> Result<Vec<Sequence>, JournalError> {
        let names = self
            .storage
            .list(&self.folder)
            .map_err(|source| JournalError::Io {
                doing: "list",
                path: self.folder.clone(),
                source,
            })?;
        let mut sequences = segment::numbered(&names, snapshot::ENDING);
        sequences.reverse();
        Ok(sequences)
    }

    fn snapshot(&self, sequence: Sequence) -> Result<Snapshot, JournalError> {
        let path = self.folder.join(snapshot::name(sequence));
        match self.storage.read(&path) {
            Ok(bytes) => snapshot::decode(&path, &bytes, self.genesis.journal, sequence),
            Err(source) => Err(JournalError::Io {
                doing: "read",
                path,
                source,
            }),
        }
    }

    fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), JournalError> {
        let bytes = snapshot::encode(snapshot, self.genesis.journal);
        let name = snapshot::name(snapshot.sequence);
        write_whole(self.storage.as_ref(), &self.folder, &name, &bytes)?;
        for old in snapshot::superfluous(&self.snapshots()?) {
            self.remove(&self.folder.join(snapshot::name(old)))?;
        }
        self.sync()
    }

    fn full_before(&self, at: Timestamp) -> Result<Sequence, JournalError> {
        let mut full = Sequence::ZERO;
        let segments = segment::list(self.storage.as_ref(), &self.folder)?;
        for first in segments.into_iter().skip(1) {
            let last_before = Sequence::new(first.get().saturating_sub(1));
            let begins = self.read(last_before)?.next().transpose()?;
            if begins.is_none_or(|record| record.stamped.at >= at) {
                break;
            }
            full = last_before;
        }
        Ok(full)
    }

    fn retain_from(&self, sequence: Sequence) -> Result<usize, JournalError> {
        let candidates = self.snapshots()?;
        for candidate in candidates.into_iter().filter(|snapshot| *snapshot <= sequence) {
            let is_valid = self
                .snapshot(candidate)
                .is_ok_and(|snapshot| Engine::restore(&snapshot.state).is_ok());
            if is_valid {
                return self.remove_before(candidate);
            }
        }
        Ok(0)
    }
}
