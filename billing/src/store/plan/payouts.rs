//! What a batch does to payouts.

use domain::{Credits, TransferId};
use ledger::{AccountKey, Mode, Owner};

use super::Working;
use crate::limits::PAYOUT_MIN;
use crate::store::payout::{NewPayout, PaidOut, Payout, PayoutCause, PayoutState, PayoutStep};
use crate::store::{Outcome, Rejection};

/// Who approves what needs no operator.
const POLICY: &str = "policy";

impl Working {
    pub(super) fn request_payout(&mut self, new: &NewPayout) -> Outcome {
        if let Some(before) = self.payouts.get(&new.transfer) {
            let same = before.owner.id() == new.owner
                && before.destination == new.destination
                && before.amount == new.amount
                && before.cause == new.cause;
            return if same {
                Outcome::Payout(before.clone())
            } else {
                Outcome::Rejected(Rejection::RequestDiffers)
            };
        }
        let payout = match self.check_payout(new) {
            Ok(payout) => payout,
            Err(rejection) => return Outcome::Rejected(rejection),
        };
        let held = payout.transfer(Mode::Pending);
        let applied = match self.ledger.apply(std::slice::from_ref(&held)) {
            Ok(applied) => applied,
            Err(refusal) => return Outcome::Rejected(refusal.into()),
        };
        self.note(applied, &[held]);
        let paid = self.paid_out.entry(payout.owner).or_default();
        paid.total = paid
            .total
            .checked_add(payout.amount)
            .expect("what was earned bounds what is paid out");
        if payout.cause == PayoutCause::OnDemand {
            paid.last_on_demand = Some(payout.day);
        }
        self.keep_payout(payout)
    }

    fn check_payout(&self, new: &NewPayout) -> Result<Payout, Rejection> {
        if new.amount < PAYOUT_MIN {
            return Err(Rejection::PayoutTooSmall);
        }
        let owner = Owner::new(new.owner)
            .filter(|owner| self.ledger.counters(AccountKey::Available(*owner)).is_some())
            .ok_or(Rejection::UnknownAccount(new.owner))?;
        let PaidOut {
            total,
            last_on_demand,
            taken,
        } = self.paid_out.get(&owner).copied().unwrap_or_default();
        if new.cause == PayoutCause::OnDemand && last_on_demand >= Some(new.day) {
            return Err(Rejection::PayoutToday);
        }
        let gone = total.checked_add(taken).unwrap_or(Credits::MAX);
        let left = self.matured_of(owner).checked_sub(gone).unwrap_or(Credits::ZERO);
        if new.amount > left {
            return Err(Rejection::NotEarned { left });
        }
        Ok(Payout {
            transfer: new.transfer,
            owner,
            destination: new.destination.clone(),
            amount: new.amount,
            cause: new.cause,
            day: new.day,
            state: new.state,
            approved_by: match new.state {
                PayoutState::Held => String::new(),
                PayoutState::Approved | PayoutState::Paid | PayoutState::Failed => POLICY.to_owned(),
            },
            attempts: 0,
            retry_at: domain::Timestamp::ZERO,
            note: String::new(),
        })
    }

    /// All that ever left the accounts in which an owner's earnings wait: matured, refunded or reset.
    pub(super) fn matured_of(&self, owner: Owner) -> Credits {
        [AccountKey::Pending(owner), AccountKey::Probation(owner)]
            .into_iter()
            .filter_map(|account| self.ledger.counters(account))
            .fold(Credits::ZERO, |sum, counters| {
                sum.checked_add(counters.debits_posted()).unwrap_or(Credits::MAX)
            })
    }

    pub(super) fn step_payout(&mut self, id: TransferId, step: &PayoutStep) -> Outcome {
        let Some(before) = self.payouts.get(&id) else {
            return Outcome::Rejected(Rejection::UnknownPayout(id));
        };
        let mut payout = before.clone();
        let end = match (payout.state, step) {
            (PayoutState::Held, PayoutStep::Approve { author }) => {
                payout.state = PayoutState::Approved;
                payout.approved_by.clone_from(author);
                None
            }
            (PayoutState::Approved, PayoutStep::Approve { .. }) => return Outcome::Payout(payout),
            (PayoutState::Approved, PayoutStep::Attempt { attempt, retry_at })
                if *attempt == payout.attempts.saturating_add(1) =>
            {
                payout.attempts = *attempt;
                payout.retry_at = *retry_at;
                None
            }
            (PayoutState::Approved, PayoutStep::Pay { reference }) => {
                payout.state = PayoutState::Paid;
                payout.note.clone_from(reference);
                Some(Mode::Post(id))
            }
            (PayoutState::Approved, PayoutStep::Fail { reason }) => {
                payout.state = PayoutState::Failed;
                payout.note.clone_from(reason);
                Some(Mode::Void(id))
            }
            (PayoutState::Held, PayoutStep::Reject { author, reason }) => {
                payout.state = PayoutState::Failed;
                payout.note = format!("rejected by {author}: {reason}");
                Some(Mode::Void(id))
            }
            (PayoutState::Paid, PayoutStep::Pay { reference }) if *reference == payout.note => {
                return Outcome::Payout(payout);
            }
            (PayoutState::Failed, PayoutStep::Fail { reason }) if *reason == payout.note => {
                return Outcome::Payout(payout);
            }
            (
                state @ (PayoutState::Held | PayoutState::Approved | PayoutState::Paid | PayoutState::Failed),
                PayoutStep::Approve { .. }
                | PayoutStep::Attempt { .. }
                | PayoutStep::Pay { .. }
                | PayoutStep::Fail { .. }
                | PayoutStep::Reject { .. },
            ) => return Outcome::Rejected(Rejection::PayoutState(state)),
        };
        if let Some(mode) = end {
            let mut legs = vec![payout.transfer(mode)];
            legs.extend(self.is_forfeit(&payout).then(|| payout.taken()));
            match self.ledger.apply(&legs) {
                Ok(applied) => self.note(applied, &legs),
                Err(refusal) => return Outcome::Rejected(refusal.into()),
            }
        }
        if payout.state == PayoutState::Failed {
            self.take_back(&payout);
        }
        self.keep_payout(payout)
    }

    /// A payout that failed does not count: its owner may ask again the same day.
    fn take_back(&mut self, payout: &Payout) {
        let paid = self.paid_out.entry(payout.owner).or_default();
        paid.total = paid.total.checked_sub(payout.amount).unwrap_or(Credits::ZERO);
        if payout.cause == PayoutCause::OnDemand && paid.last_on_demand == Some(payout.day) {
            paid.last_on_demand = None;
        }
        if self.is_forfeit(payout) {
            self.take_earnings(payout.owner, payout.amount);
        }
    }

    /// Whether a payout failed that was held over a reset: what it was for is earned no more.
    fn is_forfeit(&self, payout: &Payout) -> bool {
        payout.state == PayoutState::Failed && self.held_before.contains(&payout.transfer)
    }

    fn keep_payout(&mut self, payout: Payout) -> Outcome {
        self.payouts.insert(payout.transfer, payout.clone());
        self.rows.payouts.insert(payout.transfer, payout.clone());
        Outcome::Payout(payout)
    }

    pub(super) fn set_destination(&mut self, account: domain::AccountId, destination: &str) -> Outcome {
        let owner =
            Owner::new(account).filter(|owner| self.ledger.counters(AccountKey::Available(*owner)).is_some());
        let Some(owner) = owner else {
            return Outcome::Rejected(Rejection::UnknownAccount(account));
        };
        self.rows.destinations.insert(owner, destination.to_owned());
        Outcome::DestinationSet
    }
}
