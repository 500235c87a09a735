//! The one writer: gathers changes that arrive together into one transaction, so that many pay for one sync.
//!
//! A batch that the database refuses is cut in halves until the change that it refuses stands alone: that one is
//! refused, the others are booked. Changes of one call keep their order, and a shard's cursor, which comes last in its
//! call, moves only after everything before it was booked or kept as refused.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use domain::Timestamp;
use service::metrics::Metrics;
use service::shutdown::Shutdown;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::figures::Figures;
use crate::limits::{BATCH_TRANSFERS_MAX, BATCH_WAIT, QUEUE_MAX};
use crate::store::{Change, KeptRefusal, LedgerStore, Outcome, StoreError};

/// The code of a settlement that the database itself refused.
const STORE_REFUSED: &str = "STORE_REFUSED";

/// Why a call to the writer has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// Too many wait already.
    #[error("too many changes wait to be written")]
    Busy,
    /// The writer has stopped.
    #[error("billing is stopping")]
    Stopped,
    /// The database did not do it. Some of the call's changes may be booked; repeating the call is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug)]
struct Call {
    changes: Vec<Change>,
    answer: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
}

/// A way to the writer.
#[derive(Clone, Debug)]
pub struct WriterHandle(mpsc::Sender<Call>);

impl WriterHandle {
    /// Writes the changes in order, and returns what became of each, durably.
    ///
    /// # Errors
    /// When the queue is full, the writer has stopped, or the database failed.
    pub async fn write(&self, changes: Vec<Change>) -> Result<Vec<Outcome>, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(Call { changes, answer })
            .map_err(|error| match error {
                TrySendError::Full(_) => WriteError::Busy,
                TrySendError::Closed(_) => WriteError::Stopped,
            })?;
        Ok(answered.await.map_err(|_| WriteError::Stopped)??)
    }

    /// How many calls wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    /// Writes one change. See [`WriterHandle::write`].
    ///
    /// # Errors
    /// As [`WriterHandle::write`].
    pub async fn write_one(&self, change: Change) -> Result<Outcome, WriteError> {
        let mut outcomes = self.write(vec![change]).await?;
        outcomes.pop().ok_or(WriteError::Stopped)
    }
}

/// Starts a writer whose figures nobody sees. See [`start_counting`].
pub fn start<S: LedgerStore>(
    store: Arc<S>,
    now: impl Fn() -> Timestamp + Send + Sync + 'static,
    stop: Shutdown,
) -> (WriterHandle, JoinHandle<()>) {
    start_counting(store, now, stop, Figures::new(Metrics::new()))
}

/// Starts the writer. When `stop` is triggered it takes nothing more, finishes its queue and ends; handles may live on,
/// for a connection that nobody closes holds one.
pub fn start_counting<S: LedgerStore>(
    store: Arc<S>,
    now: impl Fn() -> Timestamp + Send + Sync + 'static,
    stop: Shutdown,
    figures: Figures,
) -> (WriterHandle, JoinHandle<()>) {
    let (sender, calls) = mpsc::channel(QUEUE_MAX);
    let writer = Writer { store, now, figures };
    (WriterHandle(sender), tokio::spawn(writer.run(calls, stop)))
}

struct Writer<S, N> {
    store: Arc<S>,
    now: N,
    figures: Figures,
}

/// The outcome of a run of changes: those of the changes before the first failure, and the failure.
struct Written {
    outcomes: Vec<Result<Outcome, StoreError>>,
    broken: Option<StoreError>,
}

