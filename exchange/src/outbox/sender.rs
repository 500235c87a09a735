//! Sends to billing, patiently.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::Sequence;
use proto::convert::billing::{ReturnReserved, SettleBatch, Settlement};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::buffer::{Buffer, Work, before};
use super::item::{Duty, Item, Reader};
use super::{BATCH_MAX, CURSOR_INTERVAL, LINGER, OutboxError, OutboxParts};
use crate::backoff::Backoff;
use crate::billing_client::BillingError;
use crate::sequencer::ReplayError;

/// The longest pause between two attempts while billing is down.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// Commands with credits that a replay may be ahead of the sending.
const REPLAYED_MAX: usize = 64;

/// Sends what waits, in order, and moves the cursor.
pub(super) struct Sender {
    pub(super) parts: OutboxParts,
    pub(super) reader: Reader,
    pub(super) buffer: Arc<Buffer>,
    /// Everything up to here was answered by billing.
    pub(super) through: Sequence,
    pub(super) settled: watch::Sender<Sequence>,
    pub(super) refused: Arc<AtomicU64>,
}

impl Sender {
    pub(super) async fn run(mut self) -> Result<(), OutboxError> {
        let result = self.send_all().await;
        if let Err(error) = &result {
            let error: &dyn std::error::Error = error;
            tracing::error!(
                error,
                "the outbox has failed; the journal keeps what is still to be settled"
            );
        }
        result
    }

    async fn send_all(&mut self) -> Result<(), OutboxError> {
        let cursor = self.cursor().await?;
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
                Err(BillingError::Refused { code, message, .. }) => {
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

    async fn cursor(&self) -> Result<Sequence, OutboxError> {
        let mut patience = Patience::new("read the cursor");
        loop {
            match self.parts.billing.cursor(self.parts.shard).await {
                Ok(cursor) => return Ok(cursor),
                Err(error @ BillingError::Unavailable { .. }) => patience.wait(&error).await,
                Err(error) => return Err(OutboxError::Billing(error)),
            }
        }
    }

    fn reached(&mut self, through: Sequence) {
        self.through = through;
        // A later start asks for what comes after billing's cursor, and for nothing before it.
        self.parts.replay.release(through);
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
