//! Accounts and their buying power.
//!
//! Invariants: what an account has available and reserved is never negative; the sum over all accounts fits
//! [`Credits`] and equals what was funded, less what was defunded, less what was paid. Reserved equals the sum over
//! the account's bids and leases, which `audit` checks.

use std::collections::VecDeque;

use domain::{AccountId, Credits, Price, TransferId, Units, fee_on};

use crate::BuyingPower;
use crate::book::arena::{Arena, Handle};
use crate::book::queue::Queue;
use crate::index::{Index, Tag};
use crate::order_flow::OrderFlow;

/// One account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) power: BuyingPower,
    /// Its bids, oldest first. Its asks are its Islands'.
    pub(crate) bids: Queue,
    /// Bids and asks.
    pub(crate) order_count: u32,
    /// The session under which it bid last: that one knows the account.
    pub(crate) session: Option<Handle>,
    /// Its Islands, in no order that anything depends on.
    pub(crate) islands: Vec<Handle>,
    pub(crate) flow: OrderFlow,
    /// Client order ids that are remembered.
    pub(crate) client_id_count: u32,
    /// Transfers that are remembered, oldest first.
    pub(crate) transfers: VecDeque<Handle>,
}

/// A transfer that was applied to an account.
#[derive(Clone, Copy, Debug)]
struct Applied {
    account: Handle,
    transfer: TransferId,
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    accounts: Arena<Account>,
    by_id: Index,
    transfers: Arena<Applied>,
    transfers_by_name: Index,
    total: Credits,
}

impl Accounts {
    #[inline]
    pub(crate) fn find(&self, account: AccountId) -> Option<Handle> {
        let is_meant = |handle| self.accounts[handle].id == account;
        self.by_id.find(tag(account), is_meant)
    }

    /// Asks for the slot where the search for an account begins.
    #[inline]
    pub(crate) fn prefetch_slot(&self, account: AccountId) {
        self.by_id.prefetch(tag(account));
    }

    /// The account that is likely to have an id.
    #[inline]
    pub(crate) fn guess(&self, account: AccountId) -> Option<Handle> {
        self.by_id.guess(tag(account))
    }

    #[inline]
    pub(crate) fn prefetch(&self, account: Handle) {
        self.accounts.prefetch(account);
    }

    pub(crate) fn find_or_new(&mut self, id: AccountId) -> Handle {
        if let Some(account) = self.find(id) {
            return account;
        }
        let account = self.accounts.insert(Account {
            id,
            power: BuyingPower::default(),
            bids: Queue::default(),
            order_count: 0,
            session: None,
            islands: Vec::new(),
            flow: OrderFlow::default(),
            client_id_count: 0,
            transfers: VecDeque::new(),
        });
        self.by_id.insert(tag(id), account);
        account
    }

    #[inline]
    pub(crate) fn get(&self, account: Handle) -> &Account {
        &self.accounts[account]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, account: Handle) -> &mut Account {
        &mut self.accounts[account]
    }

    /// Every account, in order of its id.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (Handle, &Account)> {
        let mut handles: Vec<Handle> = self.accounts.handles().collect();
        handles.sort_unstable_by_key(|account| self.accounts[*account].id);
        let handles = handles.into_iter();
        handles.map(|account| (account, &self.accounts[account]))
    }

    /// Available and reserved over all accounts.
    pub(crate) fn total(&self) -> Credits {
        self.total
    }

    pub(crate) fn knows_transfer(&self, account: Handle, transfer: TransferId) -> bool {
        self.find_transfer(account, transfer).is_some()
    }

    /// Remembers a transfer, and forgets the oldest beyond `count_max`.
    pub(crate) fn remember_transfer(&mut self, account: Handle, transfer: TransferId, count_max: u32) {
        let applied = self.transfers.insert(Applied { account, transfer });
        self.transfers_by_name
            .insert(tag_of_transfer(account, transfer), applied);
        let remembered = &mut self.accounts[account].transfers;
        remembered.push_back(applied);
        let count = u32::try_from(remembered.len()).expect("remembered transfers are bounded by a u32");
        if count > count_max
            && let Some(oldest) = remembered.pop_front()
        {
            let forgotten = self.transfers.remove(oldest);
            let tag = tag_of_transfer(account, forgotten.transfer);
            self.transfers_by_name.remove(tag, oldest);
        }
    }

    /// An account's remembered transfers, oldest first.
    pub(crate) fn transfers_of(&self, account: Handle) -> impl Iterator<Item = TransferId> {
        let transfers = self.accounts[account].transfers.iter();
        transfers.map(|applied| self.transfers[*applied].transfer)
    }

    fn find_transfer(&self, account: Handle, transfer: TransferId) -> Option<Handle> {
        self.transfers_by_name
            .find(tag_of_transfer(account, transfer), |applied| {
                let applied = &self.transfers[applied];
                applied.transfer == transfer && applied.account == account
            })
    }

    /// Adds to what is available, or returns `None` and changes nothing if the sum over all accounts would not fit.
    pub(crate) fn fund(&mut self, account: Handle, amount: Credits) -> Option<Credits> {
        self.total = self.total.checked_add(amount)?;
        let power = &mut self.accounts[account].power;
        power.available = sum(power.available, amount);
        Some(power.available)
    }

    /// Takes from what is available, or returns what is missing and changes nothing.
    pub(crate) fn defund(&mut self, account: Handle, amount: Credits) -> Result<Credits, Credits> {
        let power = &mut self.accounts[account].power;
        if amount > power.available {
            return Err(difference(amount, power.available));
        }
        power.available = difference(power.available, amount);
        let available = power.available;
        self.total = difference(self.total, amount);
        Ok(available)
    }

    /// Sets buying power aside. The caller has checked that it is free.
    #[inline]
    pub(crate) fn reserve(&mut self, account: Handle, amount: Credits) {
        let power = &mut self.accounts[account].power;
        assert!(
            amount <= power.available,
            "a reservation is checked before it is made"
        );
        power.available = difference(power.available, amount);
        power.reserved = sum(power.reserved, amount);
    }

    /// Gives back what was set aside.
    #[inline]
    pub(crate) fn release(&mut self, account: Handle, amount: Credits) {
        let power = &mut self.accounts[account].power;
        power.reserved = difference(power.reserved, amount);
        power.available = sum(power.available, amount);
    }

    /// Pays from what was set aside: the credits leave the engine and billing settles them.
    pub(crate) fn pay(&mut self, account: Handle, amount: Credits) {
        let power = &mut self.accounts[account].power;
        power.reserved = difference(power.reserved, amount);
        self.total = difference(self.total, amount);
    }
}

/// What a job is set aside for: all its work at the limit, and the fee if the bid takes. `None` on overflow.
#[inline]
pub(crate) fn reservation(limit: Price, units_max: Units) -> Option<Credits> {
    let charge = limit.cost_of(units_max)?;
    charge.checked_add(fee_on(charge))
}

fn tag(account: AccountId) -> Tag {
    Tag::of_number(account.get())
}

fn tag_of_transfer(account: Handle, transfer: TransferId) -> Tag {
    let space = u64::try_from(account.position()).expect("a handle fits 64 bits");
    Tag::of_pair(space, transfer.get())
}

fn sum(a: Credits, b: Credits) -> Credits {
    a.checked_add(b).expect("the sum over all accounts fits")
}

fn difference(a: Credits, b: Credits) -> Credits {
    let difference = a
        .checked_sub(b)
        .expect("the difference of two sums that are not negative fits");
    assert!(!difference.is_negative(), "no more is taken than there is");
    difference
}
