//! The next segment, made on a thread of its own while the current one fills: no append waits for sixteen megabytes of
//! zeros, and a full disk is met while there is room for all that is under way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::error::JournalError;
use super::segment::{self, Prepared};
use super::storage::Storage;

/// Between two attempts while the disk is full.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often one who waits for the segment looks whether it will come at all.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Whether the disk had room for the next segment when that was last tried. While it had not, what is under way can
/// still be journaled, and whoever takes new orders should not. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Space(Arc<AtomicBool>);

impl Space {
    /// Whether there was no room.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set_short(&self, is_short: bool) {
        self.0.store(is_short, Ordering::Relaxed);
    }
}

/// Keeps one segment ready. Dropping it waits for its thread, so that the folder is free afterwards.
#[derive(Debug)]
pub(super) struct Spare {
    folder: PathBuf,
    space: Space,
    ready: Option<Receiver<Prepared>>,
    /// Dropped to cut short the pause between two attempts.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Spare {
    /// Begins to make the first one.
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        folder: PathBuf,
        size: usize,
    ) -> Result<Self, JournalError> {
        let space = Space::default();
        // Without a buffer: the one that waits to be taken is the only one.
        let (offer, ready) = sync_channel(0);
        let (stop, stopped) = sync_channel(0);
        let keeper = Keeper {
            storage,
            folder: folder.clone(),
            size,
            space: space.clone(),
        };
        let thread = thread::Builder::new()
            .name("journal-spare".to_owned())
            .spawn(move || keeper.run(&offer, &stopped))
            .map_err(|source| JournalError::Io {
                doing: "start a thread that makes segments in",
                path: folder.clone(),
                source,
            })?;
        Ok(Self {
            folder,
            space,
            ready: Some(ready),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn space(&self) -> Space {
        self.space.clone()
    }

    /// Takes the segment, waiting for it if it is being made; the next one is begun.
    pub(super) fn take(&self) -> Result<Prepared, JournalError> {
        let no_space = || JournalError::NoSpace {
            folder: self.folder.clone(),
        };
        let ready = self.ready.as_ref().ok_or_else(no_space)?;
        loop {
            match ready.recv_timeout(LOOK_INTERVAL) {
                Ok(prepared) => return Ok(prepared),
                Err(RecvTimeoutError::Timeout) if !self.space.is_short() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(no_space()),
            }
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.ready = None;
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there is in the log, and what it leaves is removed by the next start.
            drop(thread.join());
        }
    }
}

/// What the thread works with.
struct Keeper {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    size: usize,
    space: Space,
}

impl Keeper {
    fn run(&self, offer: &SyncSender<Prepared>, stopped: &Receiver<()>) {
        let mut failures: u64 = 0;
        let mut number: u64 = 0;
        loop {
            number += 1;
            let path = segment::spare_path(&self.folder, number);
            match segment::prepare(self.storage.as_ref(), path, self.size) {
                Ok(prepared) => {
                    self.space.set_short(false);
                    if failures > 0 {
                        tracing::info!("there is room for the journal again");
                    }
                    failures = 0;
                    if let Err(unwanted) = offer.send(prepared) {
                        // The next start would remove it as well.
                        drop(self.storage.remove(&unwanted.0.path));
                        return;
                    }
                }
                Err(error) => {
                    self.space.set_short(true);
                    failures = failures.saturating_add(1);
                    if failures.is_power_of_two() {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(
                            error,
                            failures,
                            "no room for the journal's next segment: new orders are refused until there is"
                        );
                    }
                    if stopped.recv_timeout(RETRY_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            }
        }
    }
}
