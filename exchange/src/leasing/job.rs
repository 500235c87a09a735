//! What goes into leasing and what comes out: a bid with its payloads, and the events of its order and jobs.

use std::sync::Arc;
use std::time::Duration;

use domain::{
    AccountId, Bill, ClientOrderId, Credits, InstrumentId, IslandId, JobId, JobOutcome, Jobs, LeaseEpoch,
    LeaseFailure, LeaseId, Liquidity, OrderId, Price, Sequence, Timestamp, TokenCount, TradeId, Units,
};
use matcher::{BidAccepted, CellKey, EndReason, PlaceBid, Rejected};
use proto::convert::SignedReceipt;

use crate::halts::Trading;

/// A bid and what its jobs are to do.
#[derive(Clone, Debug)]
pub struct JobSubmission {
    /// The bid, under the gateway's session.
    pub bid: PlaceBid,
    /// One per job of the bid: a job's index is its payload's.
    pub payloads: Vec<JobPayload>,
}

/// What one job is to do. Never journaled, never logged.
#[derive(Clone)]
pub struct JobPayload {
    /// Token ids of the prompt.
    pub prompt_ids: Arc<[u32]>,
    /// Emit at most so many.
    pub max_tokens: TokenCount,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Ids that end the output; the one that did is not emitted.
    pub stop_ids: Arc<[u32]>,
}

impl JobPayload {
    /// Tokens of the prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> TokenCount {
        TokenCount::new(u32::try_from(self.prompt_ids.len()).unwrap_or(u32::MAX))
    }
}

impl std::fmt::Debug for JobPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobPayload")
            .field("prompt_tokens", &self.prompt_ids.len())
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

/// How tokens are drawn: a pure function of seed and position, so that another Island can go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus, 0 to 1; 0 is 1.
    pub top_p: f32,
    /// The most likely so many; 0 is all.
    pub top_k: u32,
    /// The seed.
    pub seed: u64,
}

/// What becomes of an order and its jobs.
///
/// An order begins with `Accepted`, `Repeated` or `Rejected`. After `Accepted`, every job ends exactly once: in
/// `Completed` if it was ever matched, else among the jobs of an `Ended`. Then the stream ends. A stream that ends
/// before that was cut by the exchange's own stop.
#[derive(Clone, Debug)]
pub enum JobEvent {
    /// The bid was refused; nothing else follows.
    Rejected(Rejected),
    /// The account has used this client order id for the same bid: the order that it made. `Completed` follows for
    /// each of its jobs that was matched, without text, and `Ended` for those that never were.
    Repeated {
        /// The order.
        order: OrderId,
    },
    /// The bid is on the book, durably.
    Accepted(BidAccepted),
    /// An Island took a job.
    Matched(Matched),
    /// Tokens arrived: those that follow on the ones before.
    Tokens {
        /// The job.
        job: JobId,
        /// Its index among the payloads.
        index: u32,
        /// The ids.
        ids: Vec<u32>,
    },
    /// An Island was lost; the rest of the job is bid for again.
    FailedOver {
        /// The job.
        job: JobId,
        /// Its index among the payloads.
        index: u32,
        /// The Island that was lost.
        island: IslandId,
        /// What went wrong.
        failure: LeaseFailure,
        /// Tokens delivered so far.
        emitted: TokenCount,
    },
    /// A job that was matched is over.
    Completed(Box<Completed>),
    /// Jobs that were never matched have ended.
    Ended {
        /// How many.
        jobs: Jobs,
        /// Why.
        reason: EndReason,
        /// Whether the model traded then.
        trading: Trading,
    },
}

/// An Island took a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The job.
    pub job: JobId,
    /// Its index among the payloads.
    pub index: u32,
    /// The trade.
    pub trade: TradeId,
    /// The lease.
    pub lease: LeaseId,
    /// Which attempt at the job it is.
    pub epoch: LeaseEpoch,
    /// The Island.
    pub island: IslandId,
    /// Where its ask stood.
    pub cell: CellKey,
    /// The execution price.
    pub price: Price,
    /// From acceptance to this match.
    pub waited: Duration,
    /// The command that made the trade.
    pub sequence: Sequence,
}

