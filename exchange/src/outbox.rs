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

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{Sequence, ShardId};
use proto::convert::billing::{ReturnReserved, SettleBatch, Settlement};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::billing_client::{BillingClient, BillingError};
use crate::names::Names;
use crate::sequencer::{Replay, ReplayError, Subscription};
use buffer::{Buffer, Work, before};
use item::{Duty, Item, Reader};

/// Settlements in one batch: what billing's one writer commits together.
pub const BATCH_MAX: usize = 256;

/// How long a batch that is not full waits for more: a little less than billing's own commit takes.
pub const LINGER: Duration = Duration::from_millis(2);

/// Settlements that wait in memory, some 20 MB of them: an outage of minutes under load. What is more comes from the
/// journal again.
pub const BUFFERED_MAX: usize = 65_536;

/// How often the cursor follows the journal while nothing moves credits, so that a start has little to replay.
pub const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause between two attempts while billing is down.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// Commands with credits that a replay may be ahead of the sending.
const REPLAYED_MAX: usize = 64;

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
        "billing has settled this shard up to command {cursor}, but the journal ends at {journal}: restore the journal, \
         or give this one a shard of its own"
    )]
    CursorAhead {
        /// Billing's cursor.
        cursor: Sequence,
        /// The journal's end.
        journal: Sequence,
    },
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

struct Sender {
    parts: OutboxParts,
    reader: Reader,
    buffer: Arc<Buffer>,
    /// Everything up to here was answered by billing.
    through: Sequence,
    settled: watch::Sender<Sequence>,
    refused: Arc<AtomicU64>,
}

impl Sender {
    async fn run(mut self) -> Result<(), OutboxError> {
        let cursor = self.cursor().await;
        let journal = self.parts.recovered;
        if cursor > journal {
            return Err(OutboxError::CursorAhead { cursor, journal });
        }
        self.reached(cursor);
        if cursor < journal {
            self.replay(journal).await?;
        }
        loop {
            match self.buffer.next(self.through, BATCH_MAX) {
                Work::Send { items, through } => self.send(items, through).await,
                Work::Replay { to } => {
                    tracing::warn!(from = %self.through, %to, "more to settle than fits: reading the journal again");
                    self.replay(to).await?;
                }
                Work::Wait => {
                    self.wait().await;
                    if let Some(seen) = self.buffer.uncovered(self.through) {
                        self.send(Vec::new(), seen).await;
                    }
                }
                Work::End => return Ok(()),
            }
        }
    }

    /// Waits for something to do, and then a little for more of it.
    async fn wait(&self) {
        let woken = tokio::time::timeout(CURSOR_INTERVAL, self.buffer.changed()).await;
        let fills = woken.is_ok() && (1..BATCH_MAX).contains(&self.buffer.len());
        if fills {
            tokio::time::sleep(LINGER).await;
        }
    }

    /// Sends everything after `through` up to `to`, out of the journal.
    async fn replay(&mut self, to: Sequence) -> Result<(), OutboxError> {
        let (found, mut finds) = mpsc::channel::<Vec<Item>>(REPLAYED_MAX);
        let (replay, reader, after) = (self.parts.replay.clone(), self.reader.clone(), self.through);
        let replaying: JoinHandle<Result<(), ReplayError>> = tokio::task::spawn_blocking(move || {
            replay.events(after, to, |applied| {
                let items = reader.items(&applied);
                // Nobody receives when the outbox was stopped meanwhile.
                if !items.is_empty() && found.blocking_send(items).is_err() {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        });
        let mut items = Vec::new();
        while let Some(mut more) = finds.recv().await {
            items.append(&mut more);
            if items.len() >= BATCH_MAX {
                let last = items.last().map_or(self.through, |item| item.sequence);
                self.send(std::mem::take(&mut items), last).await;
            }
        }
        replaying.await.unwrap_or_else(|error| {
            if error.is_panic() {
                std::panic::resume_unwind(error.into_panic());
            }
            Ok(())
        })?;
        self.send(items, to).await;
        Ok(())
    }

    /// Sends items in order; when they are answered, everything up to `through` is covered.
    async fn send(&mut self, items: Vec<Item>, through: Sequence) {
        let mut batch = Vec::new();
        for Item { sequence, duty } in items {
            // What is covered before this item: its command's other items are not, as yet.
            let covered = before(sequence).max(self.through);
            match duty {
                Duty::Settle(settlement) => {
                    if batch.len() >= BATCH_MAX {
                        self.settle(std::mem::take(&mut batch), covered).await;
                    }
                    batch.push(settlement);
                }
                Duty::Return(returned) => {
                    if !batch.is_empty() {
                        self.settle(std::mem::take(&mut batch), covered).await;
                    }
                    self.give_back(returned).await;
                }
            }
        }
        self.settle(batch, through).await;
    }

    async fn settle(&mut self, settlements: Vec<Settlement>, through: Sequence) {
        let batch = SettleBatch {
            shard: self.parts.shard,
            through,
            settlements,
        };
        let mut patience = Patience::new("settle");
        let settled = loop {
            match self.parts.billing.settle(&batch).await {
                Ok(settled) => break settled,
                Err(error) => patience.wait(&error).await,
            }
        };
        for refusal in &settled.refusals {
            tracing::error!(
                lease = refusal.lease_id,
                code = refusal.code,
                message = refusal.message,
                "billing refused a settlement and keeps it for an operator"
            );
        }
        self.count_refused(settled.refusals.len());
        if settled.through != through {
            tracing::error!(sent = %through, answered = %settled.through, "billing's cursor is not where it was sent to");
        }
        self.reached(through);
    }

    async fn give_back(&mut self, returned: ReturnReserved) {
        let mut patience = Patience::new("return reserved credits");
        loop {
            match self.parts.billing.return_reserved(returned).await {
                Ok(()) => return,
                Err(BillingError::Refused { code, message }) => {
                    let ReturnReserved {
                        transfer,
                        account,
                        amount,
                        ..
                    } = returned;
                    tracing::error!(%transfer, %account, %amount, code, message, "billing refused to take credits back");
                    self.count_refused(1);
                    return;
                }
                Err(error) => patience.wait(&error).await,
            }
        }
    }

    async fn cursor(&self) -> Sequence {
        let mut patience = Patience::new("read the cursor");
        loop {
            match self.parts.billing.cursor(self.parts.shard).await {
                Ok(cursor) => return cursor,
                Err(error) => patience.wait(&error).await,
            }
        }
    }

    fn reached(&mut self, through: Sequence) {
        self.through = through;
        self.settled.send_replace(through);
    }

    fn count_refused(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.refused.fetch_add(count, Ordering::Relaxed);
    }
}

/// Waits between attempts that never end, and says so once in a while.
struct Patience {
    what: &'static str,
    backoff: Backoff,
    failures: u64,
}

impl Patience {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            failures: 0,
        }
    }

    async fn wait(&mut self, error: &BillingError) {
        self.failures = self.failures.saturating_add(1);
        // A refusal of the whole call, such as a wrong token, is the operator's to mend; nothing passes it by.
        if matches!(error, BillingError::Refused { .. }) {
            tracing::error!(%error, what = self.what, "billing refuses the exchange; trying again");
        } else if self.failures.is_power_of_two() {
            tracing::warn!(%error, what = self.what, failures = self.failures, "billing does not answer; trying again");
        }
        tokio::time::sleep(self.backoff.delay()).await;
    }
}
