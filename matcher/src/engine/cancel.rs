//! Cancels and amends: an order's owner takes some or all of it back.

use domain::{AccountId, OrderId};

use crate::book::arena::Handle;
use crate::book::queue::Chain;
use crate::engine::refusal::{Refusal, require};
use crate::engine::{Engine, emit};
use crate::order::{Order, Part, Standing};
use crate::{Amend, Cancel, CancelAll, CancelScope, EndReason, Event, RejectReason};

impl Engine {
    pub(super) fn cancel(&mut self, cancel: &Cancel, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let order = self.order_of(cancel.account, cancel.order)?;
        self.count_message(order);
        self.end_order(order, EndReason::Cancelled, events);
        Ok(())
    }

    /// Ends an account's orders within a scope, oldest first.
    pub(super) fn cancel_all(&mut self, cancel: &CancelAll, events: &mut Vec<Event>) -> Result<(), Refusal> {
        match cancel.scope {
            CancelScope::Everything => {}
            CancelScope::Instrument(instrument) => {
                self.find_book(instrument)
                    .ok_or(RejectReason::UnknownInstrument)?;
            }
            CancelScope::Session(session) => {
                self.roster
                    .find_session(session)
                    .ok_or(RejectReason::UnknownSession)?;
            }
            CancelScope::Island(island) => {
                self.roster
                    .find_island(island)
                    .ok_or(RejectReason::UnknownIsland)?;
            }
        }
        let Some(account) = self.accounts.find(cancel.account) else {
            return Ok(());
        };
        self.accounts.get_mut(account).flow.count_message(self.now);
        let mut orders = self.orders_owned_by(account);
        orders.retain(|order| self.is_in_scope(&self.orders[*order], cancel.scope));
        for order in orders {
            self.end_order(order, EndReason::Cancelled, events);
        }
        Ok(())
    }

    /// Lowers what is left of an order, which keeps its place.
    pub(super) fn amend(&mut self, amend: &Amend, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let handle = self.order_of(amend.account, amend.order)?;
        let leaves = self.orders[handle].leaves;
        require(
            !amend.leaves.is_zero() && amend.leaves < leaves,
            RejectReason::NotLess,
        )?;
        self.count_message(handle);
        let order = &mut self.orders[handle];
        order.leaves = amend.leaves;
        let account = order.account;
        match order.part() {
            Part::Bid(_) => {
                let given_up = leaves
                    .checked_sub(amend.leaves)
                    .expect("an amend leaves less than before");
                let released = self.orders.reserved_for(handle, given_up);
                self.accounts.release(account, released);
                self.note_amended(handle);
                self.show(handle, amend.leaves);
            }
            Part::Ask(ask) => {
                let displayed = amend.leaves.min(self.roster.islands[ask.island].free());
                match self.orders[handle].standing() {
                    Standing::Displayed(shown) if shown != displayed => self.show(handle, displayed),
                    Standing::Displayed(_) | Standing::Busy | Standing::Away => {}
                }
            }
        }
        emit(events, || Event::Amended {
            order: amend.order,
            account: amend.account,
            leaves: amend.leaves,
        });
        Ok(())
    }

    /// An account's orders, oldest first: its bids, and the asks of its Islands.
    pub(crate) fn orders_owned_by(&self, account: Handle) -> Vec<Handle> {
        let bids = &self.accounts.get(account).bids;
        let mut orders: Vec<Handle> = bids.iter(&self.orders, Chain::Owner).collect();
        for island in self.accounts.islands(account) {
            let asks = &self.roster.islands[*island].asks;
            orders.extend(asks.iter(&self.orders, Chain::Owner));
        }
        self.orders.sort(&mut orders);
        orders
    }

    /// Counts a cancel or an amend of an order.
    #[inline(always)]
    fn count_message(&mut self, order: Handle) {
        let account = self.orders[order].account;
        self.accounts.get_mut(account).flow.count_message(self.now);
    }

    /// A resting order of that owner.
    #[inline(always)]
    fn order_of(&self, account: AccountId, order: OrderId) -> Result<Handle, Refusal> {
        let handle = self.orders.find(order).ok_or(RejectReason::UnknownOrder)?;
        let owner = self.accounts.get(self.orders[handle].account).id;
        require(owner == account, RejectReason::UnknownOrder)?;
        Ok(handle)
    }

    fn is_in_scope(&self, order: &Order, scope: CancelScope) -> bool {
        match scope {
            CancelScope::Everything => true,
            CancelScope::Instrument(instrument) => order.instrument == instrument,
            CancelScope::Session(session) => {
                let held_by = match order.part() {
                    Part::Bid(bid) => bid.session,
                    Part::Ask(ask) => self.roster.islands[ask.island].session,
                };
                self.roster.sessions[held_by].id == session
            }
            CancelScope::Island(island) => order
                .as_ask()
                .is_some_and(|ask| self.roster.islands[ask.island].id == island),
        }
    }
}
