//! What a session knows of its orders, from the engine's events alone: how each stands, and which command asked for it.
//!
//! Pure: no lock, no clock, no task. Invariants:
//! - cumulative + leaves = order quantity while an order is live;
//! - an order is forgotten when nothing is left of it and none of its jobs is open;
//! - every command that asks for something about an order is answered exactly once, be it by the order's end.

mod execution;

use std::collections::{HashMap, VecDeque};

use domain::{ClientOrderId, InstrumentId, Jobs, OrderId, Price, Side};
use matcher::{AskAccepted, BidAccepted, EndReason, OrderEnded, PlaceAsk, PlaceBid, Traded};
use proto::exchange::v1 as wire;

use crate::gateway::errors::Refusal;
use crate::halts::Halts;

pub(super) use execution::refusal_to_wire;

/// The client's own number of a command; 0 if he gave none.
pub(super) type Reference = u64;

/// An order on its way to the engine.
#[derive(Debug)]
pub(super) struct Placing {
    pub(super) reference: Reference,
    pub(super) body: Body,
    /// The client's name for it, as he wrote it.
    pub(super) shown_id: String,
    pub(super) model: String,
    /// What is echoed when it is taken in.
    pub(super) terms: wire::OrderTerms,
}

/// What is being placed.
#[derive(Debug)]
pub(super) enum Body {
    Bid(Box<PlaceBid>),
    Ask(PlaceAsk),
}

/// A command about an order that is still on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Cancel it, and stop its jobs.
    Cancel { reference: Reference },
    /// Lower what is left of it.
    Amend { reference: Reference, leaves: Jobs },
    /// Cancel what rests of it; nobody asked for an answer.
    Pull,
}

impl Then {
    /// Of the command that it was, if it was one.
    pub(super) fn reference(self) -> Option<Reference> {
        match self {
            Self::Cancel { reference } | Self::Amend { reference, .. } => Some(reference),
            Self::Pull => None,
        }
    }
}

/// Which of a session's placings it is: the same name may be on its way twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlacingId(ClientOrderId, u64);

/// What came of a placing, and what waited for that.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reference: Reference,
    pub(super) report: wire::ExecutionReport,
    pub(super) then: Vec<Then>,
}

/// A live order.
#[derive(Debug)]
struct Order {
    shown_id: String,
    client_order_id: ClientOrderId,
    side: Side,
    model: String,
    instrument: InstrumentId,
    price: Price,
    cum: Jobs,
    leaves: Jobs,
    /// Jobs that have traded and not ended.
    open_jobs: u32,
    /// Why it is being cancelled, if by the exchange itself.
    ending: Option<EndReason>,
    cancels: VecDeque<Reference>,
    amends: VecDeque<Reference>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    placing: Placing,
    then: Vec<Then>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Orders {
    placing: HashMap<ClientOrderId, Vec<Waiting>>,
    live: HashMap<OrderId, Order>,
    names: HashMap<ClientOrderId, OrderId>,
    placings: u64,
}

/// Where a named order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    Placing,
    Live(OrderId),
    Unknown,
}

impl Body {
    fn client_order_id(&self) -> ClientOrderId {
        match self {
            Self::Bid(bid) => bid.client_order_id,
            Self::Ask(ask) => ask.client_order_id,
        }
    }

    fn side(&self) -> Side {
        match self {
            Self::Bid(_) => Side::Bid,
            Self::Ask(_) => Side::Ask,
        }
    }

    fn instrument(&self) -> InstrumentId {
        match self {
            Self::Bid(bid) => bid.instrument,
            Self::Ask(ask) => ask.instrument,
        }
    }

    fn jobs(&self) -> Jobs {
        match self {
            Self::Bid(bid) => bid.jobs,
            Self::Ask(ask) => ask.jobs,
        }
    }

    /// The price, as far as it was given.
    fn price(&self) -> u64 {
        match self {
            Self::Bid(bid) => match bid.limit {
                matcher::BidLimit::At(limit) => limit.get(),
                matcher::BidLimit::Protection => 0,
            },
            Self::Ask(ask) => ask.price.get(),
        }
    }

