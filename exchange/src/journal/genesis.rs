//! The file that begins a journal: which one it is, and the bounds that its engine began with.

use std::fmt;
use std::path::{Path, PathBuf};

use domain::{Digest, ShardId};
use matcher::Limits;
use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::segment::FORMAT;
use super::storage::Storage;

const NAME: &str = "journal.json";

/// A number that no two journals share, so that files of one are not taken for files of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalId(pub(super) [u8; 16]);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// What a journal begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Genesis {
    pub(super) journal: JournalId,
    pub(super) limits: Limits,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenesisFile {
    format: u32,
    journal: String,
    shard: ShardId,
    limits: Limits,
}

impl Genesis {
    /// The chain before the first record.
    pub(super) fn chain(&self) -> Digest {
        Digest::of(&self.journal.0)
    }

    /// Reads the genesis, or `None` if the folder has none.
    pub(super) fn read(storage: &dyn Storage, folder: &Path) -> Result<Option<Self>, JournalError> {
        let path = folder.join(NAME);
        let bytes = match storage.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(JournalError::Io {
                    doing: "read",
                    path,
                    source,
                });
            }
        };
        parse(path, &bytes).map(Some)
    }

    /// Begins a journal in an empty folder.
    pub(super) fn create(
        storage: &dyn Storage,
        folder: &Path,
        shard: ShardId,
        limits: Limits,
    ) -> Result<Self, JournalError> {
        let mut journal = [0; 16];
        getrandom::fill(&mut journal).map_err(|error| JournalError::Genesis {
            path: folder.join(NAME),
            what: error.to_string(),
        })?;
        let file = GenesisFile {
            format: FORMAT,
            journal: data_encoding::HEXLOWER.encode(&journal),
            shard,
            limits,
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("a genesis is plain data");
        bytes.push(b'\n');
        super::file::write_whole(storage, folder, NAME, &bytes)?;
        Ok(Self {
            journal: JournalId(journal),
            limits,
        })
    }
}

fn parse(path: PathBuf, bytes: &[u8]) -> Result<Genesis, JournalError> {
    // The format first: that of another version may hold anything else.
    let format = serde_json::from_slice(bytes).map(|FormatOnly { format }| format);
    if let Ok(found) = format
        && found != FORMAT
    {
        return Err(JournalError::Format {
            path,
            found,
            known: FORMAT,
        });
    }
    let file: GenesisFile = match serde_json::from_slice(bytes) {
        Ok(file) => file,
        Err(error) => {
            let what = error.to_string();
            return Err(JournalError::Genesis { path, what });
        }
    };
    let journal = data_encoding::HEXLOWER
        .decode(file.journal.as_bytes())
        .ok()
        .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    match journal {
        Some(journal) => Ok(Genesis {
            journal: JournalId(journal),
            limits: file.limits,
        }),
        None => Err(JournalError::Genesis {
            path,
            what: "its id is not 32 hexadecimal digits".to_owned(),
        }),
    }
}
