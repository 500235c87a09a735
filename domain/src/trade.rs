//! What a trade costs: charges that add up exactly over segments, and the taker's fee.
//!
//! A job that failed over is billed in segments, each at its own price. A segment's charge is the rounded running
//! total less what was billed before, so the sum over segments is the exact total rounded up once (decision 0001).

use serde::{Deserialize, Serialize};

use crate::{Credits, Liquidity, Price, Units};

/// The taker's fee, in thousandths of the charge: 2 %.
pub const FEE_PER_THOUSAND: i64 = 20;

/// The failover pool gets one part in five of every fee.
pub const POOL_SHARE_DIVISOR: i64 = 5;

/// The taker's fee on a charge: 2 %, rounded down.
#[must_use]
pub fn fee_on(charge: Credits) -> Credits {
    // Nearly every product fits a machine word, and dividing two of them is slow.
    if let Some(product) = charge.as_nano().checked_mul(FEE_PER_THOUSAND) {
        return Credits::from_nano(product.div_euclid(1_000));
    }
    let fee = i128::from(charge.as_nano())
        .checked_mul(i128::from(FEE_PER_THOUSAND))
        .expect("64 bits times a small number fit 128")
        .div_euclid(1_000);
    Credits::from_nano(i64::try_from(fee).expect("a fiftieth of an i64 fits an i64"))
}

/// What was billed for a job so far, exact to a thousandth of a nano-credit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningBill {
    exact_thousandths: u128,
    billed: Credits,
}

/// A bill that does not fit the number of its credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bill is out of range")]
pub struct BillError;

impl RunningBill {
    /// The bill that has come to `exact_thousandths` of a nano-credit, of which `billed` was charged: what a journal
    /// or a wire carried.
    ///
    /// # Errors
    /// When `billed` is not the exact total rounded up.
    pub fn restore(exact_thousandths: u128, billed: Credits) -> Result<Self, BillError> {
        if Credits::try_from_nano(exact_thousandths.div_ceil(1_000)) != Some(billed) {
            return Err(BillError);
        }
        Ok(Self {
            exact_thousandths,
            billed,
        })
    }

    /// Bills one more segment of `units` at `price`; returns its charge.
    ///
    /// # Errors
    /// When the total would not fit; nothing is billed then.
    pub fn bill(&mut self, price: Price, units: Units) -> Result<Credits, BillError> {
        let exact = self
            .exact_thousandths
            .checked_add(price.exact_cost_of(units))
            .ok_or(BillError)?;
        let total = Credits::try_from_nano(exact.div_ceil(1_000)).ok_or(BillError)?;
        let charge = total.checked_sub(self.billed).ok_or(BillError)?;
        self.exact_thousandths = exact;
        self.billed = total;
        Ok(charge)
    }

    /// Everything charged so far.
    #[must_use]
    pub const fn billed(self) -> Credits {
        self.billed
    }

    /// The exact total, in thousandths of a nano-credit.
    #[must_use]
    pub const fn exact_thousandths(self) -> u128 {
        self.exact_thousandths
    }
}

/// What one segment of a job moves. Its legs always add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Work units billed to the consumer in this segment.
    pub units: Units,
    /// What the work costs.
    pub charge: Credits,
    /// The taker's fee on it.
    pub fee: Credits,
    /// What the bid's side was: a taker pays the fee on top, a maker leaves it to the Island.
    pub bid_liquidity: Liquidity,
    /// What the failover pool pays the Island for reading what another had already written.
    pub pool_subsidy: Credits,
}

impl Bill {
    /// A bill of nothing: free.
    pub const FREE: Self = Self {
        units: Units::ZERO,
        charge: Credits::ZERO,
        fee: Credits::ZERO,
        bid_liquidity: Liquidity::Maker,
        pool_subsidy: Credits::ZERO,
    };

    /// What leaves the consumer's reservation.
    ///
    /// # Panics
    /// When charge and fee together do not fit, which the reservation they came from rules out.
    #[must_use]
    pub fn consumer_pays(self) -> Credits {
        match self.bid_liquidity {
            Liquidity::Taker => self
                .charge
                .checked_add(self.fee)
                .expect("a reservation covered charge and fee"),
            Liquidity::Maker => self.charge,
        }
    }

    /// What the Island earns from the consumer, the pool's subsidy not counted.
    ///
    /// # Panics
    /// Never: a fee is a fiftieth of its charge.
    #[must_use]
    pub fn island_earns(self) -> Credits {
        match self.bid_liquidity {
            Liquidity::Taker => self.charge,
            Liquidity::Maker => self
                .charge
                .checked_sub(self.fee)
                .expect("a fee is less than its charge"),
        }
    }

    /// The failover pool's share of the fee, rounded down.
    #[must_use]
    pub fn pool_share(self) -> Credits {
        Credits::from_nano(self.fee.as_nano().div_euclid(POOL_SHARE_DIVISOR))
    }

    /// The exchange's share of the fee: what the pool's leaves.
    ///
    /// # Panics
    /// Never: the pool's share is a part of the fee.
    #[must_use]
    pub fn exchange_share(self) -> Credits {
        self.fee
            .checked_sub(self.pool_share())
            .expect("a part is less than its whole")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fee_is_two_percent_rounded_down() {
        assert_eq!(fee_on(Credits::from_nano(49)), Credits::ZERO);
        assert_eq!(fee_on(Credits::from_nano(50)), Credits::from_nano(1));
        assert_eq!(fee_on(Credits::MAX), Credits::from_nano(i64::MAX.div_euclid(50)));
    }

    #[test]
    fn a_bill_beyond_the_range_bills_nothing() {
        let mut running = RunningBill::default();
        assert_eq!(running.bill(Price::MAX, Units::new(u64::MAX)), Err(BillError));
        assert_eq!(running, RunningBill::default());
    }

    proptest! {
        #[test]
        fn segments_at_one_price_bill_what_an_unbroken_run_does(
            ticks in 1u64..1_000_000,
            segments in prop::collection::vec(0u64..5_000, 1..5),
        ) {
            let price = Price::from_ticks(ticks).unwrap();
            let mut running = RunningBill::default();
            let mut charged = 0;
            for units in &segments {
                charged += running.bill(price, Units::new(*units)).unwrap().as_nano();
            }
            let unbroken = price.cost_of(Units::new(segments.iter().sum())).unwrap();
            prop_assert_eq!(Credits::from_nano(charged), unbroken);
        }

        #[test]
        fn the_legs_of_a_bill_add_up(charge in 0i64..1_000_000_000_000, taker: bool) {
            let charge = Credits::from_nano(charge);
            let bid_liquidity = if taker { Liquidity::Taker } else { Liquidity::Maker };
            let bill = Bill { units: Units::ZERO, charge, fee: fee_on(charge), bid_liquidity, pool_subsidy: Credits::ZERO };
            let legs = bill.island_earns().as_nano() + bill.pool_share().as_nano() + bill.exchange_share().as_nano();
            prop_assert_eq!(bill.consumer_pays().as_nano(), legs);
        }
    }
}