    /// Whether this is what the engine was asked, but for a deadline, which is counted anew with each attempt.
    fn is_bid(&self, asked: &PlaceBid) -> bool {
        let Self::Bid(bid) = self else { return false };
        let timed = PlaceBid {
            time_in_force: asked.time_in_force,
            ..(**bid).clone()
        };
        timed == *asked
    }

    fn is_ask(&self, asked: &PlaceAsk) -> bool {
        matches!(self, Self::Ask(ask) if ask == asked)
    }
}

impl Orders {
    /// Takes note of an order that is about to be placed.
    pub(super) fn place(&mut self, placing: Placing) -> PlacingId {
        self.placings = self.placings.saturating_add(1);
        let id = PlacingId(placing.body.client_order_id(), self.placings);
        self.placing.entry(id.0).or_default().push(Waiting {
            number: id.1,
            placing,
            then: Vec::new(),
        });
        id
    }

    /// How many orders are live or on their way.
    pub(super) fn count(&self) -> usize {
        self.live.len().saturating_add(self.placing.len())
    }

    /// Whether nothing is left to hear of.
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.placing.is_empty()
    }

    /// Where the order of a client's name is.
    pub(super) fn find(&self, client_order_id: ClientOrderId) -> Whereabouts {
        match self.names.get(&client_order_id) {
            Some(order) => Whereabouts::Live(*order),
            None if self.placing.contains_key(&client_order_id) => Whereabouts::Placing,
            None => Whereabouts::Unknown,
        }
    }

    /// The side of an order that is live here.
    pub(super) fn side(&self, order: OrderId) -> Option<Side> {
        self.live.get(&order).map(|order| order.side)
    }

    /// The side of the newest order of that name which is on its way.
    pub(super) fn side_of_placing(&self, client_order_id: ClientOrderId) -> Option<Side> {
        let newest = self.placing.get(&client_order_id)?.last()?;
        Some(newest.placing.body.side())
    }

    /// Whether an order of that side is live or on its way.
    pub(super) fn has(&self, side: Side) -> bool {
        let mut placing = self.placing.values().flatten();
        self.live.values().any(|order| order.side == side)
            || placing.any(|waiting| waiting.placing.body.side() == side)
    }

    /// Whether an order is live here.
    pub(super) fn contains(&self, order: OrderId) -> bool {
        self.live.contains_key(&order)
    }

    /// Lets a command wait until the order of that name is answered.
    pub(super) fn defer(&mut self, client_order_id: ClientOrderId, then: Then) {
        if let Some(waiting) = self
            .placing
            .get_mut(&client_order_id)
            .and_then(|all| all.last_mut())
        {
            waiting.then.push(then);
        }
    }

    /// Has every order that is on its way cancelled when it is there.
    pub(super) fn pull_placings(&mut self) {
        for waiting in self.placing.values_mut().flatten() {
            waiting.then.push(Then::Pull);
        }
    }

    /// Asks of which something is left, oldest first; they are ending for `reason`, if it is not their owner's wish.
    pub(super) fn resting_asks(&mut self, reason: Option<EndReason>) -> Vec<OrderId> {
        let mut asks = Vec::new();
        for (id, order) in &mut self.live {
            if order.side == Side::Ask && !order.leaves.is_zero() {
                order.ending = order.ending.or(reason);
                asks.push(*id);
            }
        }
        asks.sort_unstable();
        asks
    }

    /// A cancel or an amend of a live order is about to be sent.
    pub(super) fn asked(&mut self, order: OrderId, then: Then) {
        let Some(order) = self.live.get_mut(&order) else {
            return;
        };
        match then {
            Then::Cancel { reference } => order.cancels.push_back(reference),
            Then::Amend { reference, .. } => order.amends.push_back(reference),
            Then::Pull => {}
        }
    }

    /// A bid was taken in.
    pub(super) fn bid_accepted(&mut self, accepted: &BidAccepted, asked: &PlaceBid) -> Option<Answer> {
        let mut waiting = self.answered(accepted.client_order_id, |body| body.is_bid(asked))?;
        let mut terms = std::mem::take(&mut waiting.placing.terms);
        terms.units_max = accepted.units_max.get();
        terms.reserved_nano = accepted.reserved.as_nano();
        if let Some(bid) = &mut terms.bid {
            bid.limit = Some(accepted.limit.get());
        }
        let reference = waiting.placing.reference;
        let order = Order::new(waiting.placing, accepted.limit, accepted.jobs);
        let report = order.new_report(accepted.order, terms);
        self.insert(accepted.order, order);
        Some(Answer {
            reference,
            report,
            then: waiting.then,
        })
    }

    /// An ask was taken in; it stands in `cell`.
    pub(super) fn ask_accepted(
        &mut self,
        accepted: &AskAccepted,
        asked: &PlaceAsk,
        cell: proto::types::v1::Cell,
    ) -> Option<Answer> {
        let mut waiting = self.answered(accepted.client_order_id, |body| body.is_ask(asked))?;
        let terms = wire::OrderTerms {
            cell: Some(cell),
            ..std::mem::take(&mut waiting.placing.terms)
        };
        let reference = waiting.placing.reference;
        let order = Order::new(waiting.placing, accepted.price, accepted.jobs);
        let report = order.new_report(accepted.order, terms);
        self.insert(accepted.order, order);
        Some(Answer {
            reference,
            report,
            then: waiting.then,
        })
    }

    /// An ask was refused by the engine.
    pub(super) fn ask_refused(&mut self, asked: &PlaceAsk, refusal: &Refusal) -> Option<Answer> {
        let waiting = self.answered(asked.client_order_id, |body| body.is_ask(asked))?;
        Some(waiting.refused(refusal))
    }

    /// An ask repeats one that was taken in before.
    pub(super) fn ask_repeated(&mut self, asked: &PlaceAsk, order: OrderId) -> Option<Answer> {
        let waiting = self.answered(asked.client_order_id, |body| body.is_ask(asked))?;
        Some(self.repeats(waiting, order))
    }

    /// A placing was refused.
    pub(super) fn refused(&mut self, id: PlacingId, refusal: &Refusal) -> Option<Answer> {
        Some(self.withdraw(id)?.refused(refusal))
    }

    /// A placing repeats an order that was taken in before.
    pub(super) fn repeated(&mut self, id: PlacingId, order: OrderId) -> Option<Answer> {
        let waiting = self.withdraw(id)?;
        Some(self.repeats(waiting, order))
    }

    /// Some of an order traded.
    pub(super) fn traded(&mut self, traded: &Traded, side: Side) -> Option<wire::ExecutionReport> {
        let (id, leaves) = match side {
            Side::Bid => (traded.bid, traded.bid_leaves),
            Side::Ask => (traded.ask, traded.ask_leaves),
        };
        let order = self.live.get_mut(&id)?;
        order.cum = order.cum.checked_add(traded.jobs).unwrap_or(order.cum);
        order.leaves = leaves;
        if side == Side::Bid {
            order.open_jobs = order.open_jobs.saturating_add(traded.jobs.get());
        }
        Some(order.trade_report(id, traded))
    }

    /// What was left of an order ended. The reference is that of the cancel which did it.
    pub(super) fn ended(
        &mut self,
        ended: &OrderEnded,
        halts: &Halts,
    ) -> Option<(Reference, wire::ExecutionReport)> {
        let order = self.live.get_mut(&ended.order)?;
        order.leaves = Jobs::ZERO;
        let (reference, reason) = match ended.reason {
            EndReason::Cancelled => (
                order.cancels.pop_front().unwrap_or_default(),
                order.ending.unwrap_or(EndReason::Cancelled),
            ),
            EndReason::Immediate
            | EndReason::Expired
            | EndReason::SessionLost
            | EndReason::DeadMan
            | EndReason::SelfTrade
            | EndReason::NotQuotable => (0, ended.reason),
        };
        Some((reference, order.end_report(ended.order, reason, halts)))
    }

    /// Less is left of an order.
    pub(super) fn amended(
        &mut self,
        id: OrderId,
        leaves: Jobs,
    ) -> Option<(Reference, wire::ExecutionReport)> {
        let order = self.live.get_mut(&id)?;
        order.leaves = leaves;
        let reference = order.amends.pop_front().unwrap_or_default();
        Some((reference, order.report(id, wire::ExecutionType::Replaced)))
    }

    /// A cancel found nothing on the book; the jobs that run were told to stop. `None` if nobody here asked.
    pub(super) fn only_stopping(&mut self, id: OrderId) -> Option<(Reference, wire::ExecutionReport)> {
        let order = self.live.get_mut(&id)?;
        let reference = order.cancels.pop_front()?;
        Some((reference, order.report(id, wire::ExecutionType::PendingCancel)))
    }

    /// A cancel was not sent after all; returns whether it was still to be answered.
    pub(super) fn withdraw_cancel(&mut self, id: OrderId, reference: Reference) -> bool {
        let Some(order) = self.live.get_mut(&id) else {
            return false;
        };
        let index = order.cancels.iter().rposition(|asked| *asked == reference);
        index.is_some_and(|index| order.cancels.remove(index).is_some())
    }

    /// An amend was refused; returns whose. `None` if nobody here asked.
    pub(super) fn amend_refused(&mut self, id: OrderId) -> Option<Reference> {
        self.live.get_mut(&id)?.amends.pop_front()
    }

    /// A job of an order ended.
    pub(super) fn job_ended(&mut self, id: OrderId) {
        if let Some(order) = self.live.get_mut(&id) {
            order.open_jobs = order.open_jobs.saturating_sub(1);
        }
    }

    /// Forgets an order of which nothing is left; returns the commands that come too late for it.
    pub(super) fn forget_if_over(&mut self, id: OrderId) -> Option<Vec<Reference>> {
        let is_over = |order: &Order| order.leaves.is_zero() && order.open_jobs == 0;
        if !self.live.get(&id).is_some_and(is_over) {
            return None;
        }
        let order = self.live.remove(&id)?;
        self.names.remove(&order.client_order_id);
        Some(order.cancels.into_iter().chain(order.amends).collect())
    }

    fn insert(&mut self, id: OrderId, order: Order) {
        self.names.insert(order.client_order_id, id);
        self.live.insert(id, order);
    }

    /// The placing of that name and body, the oldest first.
    fn answered(&mut self, name: ClientOrderId, is_it: impl Fn(&Body) -> bool) -> Option<Waiting> {
        let all = self.placing.get(&name)?;
        // Alone, it can be no other: what was asked needs no comparing.
        let index = match all.len() {
            1 => 0,
            _ => all.iter().position(|waiting| is_it(&waiting.placing.body))?,
        };
        self.remove(name, index)
    }

    fn withdraw(&mut self, PlacingId(name, number): PlacingId) -> Option<Waiting> {
        let all = self.placing.get(&name)?;
        let index = all.iter().position(|waiting| waiting.number == number)?;
        self.remove(name, index)
    }

    fn remove(&mut self, name: ClientOrderId, index: usize) -> Option<Waiting> {
        let all = self.placing.get_mut(&name)?;
        let waiting = all.remove(index);
        if all.is_empty() {
            self.placing.remove(&name);
        }
        Some(waiting)
    }

    fn repeats(&self, waiting: Waiting, order: OrderId) -> Answer {
        let report = match self.live.get(&order) {
            Some(known) => known.report(order, wire::ExecutionType::OrderStatus),
            None => waiting.report(wire::ExecutionType::OrderStatus, order.to_string()),
        };
        Answer {
            reference: waiting.placing.reference,
            report,
            then: waiting.then,
        }
    }
}

impl Waiting {
    fn refused(self, refusal: &Refusal) -> Answer {
        let report = wire::ExecutionReport {
            order_status: wire::OrderStatus::Rejected.into(),
            reason: Some(refusal_to_wire(refusal)),
            ..self.report(wire::ExecutionType::Rejected, String::new())
        };
        Answer {
            reference: self.placing.reference,
            report,
            then: self.then,
        }
    }
}
