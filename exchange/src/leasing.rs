//! Jobs in flight: the payloads that are never journaled, the leases that carry them to Islands, and the events that
//! bring the answer back.
//!
//! One task owns the dispatcher and all that belongs to it. Invariants:
//! - a job that was matched ends in exactly one `Completed`, whatever its Islands do;
//! - the task never waits for the sequencer while it drains the sequencer's subscription;
//! - whoever drops his stream has cancelled.
//!
//! Deliberately absent: what a lease may do and when it has failed (`dispatch`), what it costs (`matcher`).

pub(crate) mod agents;
mod cancels;
mod effects;
mod entered;
mod events;
mod job;
mod outlet;
mod recalled;
mod state;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::{AccountId, JobId, OrderId, TokenCount};
use matcher::{Command, EndedOrder, PlaceAsk};
use tokio::sync::{mpsc, oneshot};

use crate::halts::Halts;
use crate::receipts::ExchangeKey;
use crate::registry::Registry;
use crate::sequencer::{Clock, SequencerHandle, Subscription};

pub use agents::AgentLink;
use cancels::CancelReply;
pub use job::{
    CancelRefused, Cancelled, Completed, JobBill, JobEvent, JobPayload, JobState, JobSubmission, JobView,
    LeasingClosed, Matched, Sampling, SegmentBill, fee_on_top,
};
pub use outlet::JobEvents;
use outlet::{Departures, Outlet, SubmissionId, outlet};
pub use recalled::ended_orders;
pub use task::Leasing;

/// Requests of gateways that wait for leasing; beyond it the callers wait.
const REQUESTS_MAX: usize = 1_024;

/// What leasing works with.
#[derive(Debug)]
pub struct LeasingParts {
    /// The one way into the engine.
    pub sequencer: SequencerHandle,
    /// Leasing's own subscription to what the engine does.
    pub subscription: Subscription,
    /// The models.
    pub registry: Registry,
    /// What receipts are countersigned with.
    pub key: Arc<ExchangeKey>,
    /// The time.
    pub clock: Clock,
    /// What ended before, as [`ended_orders`] reads it.
    pub ended: Vec<EndedOrder>,
    /// What is halted.
    pub halts: Halts,
}

/// Leasing that is to be run, the gateways' way into it, and the agents'.
#[must_use]
pub fn leasing(parts: LeasingParts) -> (Leasing, LeasingHandle, AgentLink) {
    let (requests, requests_in) = mpsc::channel(REQUESTS_MAX);
    let (inputs, inputs_in) = mpsc::channel(agents::INPUTS_MAX);
    let departures = Arc::new(Departures::default());
    let handle = LeasingHandle {
        requests,
        departures: Arc::clone(&departures),
        submissions: Arc::new(AtomicU64::new(0)),
    };
    let leasing = Leasing::new(parts, requests_in, inputs_in, departures);
    (leasing, handle, AgentLink { inputs })
}

/// Asks of the leasing task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeasingHandle {
    requests: mpsc::Sender<Request>,
    departures: Arc<Departures>,
    submissions: Arc<AtomicU64>,
}

/// What a handle asks.
#[derive(Debug)]
pub(crate) enum Request {
    Submit {
        id: SubmissionId,
        submission: Box<JobSubmission>,
        outlet: Outlet,
    },
    CancelOrder {
        account: AccountId,
        order: OrderId,
        reply: CancelReply,
    },
    Enter(Box<Command>),
    ExpectAsk {
        ask: PlaceAsk,
        noted: oneshot::Sender<()>,
    },
    ForgetAsk(PlaceAsk),
    StopJob {
        job: JobId,
        output_tokens: TokenCount,
    },
    JobsOf {
        account: AccountId,
        limit: usize,
        reply: oneshot::Sender<Vec<JobView>>,
    },
}

