//! Carrying out a plan: trades, the leases that they open and the slots that they take.

use domain::{JobId, Jobs, LeaseEpoch, Liquidity, Price, RunningBill, TradeId};

use crate::book::arena::Handle;
use crate::crossing::{Action, Ending, Plan};
use crate::engine::Engine;
use crate::leases::Run;
use crate::order::{Part, Standing};
use crate::{EndReason, Event, Traded};

/// What became of an incoming order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing is left of it.
    Ended,
    /// Something is left, and may rest.
    Open,
}

/// One meeting of a maker and a taker.
#[derive(Clone, Copy, Debug)]
struct Meeting {
    bid: Handle,
    ask: Handle,
    price: Price,
    jobs: Jobs,
    bid_liquidity: Liquidity,
}

impl Engine {
    /// Carries out what was planned for an incoming order.
    pub(crate) fn execute(&mut self, incoming: Handle, plan: &Plan, events: &mut Vec<Event>) -> Fate {
        for action in &plan.actions {
            match *action {
                Action::Fill { resting, jobs } => self.trade(incoming, resting, jobs, events),
                Action::CancelResting { resting } => self.end_order(resting, EndReason::SelfTrade, events),
            }
        }
        if self.orders[incoming].leaves.is_zero() {
            self.remove_order(incoming);
            return Fate::Ended;
        }
        match plan.ending {
            Ending::Open => Fate::Open,
            Ending::CancelIncoming => {
                self.end_order(incoming, EndReason::SelfTrade, events);
                Fate::Ended
            }
        }
    }

    /// Trades at the resting order's price. The resting order leaves the engine if that was all of it.
    fn trade(&mut self, incoming: Handle, resting: Handle, jobs: Jobs, events: &mut Vec<Event>) {
        let price = self.orders[resting].price;
        let (bid, ask, bid_liquidity) = match self.orders[resting].part {
            Part::Ask(_) => (incoming, resting, Liquidity::Taker),
            Part::Bid(_) => (resting, incoming, Liquidity::Maker),
        };
        let meeting = Meeting {
            bid,
            ask,
            price,
            jobs,
            bid_liquidity,
        };
        let traded = self.open_leases(meeting);
        events.push(Event::Traded(traded));

        let bid_order = &self.orders[bid];
        if bid_order.standing != Standing::Away && !bid_order.leaves.is_zero() {
            self.show(bid, traded.bid_leaves);
        }
        let island = self.orders[ask].ask().island;
        let held = &mut self.roster.islands[island].held;
        assert!(
            held.take(traded.first_lease, jobs.get()),
            "leases are numbered in the order in which they take slots"
        );
        let free = self.roster.islands[island].free();
        let undisturbed = free >= self.roster.islands[island].leaves_bound;
        if undisturbed && matches!(self.orders[ask].standing, Standing::Displayed(_)) {
            if !traded.ask_leaves.is_zero() {
                self.show(ask, traded.ask_leaves);
            }
        } else if !undisturbed {
            self.refresh_group(island);
        }
        if self.orders[resting].leaves.is_zero() {
            self.remove_order(resting);
        }
    }

    /// Takes the jobs off both orders and opens their leases.
    fn open_leases(&mut self, meeting: Meeting) -> Traded {
        let Meeting {
            bid,
            ask,
            price,
            jobs,
            bid_liquidity,
        } = meeting;
        let trade = self.next_trade;
        self.next_trade = TradeId::new(trade.get() + 1);
        let island = &self.roster.islands[self.orders[ask].ask().island];
        let ask_session = self.roster.sessions[island.session].id;
        let owner = self.accounts.get(island.owner).id;
        let cell = self.cell_of(self.orders[ask].instrument, self.orders[ask].ask().cell);

        let order = &self.orders[bid];
        let part = order.bid();
        let bid_session = self.roster.sessions[part.session].id;
        let (first_job, epoch, billed) = match order.resumed() {
            Some(resumed) => (resumed.job, resumed.epoch, resumed.billed),
            None => (
                JobId::of_order(order.id, order.filled.get()),
                LeaseEpoch::FIRST,
                RunningBill::default(),
            ),
        };
        let units_max = part.units_max;
        let first_lease = self.leases.open(Run {
            count: jobs.get(),
            job: first_job,
            trade,
            epoch,
            bid: order.id,
            account: order.account,
            session: bid_session,
            client_order_id: order.client_order_id,
            island: island.id,
            island_session: ask_session,
            owner,
            cell,
            price,
            limit: order.price,
            units_max,
            bid_liquidity,
            reserved: part.reserved_per_job,
            billed,
            checkpointed: domain::Units::ZERO,
            eligibility: part.eligibility,
            latency_value: part.latency_value,
            self_trade: order.self_trade,
            special: part.special.clone(),
        });
        let island = island.id;
        let account = self.accounts.get(order.account).id;
        self.orders[bid].fill(jobs);
        self.orders[ask].fill(jobs);
        Traded {
            trade,
            bid: self.orders[bid].id,
            account,
            bid_session,
            ask: self.orders[ask].id,
            island,
            owner,
            ask_session,
            cell,
            price,
            jobs,
            bid_liquidity,
            bid_leaves: self.orders[bid].leaves,
            ask_leaves: self.orders[ask].leaves,
            first_lease,
            first_job,
            epoch,
            units_max,
        }
    }
}
