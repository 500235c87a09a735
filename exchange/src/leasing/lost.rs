//! Jobs that a restart ended: remembered, so that their owner finds out when he returns.
//!
//! Their payloads and outputs are gone with the process that held them, and nothing was charged. Of an order whose
//! jobs had not all begun the engine says only how many were left, so those are counted from its first.

use std::time::Duration;

use domain::{AccountId, ClientOrderId, InstrumentId, JobId, JobOutcome, Price, Timestamp, TokenCount};
use matcher::{EndReason, LeaseEnded, OrderEnded};

use super::job::{Completed, JobState, JobView};
use super::task::State;

/// Jobs that are remembered of one order: no more than a request may carry.
const JOBS_PER_ORDER_MAX: u32 = 16;
/// The stable code of a job whose session was lost.
const CODE: &str = "SESSION_LOST";

/// What is known of a job that nobody here remembers.
struct Lost {
    job: JobId,
    account: AccountId,
    lease: Option<(InstrumentId, Price, u8)>,
}

impl State {
    /// Remembers the jobs of an order that had not begun, if a lost session ended them.
    pub(super) fn remember_unstarted(&mut self, ended: &OrderEnded) {
        if ended.reason != EndReason::SessionLost {
            return;
        }
        for index in 0..ended.leaves.get().min(JOBS_PER_ORDER_MAX) {
            let job = JobId::of_order(ended.order, index);
            self.remember(Lost {
                job,
                account: ended.account,
                lease: None,
            });
        }
    }

    /// Remembers a job that was running when its session was lost.
    pub(super) fn remember_lost(&mut self, ended: &LeaseEnded) {
        if self.orders.contains_key(&ended.job.order()) {
            return;
        }
        let lease = (ended.instrument, ended.price, ended.epoch.get());
        self.remember(Lost {
            job: ended.job,
            account: ended.account,
            lease: Some(lease),
        });
    }
}

impl State {
    fn remember(&mut self, lost: Lost) {
        let Lost { job, account, lease } = lost;
        let failovers = lease.map_or(0, |(_, _, epoch)| epoch);
        let view = JobView {
            job,
            order: job.order(),
            account,
            client_order_id: ClientOrderId::new(0),
            instrument: lease.map(|(instrument, ..)| instrument),
            state: JobState::Ended(JobOutcome::Failed),
            island: None,
            price: lease.map(|(_, price, _)| price),
            prompt_tokens: TokenCount::ZERO,
            output_tokens: TokenCount::ZERO,
            segments: Vec::new(),
            failovers,
            accepted_at: Timestamp::ZERO,
        };
        let completed = Completed {
            job,
            index: job.index(),
            outcome: JobOutcome::Failed,
            code: Some(CODE),
            prompt_tokens: TokenCount::ZERO,
            output_tokens: TokenCount::ZERO,
            segments: Vec::new(),
            receipts: Vec::new(),
            failovers,
            waited: Duration::ZERO,
            first_token: None,
            total: Duration::ZERO,
        };
        self.history.remember(view, completed);
    }
}
