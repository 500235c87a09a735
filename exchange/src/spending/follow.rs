//! Follows the engine's events: what became of bids of keys with a limit, and what their jobs cost.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Credits, Jobs, OrderId, Timestamp};
use matcher::{Command, Event, LeaseEnd, LeaseEnded};

use super::{Hold, Spending};
use crate::sequencer::{Applied, Subscription};

/// Follows until the sequencer has stopped.
pub(crate) async fn follow(spending: Spending, mut subscription: Subscription) {
    let mut follower = Follower {
        spending,
        orders: HashMap::new(),
    };
    while let Some(applied) = subscription.recv().await {
        for event in applied.events.iter() {
            follower.event(&applied, event);
        }
    }
}

/// An order whose spending is metered.
struct Order {
    hold: Arc<Hold>,
    per_job: Credits,
    /// Jobs that nobody has taken yet.
    unmatched: u32,
    /// Jobs that were taken and have not ended.
    open: u32,
}

struct Follower {
    spending: Spending,
    orders: HashMap<OrderId, Order>,
}

impl Follower {
    fn event(&mut self, applied: &Applied, event: &Event) {
        match event {
            Event::BidAccepted(accepted) if accepted.resumes.is_none() => {
                let hold = self.spending.entered(accepted.account, accepted.client_order_id);
                if let Some(hold) = hold {
                    // A bid without a limit was bound at a guess; this is what the engine has set aside.
                    hold.bind(accepted.reserved);
                    let jobs = accepted.jobs.get();
                    let order = Order {
                        hold,
                        per_job: share(accepted.reserved, jobs),
                        unmatched: jobs,
                        open: 0,
                    };
                    self.orders.insert(accepted.order, order);
                }
            }
            Event::Rejected(_) | Event::Repeated { .. } => {
                if let Command::PlaceBid(bid) = &*applied.command {
                    drop(self.spending.entered(bid.account, bid.client_order_id));
                }
            }
            Event::Traded(traded) => self.about(traded.bid, |order| {
                order.unmatched = order.unmatched.saturating_sub(traded.jobs.get());
                order.open = order.open.saturating_add(traded.jobs.get());
            }),
            Event::Amended { order, leaves, .. } => self.about(*order, |order| order.leave(*leaves)),
            Event::OrderEnded(ended) => match ended.resumes {
                None => self.about(ended.order, |order| order.leave(Jobs::ZERO)),
                Some(job) => self.about(job.order(), Order::job_ended),
            },
            Event::LeaseEnded(ended) => self.lease_ended(ended, applied.at),
            Event::BidAccepted(_)
            | Event::RegionsSet
            | Event::InstrumentListed { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::Funded { .. }
            | Event::Defunded { .. }
            | Event::IslandJoined { .. }
            | Event::TierSet { .. }
            | Event::BandSet { .. }
            | Event::SlotsSet { .. }
            | Event::AskAccepted(_)
            | Event::JobRecalled(_)
            | Event::DeadManSet { .. }
            | Event::Checkpointed { .. }
            | Event::AskDepth(_)
            | Event::BidDepth(_)
            | Event::ClassCreated(_)
            | Event::Halted { .. }
            | Event::Resumed { .. }
            | Event::PriceBandSet { .. } => {}
        }
    }

    fn lease_ended(&mut self, ended: &LeaseEnded, at: Timestamp) {
        self.about(ended.job.order(), |order| {
            order.hold.pay(ended.bill.consumer_pays(), at);
            match ended.end {
                LeaseEnd::Closed(_) | LeaseEnd::Lost => {
                    order.hold.free(ended.released);
                    order.job_ended();
                }
                LeaseEnd::FailedOver(_) => {}
            }
        });
    }

    /// Does something about an order, and lets go of it when nothing is left of it.
    fn about(&mut self, id: OrderId, f: impl FnOnce(&mut Order)) {
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        f(order);
        if order.unmatched == 0 && order.open == 0 {
            self.orders.remove(&id);
        }
    }
}

impl Order {
    /// So many jobs are left that nobody has taken.
    fn leave(&mut self, jobs: Jobs) {
        let gone = self.unmatched.saturating_sub(jobs.get());
        self.unmatched -= gone;
        self.hold.free(self.per_job.times(gone).unwrap_or(Credits::ZERO));
    }

    fn job_ended(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

/// What is set aside for each of an order's jobs.
fn share(reserved: Credits, jobs: u32) -> Credits {
    Credits::from_nano(
        reserved
            .as_nano()
            .checked_div(i64::from(jobs))
            .unwrap_or_default(),
    )
}