/// A job is over.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The job.
    pub job: JobId,
    /// Its index among the payloads.
    pub index: u32,
    /// How it ended.
    pub outcome: JobOutcome,
    /// For an outcome that is not a clean one, why: a stable code.
    pub code: Option<&'static str>,
    /// Tokens of its prompt.
    pub prompt_tokens: TokenCount,
    /// Tokens delivered; for a stop string, up to where it began.
    pub output_tokens: TokenCount,
    /// What it cost.
    pub bill: JobBill,
    /// The countersigned receipts, one a segment that was paid.
    pub receipts: Vec<SignedReceipt>,
    /// How often an Island was lost and the rest bid for again.
    pub failovers: u8,
    /// From acceptance to the first match.
    pub waited: Duration,
    /// From acceptance to the first token, if there was one.
    pub first_token: Option<Duration>,
    /// From acceptance to the end.
    pub total: Duration,
}

/// What a job cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobBill {
    /// Work billed.
    pub units: Units,
    /// What was charged for it.
    pub charge: Credits,
    /// What the consumer pays on top: nothing for what his bid made.
    pub fee: Credits,
    /// The job's leases, in order, those included that were paid nothing. Nothing of a job that ended before this
    /// process began, of which only the sums are kept.
    pub segments: Vec<SegmentBill>,
}

impl JobBill {
    /// The sums of a job's segments.
    #[must_use]
    pub fn of(segments: Vec<SegmentBill>) -> Self {
        let fitting = "all segments of a job fit its reservation";
        let mut whole = Self::default();
        for SegmentBill { bill, .. } in &segments {
            whole.units = whole.units.checked_add(bill.units).expect(fitting);
            whole.charge = whole.charge.checked_add(bill.charge).expect(fitting);
            whole.fee = whole.fee.checked_add(fee_on_top(bill)).expect(fitting);
        }
        whole.segments = segments;
        whole
    }
}

/// What the consumer pays on top of a segment's charge: nothing where his bid was the maker.
#[must_use]
pub fn fee_on_top(bill: &Bill) -> Credits {
    match bill.bid_liquidity {
        Liquidity::Taker => bill.fee,
        Liquidity::Maker => Credits::ZERO,
    }
}

/// The part of a job that one Island did, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentBill {
    /// The lease.
    pub lease: LeaseId,
    /// The Island.
    pub island: IslandId,
    /// Where its ask stood.
    pub cell: CellKey,
    /// The execution price.
    pub price: Price,
    /// Prompt tokens billed: all or none, for the finisher only.
    pub prompt_tokens: TokenCount,
    /// Output tokens billed.
    pub output_tokens: TokenCount,
    /// What it moved.
    pub bill: Bill,
}

/// A job as a list shows it, without its text.
#[derive(Clone, Debug)]
pub struct JobView {
    /// The job.
    pub job: JobId,
    /// Its order.
    pub order: OrderId,
    /// Its owner.
    pub account: AccountId,
    /// The client's name for the order.
    pub client_order_id: ClientOrderId,
    /// The instrument; unknown of a job that a restart ended before it began.
    pub instrument: Option<InstrumentId>,
    /// Where it stands.
    pub state: JobState,
    /// The Island that has it or had it last, and where that stood.
    pub island: Option<(IslandId, CellKey)>,
    /// The last execution price.
    pub price: Option<Price>,
    /// Tokens of its prompt.
    pub prompt_tokens: TokenCount,
    /// Tokens delivered so far.
    pub output_tokens: TokenCount,
    /// What it cost so far.
    pub bill: JobBill,
    /// How often an Island was lost.
    pub failovers: u8,
    /// For an end that was not a clean one, why: a stable code.
    pub code: Option<&'static str>,
    /// When its order was accepted; zero for a job that ended before this process began, for that is not kept.
    pub accepted_at: Timestamp,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// No Island has it.
    Waiting,
    /// An Island has it.
    Running,
    /// It is over.
    Ended(JobOutcome),
}

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// Jobs that had not begun and never will.
    pub cancelled_jobs: Jobs,
    /// Jobs that run and were told to stop; each ends with its own event.
    pub stopping_jobs: Jobs,
}

/// Why a cancel did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelRefused {
    /// No such order, or it is not this account's, or all of it has ended.
    #[error("there is no such order, or it has ended")]
    UnknownOrder,
    /// Too many cancels wait for their answers.
    #[error("too many cancels wait for their answers; try again")]
    Busy,
    /// The exchange is stopping.
    #[error(transparent)]
    Closed(#[from] LeasingClosed),
}

/// Leasing takes no more jobs: the exchange is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the exchange is stopping")]
pub struct LeasingClosed;
