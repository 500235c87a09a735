//! Jobs that ended before this process began, as the engine remembers them: so that their owner finds out what became
//! of them, and what he paid, when he returns.
//!
//! Their payloads, outputs, receipts and times are gone with the process that held them; how they ended and what was
//! charged is not.

use std::time::Duration;

use domain::{EndCause, JobId, JobOutcome, Timestamp, TokenCount};
use matcher::{EndReason, EndedJob, EndedOrder, Engine};

use super::job::{Completed, JobBill, JobState, JobView};
use super::state::{History, JOBS_REMEMBERED_MAX};

/// Jobs that are remembered of an order that ended before any of them began: no more than a request may carry.
const JOBS_PER_ORDER_MAX: u32 = 16;

/// Orders that are looked at for their jobs: a day of a busy exchange. Asks are among them, which have none.
const ORDERS_MAX: usize = 1 << 20;

/// The orders that ended last and had jobs, the latest first, as many as leasing remembers.
#[must_use]
pub fn ended_orders(engine: &Engine) -> Vec<EndedOrder> {
    let mut room = JOBS_REMEMBERED_MAX;
    engine
        .ended_orders()
        .take(ORDERS_MAX)
        .filter(|order| !order.jobs.is_empty() || is_lost(order))
        .take_while(|order| {
            let fits = room > 0;
            room = room.saturating_sub(order.jobs.len().max(1));
            fits
        })
        .collect()
}

/// Whether a lost session ended jobs of it that had not begun.
fn is_lost(order: &EndedOrder) -> bool {
    order
        .unmatched
        .is_some_and(|unmatched| unmatched.reason == EndReason::SessionLost)
}

impl History {
    /// What the engine remembers, the latest first.
    pub(super) fn recalled(orders: Vec<EndedOrder>) -> Self {
        let mut history = Self::default();
        for order in orders.into_iter().rev() {
            for ended in &order.jobs {
                let (view, completed) = recall(ended);
                history.remember(view, Some(completed));
            }
            if is_lost(&order) {
                history.recall_unstarted(&order);
            }
        }
        history
    }

    /// The jobs that a lost session ended before they began; they come after those that had.
    fn recall_unstarted(&mut self, order: &EndedOrder) {
        let begun = u32::try_from(order.jobs.len()).unwrap_or(u32::MAX);
        let count = order.unmatched.map_or(0, |unmatched| unmatched.jobs.get());
        for index in 0..count.min(JOBS_PER_ORDER_MAX) {
            let job = JobId::of_order(order.order, begun.saturating_add(index));
            let view = JobView {
                job,
                order: order.order,
                account: order.account,
                client_order_id: order.client_order_id,
                instrument: None,
                state: JobState::Ended(JobOutcome::Failed),
                island: None,
                price: None,
                prompt_tokens: TokenCount::ZERO,
                output_tokens: TokenCount::ZERO,
                bill: JobBill::default(),
                failovers: 0,
                code: Some(EndCause::SessionLost.code()),
                accepted_at: Timestamp::ZERO,
                ended_at: None,
            };
            self.remember(view, None);
        }
    }
}

/// A job as a list and as a repeat of its order show it.
pub(super) fn recall(ended: &EndedJob) -> (JobView, Completed) {
    let view = JobView {
        job: ended.job,
        order: ended.job.order(),
        account: ended.account,
        client_order_id: ended.client_order_id,
        instrument: Some(ended.instrument),
        state: JobState::Ended(ended.end.outcome),
        island: None,
        price: Some(ended.price),
        prompt_tokens: TokenCount::ZERO,
        output_tokens: TokenCount::ZERO,
        bill: JobBill {
            units: ended.units,
            charge: ended.charge,
            fee: ended.fee,
            segments: Vec::new(),
        },
        failovers: ended.epoch.get(),
        code: ended.end.cause.map(EndCause::code),
        accepted_at: Timestamp::ZERO,
        ended_at: Some(ended.ended_at),
    };
    let completed = Completed {
        job: view.job,
        index: view.job.index(),
        outcome: ended.end.outcome,
        code: view.code,
        prompt_tokens: view.prompt_tokens,
        output_tokens: view.output_tokens,
        bill: view.bill.clone(),
        receipts: Vec::new(),
        failovers: view.failovers,
        waited: Duration::ZERO,
        first_token: None,
        total: Duration::ZERO,
    };
    (view, completed)
}
