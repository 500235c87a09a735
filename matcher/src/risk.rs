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
use crate::prefetch::prefetch_at;

/// One account: what each of its orders touches, in one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) power: BuyingPower,
    /// Its bids, oldest first. Its asks are its Islands'.
    pub(crate) bids: Queue,
    /// Bids and asks.
    pub(crate) order_count: u32,
    /// The session under which it bid last: that one knows the account.
    pub(crate) session: Option<Handle>,
    pub(crate) flow: OrderFlow,
    /// Client order ids that are remembered.
    pub(crate) client_id_count: u32,
    /// How many Islands it owns. Most own none, so that few orders ask which.
    island_count: u32,
}

const _: () = assert!(
    size_of::<Account>() == 64,
    "an order touches one cache line of its account"
);

/// What few commands ask of an account.
#[derive(Clone, Debug, Default)]
struct Holdings {
    /// Its Islands, in no order that anything depends on.
    islands: Vec<Handle>,
    /// Transfers that are remembered, oldest first.
    transfers: VecDeque<Handle>,
}

impl Account {
    /// Whether it owns an Island.
    #[inline]
    pub(crate) fn owns_islands(&self) -> bool {
        self.island_count > 0
    }
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
    /// By handle. An account stays.
    accounts: Vec<Account>,
    /// By handle.
    holdings: Vec<Holdings>,
    by_id: Index,
    transfers: Arena<Applied>,
    transfers_by_name: Index,
    total: Credits,
}

impl Accounts {
    #[inline]
    pub(crate) fn find(&self, account: AccountId) -> Option<Handle> {
        let is_meant = |handle| self.get(handle).id == account;
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
        prefetch_at(&self.accounts, account.position());
    }

    pub(crate) fn find_or_new(&mut self, id: AccountId) -> Handle {
        if let Some(account) = self.find(id) {
            return account;
        }
        let account = Handle::at(self.accounts.len());
        self.accounts.push(Account {
            id,
            power: BuyingPower::default(),
            bids: Queue::default(),
            order_count: 0,
            session: None,
            flow: OrderFlow::default(),
            client_id_count: 0,
            island_count: 0,
        });
        self.holdings.push(Holdings::default());
        self.by_id.insert(tag(id), account);
        account
    }

    #[inline]
    pub(crate) fn get(&self, account: Handle) -> &Account {
        &self.accounts[account.position()]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, account: Handle) -> &mut Account {
        &mut self.accounts[account.position()]
    }

    /// The Islands that an account owns, in no order that anything depends on.
    pub(crate) fn islands(&self, account: Handle) -> &[Handle] {
        &self.holdings[account.position()].islands
    }

    pub(crate) fn add_island(&mut self, account: Handle, island: Handle) {
        self.holdings[account.position()].islands.push(island);
        self.get_mut(account).island_count += 1;
    }

    /// Takes away an Island that the account owns.
    pub(crate) fn remove_island(&mut self, account: Handle, island: Handle) {
        let islands = &mut self.holdings[account.position()].islands;
        let position = islands.iter().position(|other| *other == island);
        islands.swap_remove(position.expect("an Island is among its owner's"));
        self.get_mut(account).island_count -= 1;
    }

    /// Every account, in order of its id.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (Handle, &Account)> {
        let places = self.accounts.iter().enumerate();
        let mut accounts: Vec<_> = places
            .map(|(place, account)| (Handle::at(place), account))
            .collect();
        accounts.sort_unstable_by_key(|(_, account)| account.id);
        accounts.into_iter()
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
        let remembered = &mut self.holdings[account.position()].transfers;
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
        let transfers = self.holdings[account.position()].transfers.iter();
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
        let power = &mut self.get_mut(account).power;
        power.available = sum(power.available, amount);
        Some(power.available)
    }

    /// Takes from what is available, or returns what is missing and changes nothing.
    pub(crate) fn defund(&mut self, account: Handle, amount: Credits) -> Result<Credits, Credits> {
        let power = &mut self.get_mut(account).power;
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
        let power = &mut self.get_mut(account).power;
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
        let power = &mut self.get_mut(account).power;
        power.reserved = difference(power.reserved, amount);
        power.available = sum(power.available, amount);
    }

    /// Pays from what was set aside: the credits leave the engine and billing settles them.
    pub(crate) fn pay(&mut self, account: Handle, amount: Credits) {
        let power = &mut self.get_mut(account).power;
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
