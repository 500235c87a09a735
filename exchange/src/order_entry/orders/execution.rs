//! Execution reports: an order's state in FIX's words.

use domain::{Jobs, Liquidity, OrderId, Price, Side};
use matcher::{EndReason, Traded};
use proto::convert::{liquidity_to_wire, side_to_wire};
use proto::exchange::v1 as wire;

use super::{Order, Placing, Waiting};
use crate::gateway::errors::{Refusal, Retry, of_end};
use crate::halts::Halts;

impl Order {
    /// An order that was taken in, with what the engine made of its price and jobs.
    pub(super) fn new(placing: Placing, price: Price, jobs: Jobs) -> Self {
        Self {
            client_order_id: placing.body.client_order_id(),
            side: placing.body.side(),
            instrument: placing.body.instrument(),
            shown_id: placing.shown_id,
            model: placing.model,
            price,
            cum: Jobs::ZERO,
            leaves: jobs,
            open_jobs: 0,
            ending: None,
            cancels: std::collections::VecDeque::new(),
            amends: std::collections::VecDeque::new(),
        }
    }

    pub(super) fn report(&self, id: OrderId, execution_type: wire::ExecutionType) -> wire::ExecutionReport {
        wire::ExecutionReport {
            execution_type: execution_type.into(),
            order_status: self.status().into(),
            side: side_to_wire(self.side).into(),
            order_id: id.to_string(),
            client_order_id: self.shown_id.clone(),
            model: self.model.clone(),
            price: self.price.get(),
            order_quantity: self.cum.get().saturating_add(self.leaves.get()),
            cum_quantity: self.cum.get(),
            leaves_quantity: self.leaves.get(),
            ..wire::ExecutionReport::default()
        }
    }

    pub(super) fn new_report(&self, id: OrderId, terms: wire::OrderTerms) -> wire::ExecutionReport {
        wire::ExecutionReport {
            terms: Some(terms),
            ..self.report(id, wire::ExecutionType::New)
        }
    }

    pub(super) fn trade_report(&self, id: OrderId, traded: &Traded) -> wire::ExecutionReport {
        let liquidity = match (self.side, traded.bid_liquidity) {
            (Side::Bid, liquidity) => liquidity,
            (Side::Ask, Liquidity::Taker) => Liquidity::Maker,
            (Side::Ask, Liquidity::Maker) => Liquidity::Taker,
        };
        wire::ExecutionReport {
            last_price: traded.price.get(),
            last_quantity: traded.jobs.get(),
            liquidity: liquidity_to_wire(liquidity).into(),
            trade_id: traded.trade.to_string(),
            ..self.report(id, wire::ExecutionType::Trade)
        }
    }

    pub(super) fn end_report(&self, id: OrderId, reason: EndReason, halts: &Halts) -> wire::ExecutionReport {
        let (execution_type, order_status) = match reason {
            EndReason::Expired => (wire::ExecutionType::Expired, wire::OrderStatus::Expired),
            EndReason::Cancelled
            | EndReason::Immediate
            | EndReason::SessionLost
            | EndReason::DeadMan
            | EndReason::SelfTrade
            | EndReason::NotQuotable => (wire::ExecutionType::Canceled, wire::OrderStatus::Canceled),
        };
        let (kind, meaning) = of_end(reason, halts.trading(self.instrument));
        wire::ExecutionReport {
            order_status: order_status.into(),
            reason: Some(refusal_to_wire(&kind.because(meaning))),
            ..self.report(id, execution_type)
        }
    }

    fn status(&self) -> wire::OrderStatus {
        match (self.cum.is_zero(), self.leaves.is_zero()) {
            (true, false) => wire::OrderStatus::New,
            (false, false) => wire::OrderStatus::PartiallyFilled,
            (false, true) => wire::OrderStatus::Filled,
            (true, true) => wire::OrderStatus::Canceled,
        }
    }
}

impl Waiting {
    /// What is known of an order that the session does not have.
    pub(super) fn report(
        &self,
        execution_type: wire::ExecutionType,
        order_id: String,
    ) -> wire::ExecutionReport {
        let body = &self.placing.body;
        wire::ExecutionReport {
            execution_type: execution_type.into(),
            side: side_to_wire(body.side()).into(),
            order_id,
            client_order_id: self.placing.shown_id.clone(),
            model: self.placing.model.clone(),
            price: body.price(),
            order_quantity: body.jobs().get(),
            ..wire::ExecutionReport::default()
        }
    }
}

/// A refusal as a report carries it.
pub(in crate::order_entry) fn refusal_to_wire(refusal: &Refusal) -> wire::Refusal {
    wire::Refusal {
        code: refusal.kind.code.to_owned(),
        message: refusal.message.clone(),
        field: refusal.field.clone().unwrap_or_default(),
        may_retry: refusal.retry == Retry::Yes,
    }
}
