//! What a batch does to what was settled before: refunds, and refused settlements that are booked after all.

use std::collections::BTreeMap;

use domain::{Credits, LeaseId, ShardId};
use ledger::{AccountKey, Counters, Owner, RefundShares};

use super::{Working, claim};
use crate::store::refund::{Mending, NewRefund, Refund};
use crate::store::{Outcome, Rejection, ShardSettlement};

/// What accounts may still spend, with what this refund took so far.
type Spendable = BTreeMap<AccountKey, Credits>;

impl Working {
    pub(super) fn refund(&mut self, new: &NewRefund) -> Outcome {
        let before: Vec<Refund> = self
            .refunds
            .range((new.id, 0)..=(new.id, u8::MAX))
            .map(|(_, refund)| refund.clone())
            .collect();
        if let Some(first) = before.first() {
            let same = first.job == new.job
                && first.asked_lease == new.lease
                && first.asked == new.amount
                && first.author == new.author
                && first.reason == new.reason
                && before
                    .iter()
                    .all(|refund| new.leases.contains(&(refund.shard, refund.lease)));
            return if same {
                Outcome::Refunded(before)
            } else {
                Outcome::Rejected(Rejection::RequestDiffers)
            };
        }
        match self.decide_refund(new) {
            Ok(refunds) => self.keep_refunds(refunds),
            Err(rejection) => Outcome::Rejected(rejection),
        }
    }

    /// Shares the amount out over the job's leases, the first one first.
    fn decide_refund(&self, new: &NewRefund) -> Result<Vec<Refund>, Rejection> {
        let mut left = Vec::new();
        let mut sum = Credits::ZERO;
        for key in &new.leases {
            let Some((settlement, _)) = self.settlements.get(key).filter(|_| self.is_booked(*key)) else {
                continue;
            };
            let (paid, refunded) = (settlement.settlement.bill.consumer_pays(), self.refunded(*key));
            let rest = paid.checked_sub(refunded).unwrap_or(Credits::ZERO);
            sum = sum.checked_add(rest).unwrap_or(Credits::MAX);
            left.push((settlement, refunded, rest));
        }
        if left.is_empty() {
            return Err(Rejection::UnknownJob(new.job));
        }
        let mut wanted = new.amount.unwrap_or(sum);
        if wanted <= Credits::ZERO || wanted > sum {
            return Err(Rejection::RefundTooLarge { left: sum });
        }
        let (mut refunds, mut spendable) = (Vec::new(), Spendable::new());
        for (place, (settlement, refunded, rest)) in (0..=u8::MAX).zip(left) {
            let amount = wanted.min(rest);
            if amount <= Credits::ZERO {
                continue;
            }
            wanted = wanted.checked_sub(amount).expect("it is the smaller of the two");
            let shares = RefundShares::of(settlement.settlement.bill, refunded, amount)
                .expect("no more is wanted than was paid and not refunded");
            refunds.push(self.bear(new, place, settlement, shares, &mut spendable)?);
        }
        Ok(refunds)
    }

    /// Who pays the shares: the Island's earnings, then what its owner has available, then the exchange.
    fn bear(
        &self,
        new: &NewRefund,
        place: u8,
        settlement: &ShardSettlement,
        shares: RefundShares,
        spendable: &mut Spendable,
    ) -> Result<Refund, Rejection> {
        let claim = claim(settlement).map_err(|_| Rejection::UnknownJob(new.job))?;
        let (consumer, island_owner) = (claim.consumer, claim.island_owner);
        let mut take = |account: AccountKey, wanted: Credits| {
            let has = spendable
                .entry(account)
                .or_insert_with(|| self.spendable(account));
            let taken = wanted.min(*has);
            *has = has.checked_sub(taken).expect("no more is taken than there is");
            (
                taken,
                wanted.checked_sub(taken).expect("no more is taken than wanted"),
            )
        };
        let earnings = AccountKey::earnings(island_owner, claim.standing);
        let (from_earnings, rest) = take(earnings, shares.island);
        let (from_available, short) = if consumer == island_owner {
            // It is his already.
            (rest, Credits::ZERO)
        } else {
            take(AccountKey::Available(island_owner), rest)
        };
        let from_fees = shares.fees.checked_add(short);
        Ok(Refund {
            id: new.id,
            place,
            shard: settlement.shard,
            lease: settlement.settlement.lease,
            job: new.job,
            consumer,
            island_owner,
            asked_lease: new.lease,
            asked: new.amount,
            from_earnings,
            from_available,
            from_fees: from_fees.expect("no more is refunded than was paid"),
            from_pool: shares.pool,
            standing: claim.standing,
            author: new.author.clone(),
            reason: new.reason.clone(),
        })
    }

    fn keep_refunds(&mut self, refunds: Vec<Refund>) -> Outcome {
        let legs: Vec<_> = refunds.iter().flat_map(Refund::legs).collect();
        if !legs.is_empty() {
            match self.ledger.apply(&legs) {
                Ok(applied) => self.note(applied, &legs),
                Err(refusal) => return Outcome::Rejected(refusal.into()),
            }
        }
        for refund in &refunds {
            self.take_earnings(refund.island_owner, refund.borne_by_island());
            self.refunds.insert((refund.id, refund.place), refund.clone());
            self.rows.refunds.push(refund.clone());
        }
        Outcome::Refunded(refunds)
    }

    /// Notes earnings that may no longer be paid out.
    pub(super) fn take_earnings(&mut self, owner: Owner, amount: Credits) {
        if amount <= Credits::ZERO {
            return;
        }
        let paid = self.paid_out.entry(owner).or_default();
        paid.taken = paid.taken.checked_add(amount).unwrap_or(Credits::MAX);
        self.rows.taken.push((owner, amount));
    }

    pub(super) fn spendable(&self, account: AccountKey) -> Credits {
        let counters = self.ledger.counters(account);
        counters.and_then(Counters::spendable).unwrap_or(Credits::ZERO)
    }

    /// What was refunded of a lease so far.
    fn refunded(&self, key: (ShardId, LeaseId)) -> Credits {
        let of_lease = self.refunds.values();
        of_lease
            .filter(|refund| (refund.shard, refund.lease) == key)
            .fold(Credits::ZERO, |sum, refund| {
                sum.checked_add(refund.amount()).unwrap_or(Credits::MAX)
            })
    }

    /// Whether a settlement that is kept was booked, at first or later.
    fn is_booked(&self, key: (ShardId, LeaseId)) -> bool {
        let kept = self.settlements.get(&key);
        kept.is_some_and(|(_, refusal)| refusal.is_none() || self.mended.contains(&key))
    }

    pub(super) fn mend(&mut self, mending: &Mending) -> Outcome {
        let key = (mending.shard, mending.lease);
        let Some((settlement, _)) = self.settlements.get(&key).cloned() else {
            return Outcome::Rejected(Rejection::UnknownSettlement(mending.lease));
        };
        if self.is_booked(key) {
            return Outcome::Settled;
        }
        if let Err(refusal) = self.book_settlement(&settlement) {
            return Outcome::SettlementRefused(refusal);
        }
        self.mended.insert(key);
        self.rows.mended.push(mending.clone());
        Outcome::Settled
    }
}