impl<S: LedgerStore, N: Fn() -> Timestamp + Send + Sync + 'static> Writer<S, N> {
    async fn run(self, mut calls: mpsc::Receiver<Call>, stop: Shutdown) {
        // Whether the last batch had company: then this one waits for some.
        let mut crowded = false;
        loop {
            let first = tokio::select! {
                biased;
                first = calls.recv() => first,
                () = stop.triggered(), if !calls.is_closed() => {
                    calls.close();
                    continue;
                }
            };
            let Some(first) = first else {
                return;
            };
            self.figures.queue(calls.len());
            let batch = gather(&mut calls, first, crowded).await;
            crowded = batch.len() > 1;
            self.write(batch).await;
        }
    }

    async fn write(&self, calls: Vec<Call>) {
        let changes: Vec<Change> = calls
            .iter()
            .flat_map(|call| call.changes.iter().cloned())
            .collect();
        let mut written = Written {
            outcomes: Vec::with_capacity(changes.len()),
            broken: None,
        };
        let mut rest = changes.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_end(rest));
            self.commit(batch, &mut written).await;
            rest = after;
        }
        let mut outcomes = written.outcomes.into_iter();
        for call in calls {
            let answer = outcomes.by_ref().take(call.changes.len()).collect();
            // A caller that went away does not undo what was booked.
            drop(call.answer.send(answer));
        }
    }

    async fn counted_commit(&self, changes: &[Change]) -> Result<Vec<Outcome>, StoreError> {
        let (before, begun) = (self.store.written(), Instant::now());
        let committed = self.store.commit(changes, (self.now)()).await;
        match &committed {
            Ok(outcomes) => {
                let written = self.store.written().since(before);
                self.figures.committed(outcomes, written, begun.elapsed());
            }
            Err(_) => self.figures.failed(),
        }
        committed
    }

    /// Commits a batch, or, if the database refuses it, its halves.
    fn commit<'a>(
        &'a self,
        changes: &'a [Change],
        written: &'a mut Written,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            if let Some(error) = &written.broken {
                let outcomes = changes.iter().map(|_| Err(error.clone()));
                written.outcomes.extend(outcomes);
                return;
            }
            match self.counted_commit(changes).await {
                Ok(outcomes) => written.outcomes.extend(outcomes.into_iter().map(Ok)),
                Err(error @ StoreError::Refused { .. }) => match changes {
                    [change] => self.refuse(change, error, written).await,
                    _ => {
                        tracing::warn!(%error, changes = changes.len(), "the database refused a batch; it is cut in halves");
                        let (left, right) = changes.split_at(changes.len().div_ceil(2));
                        self.commit(left, written).await;
                        self.commit(right, written).await;
                    }
                },
                Err(error @ (StoreError::Unavailable { .. } | StoreError::Damaged { .. })) => {
                    tracing::error!(%error, cause = ?std::error::Error::source(&error), "could not write");
                    written
                        .outcomes
                        .extend(changes.iter().map(|_| Err(error.clone())));
                    written.broken = Some(error);
                }
            }
        })
    }

    /// Deals with the one change that the database refuses: a settlement is kept as refused, so that its shard can go
    /// on; anything else fails alone.
    async fn refuse(&self, change: &Change, error: StoreError, written: &mut Written) {
        let source = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(%error, source, "the database refused what the ledger had allowed");
        tracing::debug!(?change, "this was refused");
        let Change::Settle(settlement) = change else {
            written.outcomes.push(Err(error));
            return;
        };
        let refusal = KeptRefusal {
            code: STORE_REFUSED.to_owned(),
            message: format!("{error}: {source}"),
        };
        let keep = Change::KeepRefused(settlement.clone(), refusal);
        match self.counted_commit(&[keep]).await {
            Ok(outcomes) => written.outcomes.extend(outcomes.into_iter().map(Ok)),
            Err(error) => {
                // Neither booked nor kept: the cursor must not pass it.
                written.outcomes.push(Err(error.clone()));
                written.broken = Some(error);
            }
        }
    }
}

/// Takes what waits, up to a full batch; waits a moment for company if there was some the last time.
async fn gather(calls: &mut mpsc::Receiver<Call>, first: Call, crowded: bool) -> Vec<Call> {
    let deadline = tokio::time::Instant::now() + BATCH_WAIT;
    let mut size: usize = first.changes.iter().map(weight).sum();
    let mut batch = vec![first];
    while size < BATCH_TRANSFERS_MAX {
        let next = match calls.try_recv() {
            Ok(call) => Some(call),
            Err(_) if crowded => timeout_at(deadline, calls.recv()).await.ok().flatten(),
            Err(_) => None,
        };
        let Some(call) = next else { break };
        size = size.saturating_add(call.changes.iter().map(weight).sum());
        batch.push(call);
    }
    batch
}

/// How many transfers a change books, about.
fn weight(change: &Change) -> usize {
    match change {
        Change::Book(legs) => legs.len().max(1),
        Change::Settle(_) | Change::BookRefused(_) => 3,
        Change::ResetOwner(_) => 4,
        Change::Refund(refund) => refund.leases.len().saturating_mul(4).max(1),
        Change::OpenOwner { .. }
        | Change::Reserve { .. }
        | Change::CreateKey(_)
        | Change::SignUp(_)
        | Change::RotateKey(_)
        | Change::RevokeKey(_)
        | Change::LimitSpending(..)
        | Change::NoteSpending(_)
        | Change::KeepRefused(..)
        | Change::MoveCursor(..)
        | Change::AnnounceReset(_)
        | Change::EndReset(_)
        | Change::Mature(_)
        | Change::RequestPayout(_)
        | Change::StepPayout(..)
        | Change::SetPayoutDestination(..) => 1,
    }
}

/// Where the first full batch ends: at least one change on.
fn batch_end(changes: &[Change]) -> usize {
    let mut size: usize = 0;
    for (index, change) in changes.iter().enumerate() {
        size = size.saturating_add(weight(change));
        if size > BATCH_TRANSFERS_MAX {
            return index.max(1);
        }
    }
    changes.len()
}
