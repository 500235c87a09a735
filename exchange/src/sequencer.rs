//! The one way into the engine: commands are stamped, made durable, applied, and only then reported.
//!
//! Owns the engine and the journal, each on its own thread. Invariants:
//! - a command's sequence is one more than the command's before, its time never earlier;
//! - nothing is replied or published before it is durable;
//! - subscribers see every durable command, in order, none twice;
//! - after a failure of the journal nothing is acknowledged any more: the sequencer ends, and says why.
//!
//! Deliberately absent: any decision about a command. A refusal is the engine's event.

mod recovery;
mod replay;
mod running;
mod shell;
mod upkeep;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::{Digest, Sequence, Timestamp};
use matcher::{Command, Engine, Event, Limits};
use tokio::sync::{mpsc, oneshot};

use crate::journal::{Disk, SEGMENT_BYTES, Space, Storage};
pub use recovery::{Poisoned, StartError};
pub use replay::{Moment, Replay, ReplayError, engine_at, replay_events};
pub use running::{Clock, Sequencer, SequencerError, Started};

/// Commands that wait for the sequencer. A caller that finds the queue full waits for a place.
pub const COMMANDS_QUEUED_MAX: usize = 4_096;

/// Commands that are made durable together at most: enough that one sync is shared by all that arrive while another
/// runs, few enough that the first of them does not wait long.
pub const COMMANDS_PER_BATCH_MAX: usize = 512;

/// Commands between two snapshots: a restart replays at most about this many.
pub const COMMANDS_PER_SNAPSHOT: u64 = 100_000;

/// Commands that wait for one subscriber; beyond it the sequencer waits for him.
pub const SUBSCRIPTION_QUEUED_MAX: usize = 4_096;

/// A command that is durable, with what it did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// Its time.
    pub at: Timestamp,
    /// What was asked.
    pub command: Arc<Command>,
    /// What the engine did.
    pub events: Arc<[Event]>,
}

/// Every durable command in order. The sequencer waits for a slow subscriber, so a subscriber never awaits
/// [`SequencerHandle::apply`] in the task that drains its subscription.
pub type Subscription = mpsc::Receiver<Applied>;

/// A subscription and the end of it that [`Sequencer::start`] takes.
#[must_use]
pub fn subscription() -> (mpsc::Sender<Applied>, Subscription) {
    mpsc::channel(SUBSCRIPTION_QUEUED_MAX)
}

/// The sequencer takes no more commands: it was stopped, or its journal failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sequencer has stopped")]
pub struct SequencerClosed;

/// How a sequencer is started.
#[derive(Clone, Debug)]
pub struct SequencerConfig {
    /// The journal's folder; made if it is not there.
    pub folder: PathBuf,
    /// The file system that the folder is in.
    pub storage: Arc<dyn Storage>,
    /// The size of a segment.
    pub segment_bytes: usize,
    /// The bounds of a new engine. A journal that exists keeps the bounds that it began with.
    pub limits: Limits,
    /// How the journal is kept short.
    pub upkeep: Upkeep,
}

/// How a journal is kept short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Commands between two snapshots.
    pub commands_per_snapshot: u64,
    /// How much of the past is kept.
    pub retention: Retention,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            commands_per_snapshot: COMMANDS_PER_SNAPSHOT,
            retention: Retention::default(),
        }
    }
}

/// How much of the past a journal keeps. What a restart needs, and what a reader has not released
/// ([`Replay::release`]), is kept in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// All of it: any book can be rebuilt at any instant.
    #[default]
    Everything,
    /// At least the commands of so long a time, and no more than whole segments and the way from a snapshot add to it.
    For(Duration),
}

impl SequencerConfig {
    /// The defaults, with the journal in `folder` of this machine.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            storage: Arc::new(Disk),
            segment_bytes: SEGMENT_BYTES,
            limits: Limits::default(),
            upkeep: Upkeep::default(),
        }
    }
}

/// What a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The last command's place.
    pub sequence: Sequence,
    /// The snapshot that the replay began from.
    pub from_snapshot: Option<Sequence>,
    /// Commands that were replayed after it.
    pub replayed: u64,
    /// A digest of the engine's state.
    pub state_hash: Digest,
    /// How long it took.
    pub took: Duration,
}

type ReadFn = Box<dyn FnOnce(&Engine) + Send>;

enum Request {
    Apply {
        command: Box<Command>,
        reply: oneshot::Sender<Applied>,
    },
    Read(ReadFn),
}

/// Sends commands to the sequencer. Cheap to clone.
#[derive(Clone)]
pub struct SequencerHandle {
    requests: mpsc::Sender<Request>,
    space: Space,
}

impl std::fmt::Debug for SequencerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SequencerHandle").finish_non_exhaustive()
    }
}

impl SequencerHandle {
    /// Applies a command; resolves when it is durable and applied.
    ///
    /// # Errors
    /// When the sequencer has stopped; then it is not known whether the command was applied. Also when the command
    /// is larger than a journal's record, which the log says; then nothing was done, and the sequencer goes on.
    pub async fn apply(&self, command: Command) -> Result<Applied, SequencerClosed> {
        self.place().await?.apply(command).await
    }

    /// Waits for a place among the commands that wait for the sequencer. Commands are journaled in the order in which
    /// they are handed to their places.
    ///
    /// # Errors
    /// When the sequencer has stopped.
    pub async fn place(&self) -> Result<Place<'_>, SequencerClosed> {
        self.requests
            .reserve()
            .await
            .map(Place)
            .map_err(|_| SequencerClosed)
    }

    /// A place that is free now; `None` when all are taken or the sequencer has stopped.
    #[must_use]
    pub fn try_place(&self) -> Option<Place<'_>> {
        self.requests.try_reserve().map(Place).ok()
    }

    /// Whether the journal has room for more than what is under way. Without it, whoever takes orders refuses them, so
    /// that the rest of the journal is left to what ends jobs and cancels orders; it comes back by itself.
    #[must_use]
    pub fn has_space(&self) -> bool {
        !self.space.is_short()
    }

    /// Reads the engine between two commands, on its thread, when all that it has applied is durable. Short reads
    /// only: commands wait meanwhile.
    ///
    /// # Errors
    /// When the sequencer has stopped.
    pub async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, SequencerClosed> {
        let (reply, value) = oneshot::channel();
        let read: ReadFn = Box::new(move |engine| {
            // The reader may have gone; then nobody misses the value.
            drop(reply.send(f(engine)));
        });
        self.requests
            .send(Request::Read(read))
            .await
            .map_err(|_| SequencerClosed)?;
        value.await.map_err(|_| SequencerClosed)
    }
}

/// A place among the commands that wait for the sequencer.
#[derive(Debug)]
pub struct Place<'h>(mpsc::Permit<'h, Request>);

impl Place<'_> {
    /// Hands a command over at once; what is returned resolves as [`SequencerHandle::apply`] does.
    pub fn apply(self, command: Command) -> impl Future<Output = Result<Applied, SequencerClosed>> + use<> {
        let (reply, applied) = oneshot::channel();
        let command = Box::new(command);
        self.0.send(Request::Apply { command, reply });
        async move { applied.await.map_err(|_| SequencerClosed) }
    }
}
