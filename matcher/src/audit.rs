//! The whole-state check: every invariant of the engine, computed anew from the orders and leases.
//!
//! It shares no sums with what it checks. Tests run it after each command, a restore runs it once.

mod books;
mod money;

use std::collections::BTreeMap;

use domain::Jobs;

use crate::book::arena::Handle;
use crate::book::queue::Chain;
use crate::engine::Engine;
use crate::order::{Part, Standing};
use crate::timers::Timer;

/// An invariant that does not hold: a bug, or a snapshot that lies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {found}")]
pub struct AuditError {
    /// What should hold.
    pub invariant: &'static str,
    /// What does not.
    pub found: String,
}

impl Engine {
    /// Checks the whole state: no crossed book, depth equal to the sum of orders, slots, quantities and buying power
    /// conserved, every list complete.
    ///
    /// # Errors
    /// Names the first invariant that does not hold.
    pub fn audit(&self) -> Result<(), AuditError> {
        self.audit_orders()?;
        self.audit_groups()?;
        self.audit_books()?;
        self.audit_crossing()?;
        self.audit_money()?;
        self.audit_leases()?;
        self.audit_client_ids()?;
        check(
            self.depth.is_empty(),
            "no touched level waits between commands",
            String::new,
        )
    }

    fn audit_orders(&self) -> Result<(), AuditError> {
        check(
            self.orders.in_order().len() == self.orders.len(),
            "orders are counted",
            || self.orders.len().to_string(),
        )?;
        let mut deadlines = 0;
        for handle in self.orders.in_order() {
            let order = &self.orders[handle];
            let id = order.id;
            check(
                self.orders.find(id) == Some(handle),
                "an order is found by its id",
                || id.to_string(),
            )?;
            let terms = self.orders.terms(handle);
            let known = terms.filled.checked_add(order.leaves);
            check(
                !order.leaves.is_zero() && known.is_some_and(|known| known <= terms.jobs),
                "filled and left are no more than ordered",
                || id.to_string(),
            )?;
            let shows = match (order.part(), order.standing()) {
                (Part::Bid(_), Standing::Displayed(jobs)) => jobs == order.leaves,
                (Part::Ask(_), Standing::Displayed(jobs)) => jobs <= order.leaves && !jobs.is_zero(),
                (Part::Ask(_), Standing::Busy) => true,
                (Part::Bid(_), Standing::Busy) | (_, Standing::Away) => false,
            };
            check(shows, "an order stands in its ladder", || id.to_string())?;
            if let Some(timer) = terms.timer {
                deadlines += 1;
                check(
                    self.timers.get(timer) == Timer::Order(handle),
                    "an order's timer is its own",
                    || id.to_string(),
                )?;
            }
        }
        let switches = self
            .roster
            .sessions()
            .filter(|(_, session)| session.dead_man.is_some())
            .count();
        check(
            self.timers.len() == deadlines + switches,
            "a timer for each deadline",
            || self.timers.len().to_string(),
        )
    }

    fn audit_groups(&self) -> Result<(), AuditError> {
        let mut slots: BTreeMap<Handle, u32> = BTreeMap::new();
        for (lease, holder) in self.leases.held() {
            check(
                lease < self.leases.next(),
                "slots are held by leases that were opened",
                || lease.to_string(),
            )?;
            *slots.entry(holder).or_default() += 1;
        }
        let mut asks = 0;
        for (handle, island) in self.roster.islands() {
            let name = || island.id.to_string();
            let held = slots.remove(&handle).unwrap_or_default();
            check(held == island.held, "held slots add up", name)?;
            let free = Jobs::new(island.slots.get().saturating_sub(held));
            for ask in island.asks.iter(&self.orders, Chain::Owner) {
                asks += 1;
                let order = &self.orders[ask];
                let shows = match order.standing() {
                    Standing::Displayed(jobs) => jobs,
                    Standing::Busy | Standing::Away => Jobs::ZERO,
                };
                check(
                    order.as_ask().is_some_and(|ask| ask.island == handle),
                    "an Island's asks are its own",
                    name,
                )?;
                check(
                    shows == order.leaves.min(free),
                    "an ask shows what is left, bounded by free slots",
                    || format!("{} shows {shows}, {free} free", order.id),
                )?;
                check(
                    order.leaves <= island.leaves_bound,
                    "no ask exceeds its group's bound",
                    || order.id.to_string(),
                )?;
            }
        }
        check(
            slots.is_empty(),
            "slots are those of Islands that are there",
            String::new,
        )?;
        let mut bids = 0;
        for (handle, account) in self.accounts.in_order() {
            for bid in account.bids.iter(&self.orders, Chain::Owner) {
                bids += 1;
                let session = self.orders[bid].as_bid().map(|bid| bid.session);
                check(
                    session.is_some_and(|session| {
                        self.roster.visitors(session).any(|visitor| visitor == handle)
                    }),
                    "a bid's session knows its account",
                    || account.id.to_string(),
                )?;
            }
        }
        check(
            asks + bids == self.orders.len(),
            "every order has an owner",
            || format!("{asks} asks, {bids} bids, {} orders", self.orders.len()),
        )
    }
}

/// An error unless the invariant holds.
pub(super) fn check(
    holds: bool,
    invariant: &'static str,
    found: impl FnOnce() -> String,
) -> Result<(), AuditError> {
    if holds {
        return Ok(());
    }
    Err(AuditError {
        invariant,
        found: found(),
    })
}
