//! What comes back of a settled segment, and from whom: in the proportions in which it was paid.
//!
//! A consumer's payment went to the Island, the exchange and the failover pool. A refund takes from each what is its part of
//! all that was refunded so far, less what was taken before, so that many small refunds come to what one large one does, and a
//! whole one to exactly what was paid. Rounding is the exchange's: first the Island's part is rounded down, then the pool's.

use domain::{Bill, Credits};

/// Who bears a refund, before anybody is asked whether he can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefundShares {
    /// The Island's earnings.
    pub island: Credits,
    /// The exchange's fees.
    pub fees: Credits,
    /// The failover pool.
    pub pool: Credits,
}

impl RefundShares {
    /// The shares of `amount`, of which `before` was refunded already; `None` when that is more than was paid, or not above
    /// zero. A subsidy or a compensation was not the consumer's to begin with.
    #[must_use]
    pub fn of(bill: Bill, before: Credits, amount: Credits) -> Option<Self> {
        let paid = bill.consumer_pays();
        let after = before.checked_add(amount)?;
        if amount <= Credits::ZERO || before.is_negative() || after > paid {
            return None;
        }
        let (earlier, now) = (up_to(bill, before), up_to(bill, after));
        Some(Self {
            island: now.island.checked_sub(earlier.island)?,
            fees: now.fees.checked_sub(earlier.fees)?,
            pool: now.pool.checked_sub(earlier.pool)?,
        })
    }
}

/// The shares of all that was refunded, if that is `refunded`.
fn up_to(bill: Bill, refunded: Credits) -> RefundShares {
    let island = part(bill.island_earns(), refunded, bill.consumer_pays());
    let fee = refunded
        .checked_sub(island)
        .expect("a part of what is refunded is not more");
    let pool = part(bill.pool_share(), fee, bill.fee);
    let fees = fee.checked_sub(pool).expect("a part of the fee is not more");
    RefundShares { island, fees, pool }
}

/// `whole × of ÷ total`, rounded down; zero of nothing.
#[expect(clippy::integer_division, reason = "rounding down is the rule")]
fn part(whole: Credits, of: Credits, total: Credits) -> Credits {
    let nano = |credits: Credits| u128::try_from(credits.as_nano()).unwrap_or(0);
    if nano(total) == 0 {
        return Credits::ZERO;
    }
    let part = nano(whole) * nano(of) / nano(total);
    Credits::try_from_nano(part).expect("a part of a number of credits is one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Liquidity, Units, fee_on};

    fn bill(charge: i64, bid_liquidity: Liquidity) -> Bill {
        let charge = Credits::from_nano(charge);
        Bill {
            units: Units::new(1),
            charge,
            fee: fee_on(charge),
            bid_liquidity,
            pool_subsidy: Credits::from_nano(99),
        }
    }

    fn sum(shares: RefundShares) -> i64 {
        shares.island.as_nano() + shares.fees.as_nano() + shares.pool.as_nano()
    }

    #[test]
    fn many_small_refunds_come_to_exactly_what_was_paid() {
        for charge in [0, 1, 49, 50, 51, 250, 999, 12_345, i64::MAX >> 2] {
            for liquidity in [Liquidity::Taker, Liquidity::Maker] {
                let bill = bill(charge, liquidity);
                let paid = bill.consumer_pays().as_nano();
                let step = 1 + paid.div_euclid(997);
                let (mut before, mut all) = (0, RefundShares::default());
                while before < paid {
                    let amount = step.min(paid - before);
                    let shares =
                        RefundShares::of(bill, Credits::from_nano(before), Credits::from_nano(amount))
                            .unwrap();
                    assert_eq!(sum(shares), amount);
                    for (all, share) in [
                        (&mut all.island, shares.island),
                        (&mut all.fees, shares.fees),
                        (&mut all.pool, shares.pool),
                    ] {
                        assert!(!share.is_negative());
                        *all = all.checked_add(share).unwrap();
                    }
                    before += amount;
                }
                assert_eq!(
                    (all.island, all.fees, all.pool),
                    if paid == 0 {
                        (Credits::ZERO, Credits::ZERO, Credits::ZERO)
                    } else {
                        (bill.island_earns(), bill.exchange_share(), bill.pool_share())
                    }
                );
            }
        }
    }

    #[test]
    fn nobody_is_refunded_more_than_he_paid_or_less_than_nothing() {
        let bill = bill(1_000, Liquidity::Taker);
        let of =
            |before, amount| RefundShares::of(bill, Credits::from_nano(before), Credits::from_nano(amount));
        assert!(of(0, 1_020).is_some());
        for (before, amount) in [
            (0, 1_021),
            (1, 1_020),
            (1_020, 1),
            (0, 0),
            (0, -1),
            (-1, 5),
            (i64::MAX, 1),
        ] {
            assert_eq!(of(before, amount), None, "{before}, {amount}");
        }
    }
}
