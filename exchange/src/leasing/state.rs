//! What leasing remembers of submissions, orders, jobs and leases, and how it shows them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dispatch::Settlement;
use domain::{
    AccountId, Bill, EndCause, IslandId, JobId, JobOutcome, LeaseEpoch, LeaseId, OrderId, Price, SessionId,
    Timestamp, TokenCount,
};
use matcher::{BidAccepted, CellKey, PlaceBid};
use proto::convert::SignedReceipt;

use super::job::{Completed, JobBill, JobPayload, JobState, JobView, SegmentBill};
use super::outlet::{Outlet, SubmissionId};

/// Jobs that are remembered after their end, over all accounts: the last minutes of a busy exchange, the last weeks
/// of a quiet one; about 2 KiB each.
pub(super) const JOBS_REMEMBERED_MAX: usize = 8_192;

/// Streams that may follow one order besides the one that made it: a client that retries a few times.
pub(super) const FOLLOWERS_MAX: usize = 4;

/// A bid on its way to the engine.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: SubmissionId,
    pub(super) bid: PlaceBid,
    pub(super) payloads: Vec<JobPayload>,
    pub(super) outlet: Outlet,
    pub(super) departed: bool,
}

/// An order of which something is left.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) submission: SubmissionId,
    pub(super) accepted: BidAccepted,
    pub(super) accepted_at: Timestamp,
    pub(super) payloads: Vec<JobPayload>,
    pub(super) outlet: Outlet,
    pub(super) followers: Vec<Outlet>,
    /// Jobs that have neither begun nor ended.
    pub(super) leaves: u32,
    /// Jobs that have begun and not ended, by index.
    pub(super) jobs: BTreeMap<u32, Job>,
    /// The next index to begin.
    pub(super) next_index: u32,
    pub(super) departed: bool,
}

/// A job that has begun.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) waited: Duration,
    pub(super) first_token_at: Option<Timestamp>,
    pub(super) output_tokens: u32,
    pub(super) failovers: u8,
    /// Its leases, in order; the last may be open.
    pub(super) leases: Vec<Lease>,
}

/// A lease of a job.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) lease: LeaseId,
    pub(super) epoch: LeaseEpoch,
    pub(super) island: IslandId,
    /// The Island's session when it traded.
    pub(super) session: SessionId,
    pub(super) cell: CellKey,
    pub(super) price: Price,
    /// What the engine was last asked to bill.
    pub(super) settlement: Option<Settlement>,
    /// What it billed.
    pub(super) bill: Option<Bill>,
    /// The last receipt that held.
    pub(super) receipt: Option<SignedReceipt>,
}

impl Lease {
    fn segment(&self) -> Option<SegmentBill> {
        let bill = self.bill?;
        let settlement = self
            .settlement
            .filter(|settlement| settlement.units == bill.units);
        Some(SegmentBill {
            lease: self.lease,
            island: self.island,
            cell: self.cell,
            price: self.price,
            prompt_tokens: settlement.map_or(TokenCount::ZERO, |settlement| settlement.prompt_tokens),
            output_tokens: settlement.map_or(TokenCount::ZERO, |settlement| settlement.output_tokens),
            bill,
        })
    }
}

impl Job {
    pub(super) fn segments(&self) -> Vec<SegmentBill> {
        self.leases.iter().filter_map(Lease::segment).collect()
    }

    /// One a segment that was paid.
    fn receipts(&self) -> Vec<SignedReceipt> {
        self.leases
            .iter()
            .filter(|lease| {
                lease
                    .bill
                    .is_some_and(|bill| bill != Bill::FREE && bill.units.get() > 0)
            })
            .filter_map(|lease| lease.receipt)
            .collect()
    }
}

/// How dispatch says that a job ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) outcome: JobOutcome,
    pub(super) cause: Option<EndCause>,
    pub(super) output_tokens: TokenCount,
    pub(super) failovers: u8,
}

impl Order {
    pub(super) fn prompt_tokens(&self, index: u32) -> TokenCount {
        let payload = usize::try_from(index)
            .ok()
            .and_then(|index| self.payloads.get(index));
        payload.map_or(TokenCount::ZERO, JobPayload::prompt_tokens)
    }

    pub(super) fn is_over(&self) -> bool {
        self.leaves == 0 && self.jobs.is_empty()
    }

    pub(super) fn completed(&self, index: u32, job: &Job, ending: Ending, now: Timestamp) -> Completed {
        Completed {
            job: JobId::of_order(self.accepted.order, index),
            index,
            outcome: ending.outcome,
            code: ending.cause.map(EndCause::code),
            prompt_tokens: self.prompt_tokens(index),
            output_tokens: ending.output_tokens,
            bill: JobBill::of(job.segments()),
            receipts: job.receipts(),
            failovers: ending.failovers,
            waited: job.waited,
            first_token: job.first_token_at.map(|at| at.since(self.accepted_at)),
            total: now.since(self.accepted_at),
        }
    }

