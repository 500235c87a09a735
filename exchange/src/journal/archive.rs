//! What can be read of a journal in a folder, while another part of this process writes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Sequence;
use matcher::Limits;

use super::error::JournalError;
use super::file::write_whole;
use super::genesis::Genesis;
use super::records::Records;
use super::snapshot::{self, SNAPSHOTS_KEPT, Snapshot};
use super::storage::{Disk, Storage};
use super::{Archive, segment};

/// A journal's folder, to read.
#[derive(Clone, Debug)]
pub struct FileArchive {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    genesis: Genesis,
}

impl FileArchive {
    /// The archive of the journal in a folder of this machine.
    ///
    /// # Errors
    /// When there is no journal.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let storage = Arc::new(Disk);
        let genesis = Genesis::read(storage.as_ref(), folder)?.ok_or_else(|| JournalError::Genesis {
            path: folder.to_owned(),
            what: "the folder holds no journal".to_owned(),
        })?;
        Ok(Self::new(storage, folder.to_owned(), genesis))
    }

    pub(super) fn new(storage: Arc<dyn Storage>, folder: PathBuf, genesis: Genesis) -> Self {
        Self {
            storage,
            folder,
            genesis,
        }
    }

    /// Removes whole segments that end before `sequence`, oldest first, and returns how many.
    pub(super) fn remove_before(&self, sequence: Sequence) -> Result<usize, JournalError> {
        let segments = segment::list(self.storage.as_ref(), &self.folder)?;
        let removable = segments
            .windows(2)
            .filter(|pair| pair[1] <= sequence)
            .map(|pair| pair[0]);
        let mut count = 0;
        for first in removable {
            self.remove(&segment::path(&self.folder, first))?;
            count += 1;
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
        for old in self.snapshots()?.into_iter().skip(SNAPSHOTS_KEPT) {
            self.remove(&self.folder.join(snapshot::name(old)))?;
        }
        self.sync()
    }
}
