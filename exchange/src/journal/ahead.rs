//! Reads ahead: one thread reads, checks and decodes records while another applies those before.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use matcher::Stamped;

use super::error::JournalError;
use super::records::Records;

/// Commands that are handed over together: so few that they stay in the cache, so many that handing over costs
/// nothing.
const CHUNK: usize = 256;

/// Chunks that wait at most.
const CHUNKS_AHEAD: usize = 8;

type Chunk = Vec<Result<Stamped, JournalError>>;

/// The commands of a journal, in order, read by a thread of its own. Ends where the journal ends; after an error,
/// ends.
#[derive(Debug)]
pub struct ReadAhead {
    chunks: Receiver<Chunk>,
    chunk: std::vec::IntoIter<Result<Stamped, JournalError>>,
}

impl ReadAhead {
    /// Begins to read. The thread ends with the records, or when this is dropped.
    pub(super) fn start(records: Records) -> Result<Self, JournalError> {
        let folder = records.folder().to_owned();
        let (send, chunks) = sync_channel(CHUNKS_AHEAD);
        thread::Builder::new()
            .name("journal-read".to_owned())
            .spawn(move || read(records, &send))
            .map_err(|source| JournalError::Io {
                doing: "start a thread that reads",
                path: folder,
                source,
            })?;
        Ok(Self {
            chunks,
            chunk: Vec::new().into_iter(),
        })
    }
}

fn read(records: Records, send: &SyncSender<Chunk>) {
    let mut chunk = Vec::with_capacity(CHUNK);
    for record in records {
        chunk.push(record.map(|record| record.stamped));
        if chunk.len() == CHUNK {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
            if send.send(full).is_err() {
                // Nobody reads on.
                return;
            }
        }
    }
    drop(send.send(chunk));
}

impl Iterator for ReadAhead {
    type Item = Result<Stamped, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(next) = self.chunk.next() {
                return Some(next);
            }
            self.chunk = self.chunks.recv().ok()?.into_iter();
        }
    }
}
