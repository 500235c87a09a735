//! What a batch does to resets.

use domain::Credits;
use ledger::AccountKey;

use super::Working;
use crate::store::reset::{NewReset, OwnerReset, Reset};
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
        self.reset_owners.insert((reset, owner));
        self.rows.reset_owners.push((reset, owner));
        Outcome::OwnerReset
    }

    /// Nothing that was earned before can be paid out any more.
    fn forfeit(&mut self, owner: ledger::Owner) {
        let paid = self.paid_out.get(&owner).copied().unwrap_or_default();
        let gone = paid.total.checked_add(paid.taken).unwrap_or(Credits::MAX);
        let left = self.matured_of(owner).checked_sub(gone);
        self.take_earnings(owner, left.unwrap_or(Credits::ZERO));
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
