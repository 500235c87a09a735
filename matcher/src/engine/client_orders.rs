//! New orders against what their owner has already: repeats, duplicates and bounds.

use domain::{ClientOrderId, OrderId, TimeInForce};

use crate::book::arena::Handle;
use crate::client_ids::{Fingerprint, Record, Remembered};
use crate::engine::Engine;
use crate::engine::refusal::{Refusal, require};
use crate::{Event, RejectReason};

/// The client's name for a new order, and what it asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) client_order_id: ClientOrderId,
    pub(super) fingerprint: Fingerprint,
}

/// Who places an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// None for an account that the engine has never heard of.
    pub(super) account: Option<Handle>,
    /// The record of the name that he gives it, if it is remembered.
    known: Option<Handle>,
}

/// Whether an order could rest.
#[inline]
pub(super) fn may_rest(time_in_force: TimeInForce) -> bool {
    match time_in_force {
        TimeInForce::Ioc | TimeInForce::Fok => false,
        TimeInForce::Gtc | TimeInForce::Gtd(_) => true,
    }
}

impl Engine {
    /// Who places an order, as far as the engine knows him and the name that he gives it.
    #[inline]
    pub(super) fn owner(&self, account: Option<Handle>, client_order_id: ClientOrderId) -> Owner {
        let known = account.and_then(|account| self.client_ids.find(account, client_order_id));
        Owner { account, known }
    }

    /// Answers an order that repeats a remembered one. A repeat is no refusal, so it is looked for before all
    /// checks: the session or the deadline of the first may be gone by now.
    #[inline]
    pub(super) fn answer_repeat(&self, owner: Owner, key: Key, events: &mut Vec<Event>) -> bool {
        let Some(record) = owner.known.map(|record| self.client_ids.get(record)) else {
            return false;
        };
        if record.remembered.fingerprint != key.fingerprint {
            return false;
        }
        self.recall(record, events);
        true
    }

    /// Refuses a deadline that has passed.
    pub(super) fn check_deadline(&self, time_in_force: TimeInForce) -> Result<(), Refusal> {
        let in_time = match time_in_force {
            TimeInForce::Gtd(deadline) => deadline > self.now,
            TimeInForce::Ioc | TimeInForce::Fok | TimeInForce::Gtc => true,
        };
        require(in_time, RejectReason::DeadlinePassed)
    }

    /// Refuses a name that another order has, and orders, names or messages beyond the bounds.
    #[inline]
    pub(super) fn check_owner(&self, owner: Owner, time_in_force: TimeInForce) -> Result<(), Refusal> {
        let Some(account) = owner.account.map(|account| self.accounts.get(account)) else {
            return Ok(());
        };
        require(owner.known.is_none(), RejectReason::DuplicateClientOrderId)?;
        let has_room = !may_rest(time_in_force) || account.order_count < self.limits.orders_per_account_max;
        require(
            has_room && account.client_id_count < self.limits.client_ids_per_account_max,
            RejectReason::TooManyOrders,
        )?;
        require(
            account.flow.has_room(self.now, &self.limits),
            RejectReason::OrderToTrade,
        )
    }

    /// Remembers the name of an order that is accepted, which was checked to be new.
    #[inline(always)]
    pub(super) fn remember(&mut self, account: Handle, key: Key, order: OrderId) -> Handle {
        let owner = self.accounts.get_mut(account);
        owner.client_id_count += 1;
        owner.flow.count_message(self.now);
        self.client_ids.remember(Record {
            account,
            client_order_id: key.client_order_id,
            remembered: Remembered {
                order,
                fingerprint: key.fingerprint,
                unmatched: None,
            },
        })
    }
}
