//! The ledger: accounts, transfers, and the one way to change them.

use std::collections::BTreeMap;

use domain::{Credits, TransferId};

use crate::account::{AccountKey, Counters, Direction};
use crate::reject::Refusal;
use crate::transfer::{Mode, Transfer, TransferKind};

/// The most legs that one journal may have: a settlement has five, and nothing needs more than a few.
pub const LEGS_MAX: usize = 16;

/// What became of a journal that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is booked now.
    Booked,
    /// It was booked before; nothing changed.
    Repeated,
}

/// Accounts and transfers in memory: the whole books in a test, or what a change touches when a store asks.
///
/// A store must load every account and transfer that a journal names before it is applied: what was not loaded does
/// not exist here.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<AccountKey, Counters>,
    transfers: BTreeMap<TransferId, Transfer>,
    resolutions: BTreeMap<TransferId, Mode>,
}

impl Ledger {
    /// No accounts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an account, or keeps it as it is if it is open.
    pub fn open(&mut self, account: AccountKey) {
        self.accounts.entry(account).or_default();
    }

    /// Loads an account as a store kept it.
    pub fn load_account(&mut self, account: AccountKey, counters: Counters) {
        self.accounts.insert(account, counters);
    }

    /// Loads a transfer as a store kept it. The accounts' counters have it already.
    pub fn load_transfer(&mut self, transfer: Transfer) {
        self.remember(transfer);
    }

    /// An account's counters.
    #[must_use]
    pub fn counters(&self, account: AccountKey) -> Option<Counters> {
        self.accounts.get(&account).copied()
    }

    /// A transfer.
    #[must_use]
    pub fn transfer(&self, id: TransferId) -> Option<&Transfer> {
        self.transfers.get(&id)
    }

    /// Every account with its counters, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountKey, Counters)> + '_ {
        self.accounts
            .iter()
            .map(|(account, counters)| (*account, *counters))
    }

    /// Every transfer, by id.
    pub fn transfers(&self) -> impl Iterator<Item = &Transfer> + '_ {
        self.transfers.values()
    }

    /// Applies all of a journal's legs, or none.
    ///
    /// # Errors
    /// With the first reason in the order of [`Refusal`]; nothing is changed then.
    pub fn apply(&mut self, legs: &[Transfer]) -> Result<Applied, Refusal> {
        check_form(legs)?;
        if self.is_repeated(legs)? {
            return Ok(Applied::Repeated);
        }
        self.check_accounts(legs)?;
        for leg in legs {
            self.check_pending(leg)?;
        }
        let moved = self.moved(legs)?;
        self.accounts.extend(moved);
        for leg in legs {
            self.remember(leg.clone());
        }
        Ok(Applied::Booked)
    }

    /// Whether the payer of a transfer can pay it, whoever it is for: he may be yet to come.
    ///
    /// # Errors
    /// When there is no such payer, or he has too little, or has paid as much as can be counted.
    pub fn check_payer(&self, leg: &Transfer) -> Result<(), Refusal> {
        let account = leg.debit;
        let before = self
            .counters(account)
            .ok_or(Refusal::UnknownAccount { account })?;
        touched(leg, account, Direction::Debit, before).map(drop)
    }

    /// Moves what is there to a reserved account: as much of `wanted` as the payer has, at least `minimum`. `order`
    /// names everything but the amount, which is ignored. Returns the transfer; the same for a repeated order.
    ///
    /// # Errors
    /// With the first reason in the order of [`Refusal`]; nothing is changed then.
    pub fn apply_up_to(
        &mut self,
        order: &Transfer,
        minimum: Credits,
        wanted: Credits,
    ) -> Result<(Applied, Transfer), Refusal> {
        check_form(&[with_amount(order, minimum)])?;
        if minimum > wanted {
            return Err(Refusal::EmptyRange { minimum, wanted });
        }
        if let Some(booked) = self.transfers.get(&order.id) {
            let booked = booked.clone();
            let in_range = minimum <= booked.amount && booked.amount <= wanted;
            if !in_range || with_amount(order, booked.amount) != booked {
                return Err(Refusal::TransferDiffers { id: order.id });
            }
            return Ok((Applied::Repeated, booked));
        }
        let spendable = self
            .counters(order.debit)
            .and_then(Counters::spendable)
            .unwrap_or(Credits::ZERO);
        let transfer = with_amount(order, wanted.min(spendable.max(minimum)));
        let applied = self.apply(std::slice::from_ref(&transfer))?;
        Ok((applied, transfer))
    }

    fn remember(&mut self, transfer: Transfer) {
        if let Some(pending) = transfer.mode.resolves() {
            self.resolutions.insert(pending, transfer.mode);
        }
        self.transfers.insert(transfer.id, transfer);
    }

    fn is_repeated(&self, legs: &[Transfer]) -> Result<bool, Refusal> {
        let booked = legs
            .iter()
            .filter(|leg| self.transfers.contains_key(&leg.id))
            .count();
        if booked == 0 {
            return Ok(false);
        }
        for leg in legs {
            if self.transfers.get(&leg.id) != Some(leg) {
                return Err(Refusal::TransferDiffers { id: leg.id });
            }
        }
        Ok(true)
    }

    fn check_accounts(&self, legs: &[Transfer]) -> Result<(), Refusal> {
        let unknown = legs
            .iter()
            .flat_map(|leg| [leg.debit, leg.credit])
            .find(|account| !self.accounts.contains_key(account));
        match unknown {
            Some(account) => Err(Refusal::UnknownAccount { account }),
            None => Ok(()),
        }
    }

    fn check_pending(&self, leg: &Transfer) -> Result<(), Refusal> {
        let Some(pending) = leg.mode.resolves() else {
            return Ok(());
        };
        let held = self
            .transfers
            .get(&pending)
            .ok_or(Refusal::UnknownPending { pending })?;
        if held.mode != Mode::Pending {
            return Err(Refusal::NotPending { pending });
        }
        let same = (held.debit, held.credit, held.amount, held.kind)
            == (leg.debit, leg.credit, leg.amount, leg.kind);
        if !same {
            return Err(Refusal::PendingDiffers { pending });
        }
        match self.resolutions.get(&pending) {
            None | Some(Mode::Plain | Mode::Pending) => Ok(()),
            Some(Mode::Post(_)) => Err(Refusal::AlreadyPosted { pending }),
            Some(Mode::Void(_)) => Err(Refusal::AlreadyVoided { pending }),
        }
    }

    /// The touched accounts' counters after all legs.
    fn moved(&self, legs: &[Transfer]) -> Result<BTreeMap<AccountKey, Counters>, Refusal> {
        let mut moved: BTreeMap<AccountKey, Counters> = BTreeMap::new();
        for leg in legs {
            for (account, direction) in [(leg.debit, Direction::Debit), (leg.credit, Direction::Credit)] {
                let before = moved
                    .get(&account)
                    .or_else(|| self.accounts.get(&account))
                    .copied()
                    .ok_or(Refusal::UnknownAccount { account })?;
                moved.insert(account, touched(leg, account, direction, before)?);
            }
        }
        Ok(moved)
    }
}

