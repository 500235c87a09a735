//! Carrying out a plan: trades, the leases that they open and the slots that they take.

use domain::{Eligibility, JobId, Jobs, LeaseEpoch, Liquidity, Price, RunningBill, TradeId};

use crate::book::arena::Handle;
use crate::crossing::{Action, Ending, Plan};
use crate::engine::{Engine, emit};
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
    resting: Handle,
    price: Price,
    jobs: Jobs,
    bid_liquidity: Liquidity,
}

impl Engine {
    /// Carries out what was planned for an incoming order.
    pub(crate) fn execute(&mut self, incoming: Handle, plan: &Plan, events: &mut Vec<Event>) -> Fate {
        for action in &plan.actions {
            match *action {
                Action::Fill { resting, jobs } => {
                    self.trade(self.meeting(incoming, resting, jobs), plan, events);
                }
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
    fn trade(&mut self, meeting: Meeting, plan: &Plan, events: &mut Vec<Event>) {
        let Meeting {
            bid,
            ask,
            resting,
            jobs,
            ..
        } = meeting;
        let traded = self.open_leases(meeting, plan);
        self.count_trade(bid, ask);
        emit(events, || Event::Traded(traded));

        // The incoming bid stands in its level when an instrument resumes.
        if self.orders[bid].standing() != Standing::Away && !traded.bid_leaves.is_zero() {
            self.show(bid, traded.bid_leaves);
        }
        let island = self.orders[ask].ask().island;
        self.roster.islands[island].held += jobs.get();
        let free = self.roster.islands[island].free();
        let undisturbed = free >= self.roster.islands[island].leaves_bound;
        if undisturbed && matches!(self.orders[ask].standing(), Standing::Displayed(_)) {
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

    /// Counts a trade for both sides' order-to-trade ratios. One with oneself proves no interest in trading.
    fn count_trade(&mut self, bid: Handle, ask: Handle) {
        let (buyer, seller) = (self.orders[bid].account, self.orders[ask].account);
        if buyer == seller {
            return;
        }
        for account in [buyer, seller] {
            self.accounts.get_mut(account).flow.count_trade(self.now);
        }
    }

    fn meeting(&self, incoming: Handle, resting: Handle, jobs: Jobs) -> Meeting {
        let (bid, ask, bid_liquidity) = match self.orders[resting].part() {
            Part::Ask(_) => (incoming, resting, Liquidity::Taker),
            Part::Bid(_) => (resting, incoming, Liquidity::Maker),
        };
        Meeting {
            bid,
            ask,
            resting,
            price: self.orders[resting].price(),
            jobs,
            bid_liquidity,
        }
    }

    /// Takes the jobs off both orders and opens their leases.
    fn open_leases(&mut self, meeting: Meeting, plan: &Plan) -> Traded {
        let Meeting {
            bid,
            ask,
            price,
            jobs,
            bid_liquidity,
            ..
        } = meeting;
        let trade = self.next_trade;
        self.next_trade = TradeId::new(trade.get() + 1);
        let quote = self.orders[ask].ask();
        let island = &self.roster.islands[quote.island];
        let ask_session = self.roster.sessions[island.session].id;
        let owner = self.accounts.get(island.owner).id;
        let cell = self.cell_of(self.orders[ask].instrument, quote.cell);

        let order = &self.orders[bid];
        let part = order.bid();
        let terms = self.orders.terms(bid);
        let bid_session = self.roster.sessions[part.session].id;
        let (first_job, epoch, billed) = match self.orders.resumed(bid) {
            Some(resumed) => (resumed.job, resumed.epoch, resumed.billed),
            None => (
                JobId::of_order(order.id, terms.filled.get()),
                LeaseEpoch::FIRST,
                RunningBill::default(),
            ),
        };
        let units_max = terms.units_max();
        let account = self.accounts.get(order.account).id;
        let traded = Traded {
            trade,
            bid: order.id,
            account,
            bid_session,
            ask: self.orders[ask].id,
            island: island.id,
            owner,
            ask_session,
            cell,
            price,
            jobs,
            bid_liquidity,
            bid_leaves: less(order.leaves, jobs),
            ask_leaves: less(self.orders[ask].leaves, jobs),
            first_lease: self.leases.next(),
            first_job,
            epoch,
            units_max,
        };
        let run = Run {
            first: self.leases.next(),
            count: jobs.get(),
            job: first_job,
            trade,
            epoch,
            bid: order.id,
            account: order.account,
            session: bid_session,
            client_order_id: self.client_order_id(bid),
            island: island.id,
            island_session: ask_session,
            owner,
            cell,
            price,
            limit: order.price(),
            units_max,
            bid_liquidity,
            reserved: self.orders.reserved_per_job(bid),
            billed,
            checkpointed: domain::Units::ZERO,
            eligibility: self.eligibility_of(bid, plan),
            latency_value: terms.latency_value,
            self_trade: order.self_trade,
            special: self.orders.special(bid).cloned().map(Box::new),
        };
        self.leases.open(run, quote.island);
        self.orders.fill(bid, jobs);
        self.orders.fill(ask, jobs);
        traded
    }

    /// Which cells may fill a bid: its class says so if it rests, its plan if it arrives.
    fn eligibility_of(&self, bid: Handle, plan: &Plan) -> Eligibility {
        let order = &self.orders[bid];
        match (order.standing(), plan.eligibility) {
            (Standing::Away, Some(eligibility)) => eligibility,
            (Standing::Away | Standing::Displayed(_) | Standing::Busy, _) => {
                self.eligibility_of_resting(order)
            }
        }
    }
}

fn less(leaves: Jobs, jobs: Jobs) -> Jobs {
    leaves
        .checked_sub(jobs)
        .expect("a fill is no more than what is left")
}
