//! Accounts and their buying power.
//!
//! Invariants: what an account has available and reserved is never negative; the sum over all accounts fits
//! [`Credits`] and equals what was funded, less what was defunded, less what was paid. Reserved equals the sum over
//! the account's bids and leases, which `audit` checks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domain::{AccountId, Credits, TransferId};

use crate::BuyingPower;
use crate::book::arena::{Arena, Handle};
use crate::book::queue::Queue;

/// One account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) power: BuyingPower,
    /// Its orders, oldest first.
    pub(crate) orders: Queue,
    pub(crate) order_count: u32,
    /// Client order ids that are remembered.
    pub(crate) client_id_count: u32,
    /// Transfers that are remembered, oldest first.
    pub(crate) transfers: VecDeque<TransferId>,
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    accounts: Arena<Account>,
    handles: BTreeMap<AccountId, Handle>,
    transfers: BTreeSet<(Handle, TransferId)>,
    total: Credits,
}

impl Accounts {
    pub(crate) fn find(&self, account: AccountId) -> Option<Handle> {
        self.handles.get(&account).copied()
    }

    pub(crate) fn find_or_new(&mut self, id: AccountId) -> Handle {
        *self.handles.entry(id).or_insert_with(|| {
            self.accounts.insert(Account {
                id,
                power: BuyingPower::default(),
                orders: Queue::default(),
                order_count: 0,
                client_id_count: 0,
                transfers: VecDeque::new(),
            })
        })
    }

    pub(crate) fn get(&self, account: Handle) -> &Account {
        &self.accounts[account]
    }

    pub(crate) fn get_mut(&mut self, account: Handle) -> &mut Account {
        &mut self.accounts[account]
    }

    /// Every account, in order of its id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &Account)> {
        self.handles
            .values()
            .map(|handle| (*handle, &self.accounts[*handle]))
    }

    /// Available and reserved over all accounts.
    pub(crate) fn total(&self) -> Credits {
        self.total
    }

    pub(crate) fn knows_transfer(&self, account: Handle, transfer: TransferId) -> bool {
        self.transfers.contains(&(account, transfer))
    }

    /// Remembers a transfer, and forgets the oldest beyond `count_max`.
    pub(crate) fn remember_transfer(&mut self, account: Handle, transfer: TransferId, count_max: u32) {
        self.transfers.insert((account, transfer));
        let remembered = &mut self.accounts[account].transfers;
        remembered.push_back(transfer);
        let count = u32::try_from(remembered.len()).expect("remembered transfers are bounded by a u32");
        if count > count_max
            && let Some(oldest) = remembered.pop_front()
        {
            self.transfers.remove(&(account, oldest));
        }
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
