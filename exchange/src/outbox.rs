//! What the engine decided about credits, told to billing: at least once on the wire, exactly once in the books.
//!
//! Reads every durable command and sends what moves credits, in the journal's order: ended leases in batches, and the
//! return of credits that the engine gave up. With each batch goes the sequence up to which everything was sent;
//! billing keeps it as its cursor, in the same transaction. So the journal is the outbox: a start replays from the
//! cursor, and nothing is stored here.
//!
//! Invariants:
//! - the cursor passes a command only after all that it moves was answered by billing;
//! - the subscription is always drained, whatever billing does: what does not fit the buffer is dropped and read
//!   again from the journal, so a long outage costs memory up to a bound and time afterwards;
//! - a settlement that billing refuses is logged, counted and passed: one bad claim does not stop the others.
//!
//! Deliberately absent: any arithmetic on bills. Billing computes them again by itself.

mod buffer;
mod item;
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{Sequence, ShardId};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::billing_client::{BillingClient, BillingError};
use crate::names::Names;
use crate::sequencer::{Replay, ReplayError, Subscription};
use buffer::Buffer;
use item::Reader;
use sender::Sender;

/// Settlements in one batch: what billing's one writer commits together.
pub const BATCH_MAX: usize = 256;

/// How long a batch that is not full waits for more: a little less than billing's own commit takes.
pub const LINGER: Duration = Duration::from_millis(2);

/// Settlements that wait in memory, some 20 MB of them: an outage of minutes under load. What is more comes from the
/// journal again.
pub const BUFFERED_MAX: usize = 65_536;

/// How often the cursor follows the journal while nothing moves credits, so that a start has little to replay.
pub const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// What an outbox works with.
#[derive(Clone, Debug)]
pub struct OutboxParts {
    /// The engine's shard.
    pub shard: ShardId,
    /// What instruments are called.
    pub names: Arc<Names>,
    /// Where it goes.
    pub billing: BillingClient,
    /// What was before.
    pub replay: Replay,
    /// The last command that the start recovered: the subscription begins with the next.
    pub recovered: Sequence,
    /// Settlements that may wait in memory; [`BUFFERED_MAX`] if there is no reason for another number.
    pub buffered_max: usize,
}

/// Why an outbox ended by itself. Nothing is lost: the journal has it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Billing has settled commands that this journal never had: it is another journal, or a part of it is gone.
    #[error(
        "billing has settled this exchange up to command {cursor}, but the journal ends at {journal}: its folder is older \
         than billing's books or another one; put the newest back, or begin anew with both folders"
    )]
    CursorAhead {
        /// Billing's cursor.
        cursor: Sequence,
        /// The journal's end.
        journal: Sequence,
    },
    /// Billing refuses the exchange altogether, such as for its token. Only at the start: later it may be mended.
    #[error("billing refuses to tell how far this shard is settled")]
    Billing(#[source] BillingError),
    /// The journal cannot be read again.
    #[error("could not read what is still to be settled")]
    Replay(#[from] ReplayError),
    /// A bug: the task panicked.
    #[error("the outbox panicked; the log says where")]
    Panicked,
}

/// Shows how far the outbox is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OutboxHandle {
    settled: watch::Receiver<Sequence>,
    refused: Arc<AtomicU64>,
    buffer: Arc<Buffer>,
}

/// The outbox has ended; see [`Outbox::ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox has ended")]
pub struct OutboxClosed;

impl OutboxHandle {
    /// The last command that billing has covered; 0 before billing was first reached.
    #[must_use]
    pub fn settled_through(&self) -> Sequence {
        *self.settled.borrow()
    }

    /// Resolves when billing has covered everything up to `sequence`.
    ///
    /// # Errors
    /// When the outbox ended before.
    pub async fn wait_settled(&self, sequence: Sequence) -> Result<(), OutboxClosed> {
        let mut settled = self.settled.clone();
        self.buffer.hurry(sequence);
        let reached = settled.wait_for(|through| *through >= sequence).await;
        reached.map(|_| ()).map_err(|_| OutboxClosed)
    }

    /// What billing has refused since the start, and an operator should look at.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What waits in memory.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }
}

/// A running outbox. Dropping it stops it at once.
#[derive(Debug)]
pub struct Outbox {
    handle: OutboxHandle,
    sender: AbortOnDropHandle<Result<(), OutboxError>>,
    _collector: AbortOnDropHandle<()>,
}

impl Outbox {
    /// Starts sending: first what the journal has after billing's cursor, then what the subscription brings. Waits
    /// for billing as long as it takes, in its own task.
    #[must_use]
    pub fn start(parts: OutboxParts, subscription: Subscription) -> Self {
        let buffer = Arc::new(Buffer::new(parts.buffered_max, parts.recovered));
        let reader = Reader {
            shard: parts.shard,
            names: Arc::clone(&parts.names),
        };
        let collector = tokio::spawn(collect(subscription, reader.clone(), Arc::clone(&buffer)));
        let (settled, settled_through) = watch::channel(Sequence::ZERO);
        let refused = Arc::new(AtomicU64::new(0));
        let sender = Sender {
            parts,
            reader,
            buffer: Arc::clone(&buffer),
            through: Sequence::ZERO,
            settled,
            refused: Arc::clone(&refused),
        };
        Self {
            handle: OutboxHandle {
                settled: settled_through,
                refused,
                buffer,
            },
            sender: AbortOnDropHandle::new(tokio::spawn(sender.run())),
            _collector: AbortOnDropHandle::new(collector),
        }
    }

    /// Shows how far it is.
    #[must_use]
    pub fn handle(&self) -> OutboxHandle {
        self.handle.clone()
    }

    /// Resolves when the outbox ends: with an error by itself, without one after the sequencer's end.
    ///
    /// # Errors
    /// See [`OutboxError`].
    pub async fn ended(&mut self) -> Result<(), OutboxError> {
        (&mut self.sender).await.unwrap_or(Err(OutboxError::Panicked))
    }

    /// Once the sequencer has stopped: sends what is left, for so long and no longer. The rest stays in the journal.
    ///
    /// # Errors
    /// See [`OutboxError`].
    pub async fn finish(mut self, deadline: Duration) -> Result<(), OutboxError> {
        match tokio::time::timeout(deadline, self.ended()).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(
                    waiting = self.handle.waiting(),
                    "stopped before all was settled; the next start goes on"
                );
                Ok(())
            }
        }
    }
}

/// Drains the subscription, whatever billing does.
async fn collect(mut subscription: Subscription, reader: Reader, buffer: Arc<Buffer>) {
    while let Some(applied) = subscription.recv().await {
        buffer.take_in(applied.sequence, reader.items(&applied));
    }
    buffer.close();
}