    /// A job that has begun, as a list shows it.
    pub(super) fn view(&self, index: u32, job: &Job) -> JobView {
        let last = job.leases.last();
        let state = match last {
            Some(lease) if lease.bill.is_none() => JobState::Running,
            Some(_) | None => JobState::Waiting,
        };
        JobView {
            island: last.map(|lease| (lease.island, lease.cell)),
            price: last.map(|lease| lease.price),
            output_tokens: TokenCount::new(job.output_tokens),
            bill: JobBill::of(job.segments()),
            failovers: job.failovers,
            ..self.waiting(index, state)
        }
    }

    /// Its jobs that have not ended, latest index first.
    pub(super) fn views(&self) -> Vec<JobView> {
        let end = self.next_index.saturating_add(self.leaves);
        let waiting = (self.next_index..end).rev();
        let begun = self.jobs.iter().rev();
        waiting
            .map(|index| self.waiting(index, JobState::Waiting))
            .chain(begun.map(|(index, job)| self.view(*index, job)))
            .collect()
    }

    fn waiting(&self, index: u32, state: JobState) -> JobView {
        JobView {
            job: JobId::of_order(self.accepted.order, index),
            order: self.accepted.order,
            account: self.accepted.account,
            client_order_id: self.accepted.client_order_id,
            instrument: Some(self.accepted.instrument),
            state,
            island: None,
            price: None,
            prompt_tokens: self.prompt_tokens(index),
            output_tokens: TokenCount::ZERO,
            bill: JobBill::default(),
            failovers: 0,
            code: None,
            accepted_at: self.accepted_at,
            ended_at: None,
        }
    }
}

/// Jobs that ended lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    /// A job that was never matched has nothing to complete.
    ended: VecDeque<(JobView, Option<Completed>)>,
}

impl History {
    pub(super) fn remember(&mut self, view: JobView, completed: Option<Completed>) {
        if self.ended.len() >= JOBS_REMEMBERED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((view, completed));
    }

    /// What is remembered of the jobs of an order that were matched, oldest first.
    pub(super) fn of_order(&self, order: OrderId) -> impl Iterator<Item = &Completed> {
        self.ended
            .iter()
            .filter(move |(view, _)| view.order == order)
            .filter_map(|(_, completed)| completed.as_ref())
    }

    /// What is remembered of an account, newest first.
    pub(super) fn of_account(&self, account: AccountId) -> impl Iterator<Item = &JobView> {
        self.ended
            .iter()
            .rev()
            .map(|(view, _)| view)
            .filter(move |view| view.account == account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ClientOrderId, InstrumentId};

    fn ended(number: u64, account: u64) -> (JobView, Completed) {
        let order = OrderId::new(number);
        let view = JobView {
            job: JobId::of_order(order, 0),
            order,
            account: AccountId::new(account),
            client_order_id: ClientOrderId::new(number.into()),
            instrument: Some(InstrumentId::new(0)),
            state: JobState::Ended(JobOutcome::Stopped),
            island: None,
            price: None,
            prompt_tokens: TokenCount::ZERO,
            output_tokens: TokenCount::ZERO,
            bill: JobBill::default(),
            failovers: 0,
            code: None,
            accepted_at: Timestamp::ZERO,
            ended_at: Some(Timestamp::ZERO),
        };
        let completed = Completed {
            job: view.job,
            index: 0,
            outcome: JobOutcome::Stopped,
            code: None,
            prompt_tokens: TokenCount::ZERO,
            output_tokens: TokenCount::ZERO,
            bill: JobBill::default(),
            receipts: Vec::new(),
            failovers: 0,
            waited: Duration::ZERO,
            first_token: None,
            total: Duration::ZERO,
        };
        (view, completed)
    }

    #[test]
    fn the_oldest_job_is_forgotten_when_there_are_too_many() {
        let mut history = History::default();
        let count = u64::try_from(JOBS_REMEMBERED_MAX).unwrap();
        for number in 0..=count {
            let (view, completed) = ended(number, number % 2);
            history.remember(view, Some(completed));
        }
        assert_eq!(history.ended.len(), JOBS_REMEMBERED_MAX);
        assert_eq!(history.of_order(OrderId::new(0)).count(), 0);
        assert_eq!(history.of_order(OrderId::new(count)).count(), 1);
        let newest = history.of_account(AccountId::new(count % 2)).next();
        assert_eq!(newest.map(|view| view.order), Some(OrderId::new(count)));
    }
}
