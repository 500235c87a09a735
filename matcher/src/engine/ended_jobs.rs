//! What becomes of jobs, noted beside their order's client order id, and told again to who repeats the order.

use domain::{AccountId, ClientOrderId, EndCause, JobEnd, JobId, JobOutcome, Jobs, OrderId};

use crate::book::arena::Handle;
use crate::client_ids::{Record, Remembered};
use crate::ended_jobs::Tally;
use crate::engine::Engine;
use crate::leases::Run;
use crate::order::Resumed;
use crate::orders::Whole;
use crate::view::EndedOrder;
use crate::{EndReason, EndedJob, Event, LeaseEnded, Unmatched};

impl Engine {
    /// Notes that a lease ended, and its job with it if `end` says how. Jobs beyond the bound of an order, and those
    /// whose order is forgotten, are not kept.
    pub(super) fn note_lease(&mut self, run: &Run, ended: &LeaseEnded, end: Option<JobEnd>) {
        let order = ended.job.order();
        if ended.job.index() >= self.limits.ended_jobs_per_order_max {
            return;
        }
        let record = self.client_ids.find(run.account, run.client_order_id);
        if record.is_none_or(|record| self.client_ids.get(record).remembered.order != order) {
            return;
        }
        self.ended_jobs.add(ended);
        if let Some(end) = end {
            self.ended_jobs.end(ended.job, end, self.now);
        }
    }

    /// Notes that what was left of a bid ended: jobs that were never matched, or the rest of one that failed over.
    #[inline]
    pub(crate) fn note_bid(&mut self, bid: &Whole, reason: EndReason) {
        if let Some(resumed) = bid.resumed() {
            self.ended_jobs
                .end(resumed.job, end_of_rest(resumed, reason), self.now);
            return;
        }
        let terms = &bid.terms;
        if let Some(record) = terms.record {
            let jobs = less(terms.jobs, terms.filled);
            self.client_ids.note_unmatched(record, Unmatched { jobs, reason });
        }
    }

    /// Notes the jobs that an amend took from a bid.
    pub(super) fn note_amended(&mut self, handle: Handle) {
        let (terms, leaves) = (self.orders.terms(handle), self.orders[handle].leaves);
        if let Some(record) = terms.record {
            let unmatched = Unmatched {
                jobs: less(less(terms.jobs, terms.filled), leaves),
                reason: EndReason::Cancelled,
            };
            self.client_ids.note_unmatched(record, unmatched);
        }
    }

    /// Tells again what became of an order.
    pub(super) fn recall(&self, record: &Record, events: &mut Vec<Event>) {
        let account = self.accounts.get(record.account).id;
        let client_order_id = record.client_order_id;
        let Remembered { order, unmatched, .. } = record.remembered;
        events.push(Event::Repeated {
            account,
            client_order_id,
            order,
            unmatched,
        });
        let ended = self.ended_of(account, client_order_id, order);
        events.extend(ended.map(Event::JobRecalled));
    }

    /// What became of orders that have ended and whose client order ids are remembered, the latest end first.
    pub fn ended_orders(&self) -> impl Iterator<Item = EndedOrder> + '_ {
        self.client_ids.ended().rev().map(|ended| {
            let record = self.client_ids.get(ended.record);
            let account = self.accounts.get(record.account).id;
            let Remembered { order, unmatched, .. } = record.remembered;
            EndedOrder {
                order,
                account,
                client_order_id: record.client_order_id,
                unmatched,
                jobs: self.ended_of(account, record.client_order_id, order).collect(),
            }
        })
    }

    fn ended_of(
        &self,
        account: AccountId,
        client_order_id: ClientOrderId,
        order: OrderId,
    ) -> impl Iterator<Item = EndedJob> {
        let all = self.ended_jobs.of_order(order);
        all.filter_map(move |(job, tally)| ended_job(account, client_order_id, job, tally))
    }
}

fn less(jobs: Jobs, taken: Jobs) -> Jobs {
    jobs.checked_sub(taken)
        .expect("no more is filled or left than was ordered")
}

fn ended_job(
    account: AccountId,
    client_order_id: ClientOrderId,
    job: JobId,
    tally: &Tally,
) -> Option<EndedJob> {
    let (end, ended_at) = tally.end?;
    Some(EndedJob {
        job,
        account,
        client_order_id,
        instrument: tally.instrument,
        end,
        price: tally.price,
        epoch: tally.epoch,
        units: tally.units,
        charge: tally.charge,
        fee: tally.fee,
        ended_at,
    })
}

/// How a job ends whose failover nobody took.
fn end_of_rest(resumed: Resumed, reason: EndReason) -> JobEnd {
    match reason {
        EndReason::Cancelled => JobEnd::because(
            JobOutcome::Cancelled,
            EndCause::Cancelled(domain::CancelCause::Asked),
        ),
        EndReason::SessionLost => JobEnd::because(resumed.otherwise.outcome, EndCause::SessionLost),
        EndReason::Immediate
        | EndReason::Expired
        | EndReason::DeadMan
        | EndReason::SelfTrade
        | EndReason::NotQuotable => resumed.otherwise,
    }
}

/// How a job ends whose gateway was lost: nothing more is charged, and what was charged for an earlier segment says that
/// some of it was delivered.
pub(super) fn end_of_lost(run: &Run) -> JobEnd {
    let outcome = if run.billed.billed() > domain::Credits::ZERO {
        JobOutcome::Incomplete
    } else {
        JobOutcome::Failed
    };
    JobEnd::because(outcome, EndCause::SessionLost)
}