impl LeasingHandle {
    /// Places the bid and returns the events of its order and jobs. A refusal is an event. Dropping the stream
    /// cancels the order and its jobs, so it is held until the end.
    ///
    /// # Errors
    /// When the exchange is stopping.
    pub async fn submit(&self, submission: JobSubmission) -> Result<JobEvents, LeasingClosed> {
        let id = SubmissionId(self.submissions.fetch_add(1, Ordering::Relaxed));
        let (outlet, events) = outlet(id, Arc::clone(&self.departures));
        let submission = Box::new(submission);
        self.requests
            .send(Request::Submit {
                id,
                submission,
                outlet,
            })
            .await
            .map_err(|_| LeasingClosed)?;
        Ok(events)
    }

    /// Cancels what is left of an order and stops its jobs that run.
    ///
    /// # Errors
    /// When the account has no such live order, or the exchange is stopping.
    pub async fn cancel_order(&self, account: AccountId, order: OrderId) -> Result<Cancelled, CancelRefused> {
        let (reply, outcome) = CancelReply::awaited();
        self.send_cancel(account, order, reply).await?;
        outcome.await.map_err(|_| LeasingClosed)?
    }

    /// Sends a cancel on its way, behind all that was sent before, for a caller who learns from the engine's events what
    /// came of it. One that the engine never hears of, because too many wait, is told to `busy`, which must not wait.
    ///
    /// # Errors
    /// When the exchange is stopping.
    pub(crate) async fn begin_cancel(
        &self,
        account: AccountId,
        order: OrderId,
        busy: impl FnOnce(CancelRefused) + Send + 'static,
    ) -> Result<(), LeasingClosed> {
        let reply = CancelReply::new(|outcome| {
            if let Err(refused @ CancelRefused::Busy) = outcome {
                busy(refused);
            }
        });
        self.send_cancel(account, order, reply).await
    }

    async fn send_cancel(
        &self,
        account: AccountId,
        order: OrderId,
        reply: CancelReply,
    ) -> Result<(), LeasingClosed> {
        let request = Request::CancelOrder {
            account,
            order,
            reply,
        };
        self.requests.send(request).await.map_err(|_| LeasingClosed)
    }

    /// Sends a command on its way that is about no job, behind all that was sent before, so that the commands of one
    /// caller reach the journal in his order. What came of it is told by the engine's events.
    ///
    /// # Errors
    /// When the exchange is stopping.
    pub async fn enter(&self, command: Command) -> Result<(), LeasingClosed> {
        let request = Request::Enter(Box::new(command));
        self.requests.send(request).await.map_err(|_| LeasingClosed)
    }

    /// Notes that an owner's ask is about to be sent past leasing, so that his Island's agent, which does not know it, does
    /// not hear of it. Noted when this returns.
    ///
    /// # Errors
    /// When the exchange is stopping.
    pub async fn expect_ask(&self, ask: PlaceAsk) -> Result<(), LeasingClosed> {
        let (noted, done) = oneshot::channel();
        let request = Request::ExpectAsk { ask, noted };
        self.requests.send(request).await.map_err(|_| LeasingClosed)?;
        done.await.map_err(|_| LeasingClosed)
    }

    /// Takes back [`Self::expect_ask`]: the ask never reached the engine.
    pub async fn forget_ask(&self, ask: PlaceAsk) {
        // A leasing task that has gone has forgotten all.
        drop(self.requests.send(Request::ForgetAsk(ask)).await);
    }

    /// Ends a job as stopped after `output_tokens` of its tokens, and bills that many: a stop string was seen there.
    /// A job that has ended is left as it is.
    pub async fn stop_job(&self, job: JobId, output_tokens: TokenCount) {
        // A leasing task that has gone has no job left to stop.
        drop(self.requests.send(Request::StopJob { job, output_tokens }).await);
    }

    /// An account's jobs that wait, run or ended lately, newest first.
    pub async fn jobs_of(&self, account: AccountId, limit: usize) -> Vec<JobView> {
        let (reply, jobs) = oneshot::channel();
        let request = Request::JobsOf {
            account,
            limit,
            reply,
        };
        match self.requests.send(request).await {
            Ok(()) => jobs.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}