fn with_amount(order: &Transfer, amount: Credits) -> Transfer {
    Transfer {
        amount,
        ..order.clone()
    }
}

/// What can be seen from the legs alone.
fn check_form(legs: &[Transfer]) -> Result<(), Refusal> {
    if legs.is_empty() {
        return Err(Refusal::NoLegs);
    }
    if legs.len() > LEGS_MAX {
        return Err(Refusal::TooManyLegs { legs: legs.len() });
    }
    if let Some(leg) = legs.iter().find(|leg| leg.amount <= Credits::ZERO) {
        return Err(Refusal::AmountNotPositive { amount: leg.amount });
    }
    for leg in legs {
        let (kind, debit, credit): (TransferKind, _, _) = (leg.kind, leg.debit, leg.credit);
        if !kind.allows(debit, credit) {
            return Err(Refusal::WrongAccounts { kind, debit, credit });
        }
    }
    for (index, leg) in legs.iter().enumerate() {
        if legs.iter().take(index).any(|earlier| earlier.id == leg.id) {
            return Err(Refusal::DuplicateLeg { id: leg.id });
        }
    }
    Ok(())
}

/// An account's counters after a leg that it is one end of.
fn touched(
    leg: &Transfer,
    account: AccountKey,
    direction: Direction,
    before: Counters,
) -> Result<Counters, Refusal> {
    if direction == Direction::Debit {
        check_cover(account, before, leg)?;
    }
    before
        .moved(direction, leg.mode, leg.amount)
        .ok_or(Refusal::CounterOverflow { account })
}

fn check_cover(account: AccountKey, counters: Counters, leg: &Transfer) -> Result<(), Refusal> {
    // What a post or a void resolves was covered when it was held.
    let takes = match leg.mode {
        Mode::Plain | Mode::Pending => true,
        Mode::Post(_) | Mode::Void(_) => false,
    };
    if !takes || account.kind().may_owe() {
        return Ok(());
    }
    let spendable = counters.spendable().unwrap_or(Credits::ZERO);
    if spendable < leg.amount {
        return Err(Refusal::InsufficientFunds {
            account,
            spendable,
            wanted: leg.amount,
        });
    }
    Ok(())
}
