//! What a batch does to resets.

use domain::Credits;
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind};

use super::Working;
use crate::store::reset::{NewReset, OwnerReset, Reset, taken_of_return};
use crate::store::{Outcome, Rejection};

impl Working {
    pub(super) fn announce_reset(&mut self, new: &NewReset) -> Outcome {
        if let Some(before) = self.resets.values().find(|reset| reset.announced.id == new.id) {
            return if before.announced == *new {
                Outcome::ResetAnnounced(before.clone())
            } else {
                Outcome::Rejected(Rejection::RequestDiffers)
            };
        }
        // Of the books' time, which may be ahead of the clock that the request was checked by.
        if new.at <= self.now {
            return Outcome::Rejected(Rejection::ResetPassed);
        }
        let open = self
            .resets
            .keys()
            .any(|number| !self.resets_ended.contains(number));
        if open {
            return Outcome::Rejected(Rejection::ResetAnnounced);
        }
        let last = self.resets.last_key_value().map_or(0, |(number, _)| *number);
        let reset = Reset {
            number: last.saturating_add(1),
            announced: new.clone(),
        };
        self.resets.insert(reset.number, reset.clone());
        self.rows.resets.push(reset.clone());
        Outcome::ResetAnnounced(reset)
    }

    pub(super) fn reset_owner(&mut self, turn: &OwnerReset) -> Outcome {
        let OwnerReset {
            reset,
            owner,
            participation,
        } = *turn;
        let Some(announced) = self.resets.get(&reset) else {
            return Outcome::Rejected(Rejection::UnknownReset);
        };
        if self.reset_owners.contains(&(reset, owner)) {
            return Outcome::OwnerReset;
        }
        if self.ledger.counters(AccountKey::Available(owner)).is_none() {
            return Outcome::Rejected(Rejection::UnknownAccount(owner.id()));
        }
        if self.resets_ended.contains(&reset) {
            return Outcome::Rejected(Rejection::UnknownReset);
        }
        let legs = announced.legs(owner, participation, |account| self.spendable(account));
        if !legs.is_empty() {
            match self.ledger.apply(&legs) {
                Ok(applied) => self.note(applied, &legs),
                Err(refusal) => return Outcome::Rejected(refusal.into()),
            }
        }
        self.forfeit(owner);
        self.note_reserved(reset, owner);
        self.note_held(reset, owner);
        self.reset_owners.insert((reset, owner));
        self.rows.reset_owners.push((reset, owner));
        Outcome::OwnerReset
    }

    /// Nothing that was earned before can be paid out any more.
    fn forfeit(&mut self, owner: Owner) {
        let paid = self.paid_out.get(&owner).copied().unwrap_or_default();
        let gone = paid.total.checked_add(paid.taken).unwrap_or(Credits::MAX);
        let left = self.matured_of(owner).checked_sub(gone);
        self.take_earnings(owner, left.unwrap_or(Credits::ZERO));
    }

    /// What is reserved now covers orders, and is the grants' when it comes back.
    fn note_reserved(&mut self, reset: u32, owner: Owner) {
        let reserved = self
            .ledger
            .accounts()
            .filter_map(|(account, counters)| match account {
                AccountKey::Reserved(of, _) if of == owner => Some((account, counters.credits_posted())),
                AccountKey::Reserved(..)
                | AccountKey::Available(_)
                | AccountKey::Pending(_)
                | AccountKey::Probation(_)
                | AccountKey::Grants
                | AccountKey::Fees
                | AccountKey::Pool
                | AccountKey::Payouts => None,
            });
        for (account, ever) in reserved.filter(|(_, ever)| *ever > Credits::ZERO) {
            self.reserved_before.insert(account, ever);
            self.rows.reserved_before.push((reset, account, ever));
        }
    }

    /// What is held for a payout now is the grants' if that fails. One that was held over two resets is noted once.
    fn note_held(&mut self, reset: u32, owner: Owner) {
        let payouts = self.payouts.values();
        let held = payouts.filter(|payout| payout.owner == owner && payout.state.is_open());
        for payout in held.map(|payout| payout.transfer) {
            if self.held_before.insert(payout) {
                self.rows.held_before.push((reset, payout));
            }
        }
    }

    /// What a reset takes of a return that is not booked yet. What was reserved first leaves first, spent or returned: so
    /// an account has something from before the reset until as much has left it as had ever come into it by then.
    pub(super) fn taken_of(&self, legs: &[Transfer]) -> Option<Transfer> {
        let [back] = legs else { return None };
        let booked = self.ledger.transfer(back.id).is_some();
        if booked || back.kind != TransferKind::Return || back.mode != Mode::Plain {
            return None;
        }
        let ever = self.reserved_before.get(&back.debit)?;
        let gone = self.ledger.counters(back.debit)?.debits_posted();
        let amount = back.amount.min(ever.checked_sub(gone)?);
        (amount > Credits::ZERO).then(|| taken_of_return(back, amount))
    }

    pub(super) fn end_reset(&mut self, reset: u32) -> Outcome {
        if !self.resets.contains_key(&reset) {
            return Outcome::Rejected(Rejection::UnknownReset);
        }
        if self.resets_ended.insert(reset) {
            self.rows.resets_ended.push(reset);
        }
        Outcome::ResetEnded
    }
}
