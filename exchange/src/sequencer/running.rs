//! Starting the sequencer, waiting for its end, stopping it.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use domain::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::recovery::{Poisoned, StartError, recover};
use super::replay::Replay;
use super::shell::Shell;
use super::upkeep::Upkeeper;
use super::writer::Writer;
use super::{Applied, COMMANDS_QUEUED_MAX, Recovery, SequencerConfig, SequencerHandle, Upkeep};
use crate::journal::{AppendError, FileJournal, FileJournalOptions, Journal};

/// Why a sequencer ended by itself. Nothing that was not durable has been acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum SequencerError {
    /// The journal could not make commands durable.
    #[error("the journal failed, so nothing more is acknowledged")]
    Journal(#[source] AppendError),
    /// A bug: the engine panicked over a command. That one and those that waited with it are not acknowledged.
    #[error("the engine broke, so nothing more is acknowledged")]
    Poisoned(#[from] Poisoned),
    /// A bug: a thread of the sequencer panicked.
    #[error("the sequencer panicked; the log says where")]
    Panicked,
}

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's wall clock.
    #[must_use]
    pub fn wall() -> Self {
        Self::new(|| Timestamp::from_micros(service::clock::unix_micros()))
    }

    /// A clock that reads the wall once and then only counts: no step of the machine's clock ends a lease.
    #[must_use]
    pub fn steady() -> Self {
        let (wall, began) = (Self::wall().now(), std::time::Instant::now());
        Self::new(move || wall.after(began.elapsed()))
    }

    /// A clock that asks `now`.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A sequencer that was started.
#[derive(Debug)]
pub struct Started {
    /// Sends it commands.
    pub handle: SequencerHandle,
    /// Stops it.
    pub sequencer: Sequencer,
    /// What the start found.
    pub recovery: Recovery,
    /// Reads what was before.
    pub replay: Replay,
}

/// The sequencer's thread. Dropping it stops the thread without waiting for it.
#[derive(Debug)]
pub struct Sequencer {
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), SequencerError>>,
    thread: Option<JoinHandle<()>>,
}

impl Sequencer {
    /// Opens the journal, rebuilds the engine, and starts the thread. Blocks while it replays. Subscribers see the
    /// commands after the recovered ones.
    ///
    /// # Errors
    /// When the journal is in use, damaged or unreadable, or a thread could not be started.
    pub fn start(
        config: &SequencerConfig,
        subscribers: Vec<mpsc::Sender<Applied>>,
    ) -> Result<Started, StartError> {
        let options = FileJournalOptions {
            limits: config.limits,
            segment_bytes: config.segment_bytes,
            ..FileJournalOptions::default()
        };
        let journal = FileJournal::open(Arc::clone(&config.storage), &config.folder, options)?;
        let limits = journal.archive().limits();
        if limits != config.limits {
            tracing::warn!(
                ?limits,
                "the journal keeps the limits that it began with, not those of the configuration"
            );
        }
        Self::start_on(Box::new(journal), Clock::wall(), config.upkeep, subscribers)
    }

    /// Starts on a journal that is open already.
    ///
    /// # Errors
    /// When the journal is damaged or unreadable, or a thread could not be started.
    pub fn start_on(
        journal: Box<dyn Journal>,
        clock: Clock,
        upkeep: Upkeep,
        subscribers: Vec<mpsc::Sender<Applied>>,
    ) -> Result<Started, StartError> {
        let archive = journal.archive();
        let position = journal.position();
        let space = journal.space();
        let (engine, recovery) = recover(archive.as_ref(), position)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(StartError::Thread)?;
        let (requests, queue) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let writer = Writer::start(journal).map_err(StartError::Thread)?;
        let replay = Replay::new(Arc::clone(&archive));
        let upkeep = Upkeeper::new(archive, upkeep, replay.released(), recovery.from_snapshot);
        let shell = Shell::new(engine, writer, position, clock, subscribers, upkeep);
        let thread = thread::Builder::new()
            .name("sequencer".to_owned())
            .spawn(move || {
                let result = shell.run(&runtime, queue, stopped);
                if let Err(error) = &result {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "the sequencer has failed");
                }
                // Nobody may be waiting for the end.
                drop(end.send(result));
            })
            .map_err(StartError::Thread)?;
        Ok(Started {
            handle: SequencerHandle { requests, space },
            sequencer: Self {
                stop: Some(stop),
                ended,
                thread: Some(thread),
            },
            recovery,
            replay,
        })
    }

    /// Waits until it ends, by a failure or because every handle is gone. Safe to drop and call again until it has
    /// returned.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn ended(&mut self) -> Result<(), SequencerError> {
        (&mut self.ended).await.unwrap_or(Err(SequencerError::Panicked))
    }

    /// Takes no more commands, finishes those that are queued, takes a snapshot, and ends. Subscribers must be
    /// drained, or dropped, meanwhile.
    ///
    /// # Errors
    /// When it failed before or meanwhile.
    pub async fn stop(mut self) -> Result<(), SequencerError> {
        drop(self.stop.take());
        // Whoever has waited for the end knows how it came.
        let result = match self.ended.is_terminated() {
            true => Ok(()),
            false => self.ended().await,
        };
        if let Some(thread) = self.thread.take() {
            // It has reported its end, so this waits for no more than its last instructions; a panic is reported.
            drop(thread.join());
        }
        result
    }
}
