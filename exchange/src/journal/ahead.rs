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

/// What the thread hands over: commands in order, and why there are no more if something is wrong.
#[derive(Debug)]
struct Chunk {
    commands: Vec<Stamped>,
    error: Option<JournalError>,
}

/// The commands of a journal, in order, read by a thread of its own. Ends where the journal ends; after an error,
/// ends.
#[derive(Debug)]
pub struct ReadAhead {
    chunks: Receiver<Chunk>,
    /// What was read, to be filled again.
    emptied: SyncSender<Vec<Stamped>>,
    commands: Vec<Stamped>,
    error: Option<JournalError>,
}

impl ReadAhead {
    /// Begins to read. The thread ends with the records, or when this is dropped.
    pub(super) fn start(records: Records) -> Result<Self, JournalError> {
        let folder = records.folder().to_owned();
        let (send, chunks) = sync_channel(CHUNKS_AHEAD);
        let (emptied, empty) = sync_channel(CHUNKS_AHEAD);
        thread::Builder::new()
            .name("journal-read".to_owned())
            .spawn(move || read(records, &send, &empty))
            .map_err(|source| JournalError::Io {
                doing: "start a thread that reads",
                path: folder,
                source,
            })?;
        Ok(Self {
            chunks,
            emptied,
            commands: Vec::new(),
            error: None,
        })
    }

    /// The next commands, a few hundred at a time; none when the journal has ended.
    ///
    /// # Errors
    /// When what follows cannot be read or is damaged; all before it was handed out.
    pub fn next_chunk(&mut self) -> Result<&[Stamped], JournalError> {
        let mut read = std::mem::take(&mut self.commands);
        if read.capacity() > 0 {
            read.clear();
            // The thread that would fill it may have come to the end, or have enough.
            drop(self.emptied.try_send(read));
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let Ok(Chunk { commands, error }) = self.chunks.recv() else {
            return Ok(&[]);
        };
        if let Some(error) = error {
            if commands.is_empty() {
                return Err(error);
            }
            self.error = Some(error);
        }
        self.commands = commands;
        Ok(&self.commands)
    }
}

fn read(mut records: Records, send: &SyncSender<Chunk>, empty: &Receiver<Vec<Stamped>>) {
    loop {
        let mut commands = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
        let error = records.decode_into(&mut commands, CHUNK).err();
        let is_last = error.is_some() || commands.len() < CHUNK;
        // Nobody may read on.
        if send.send(Chunk { commands, error }).is_err() || is_last {
            return;
        }
    }
}
