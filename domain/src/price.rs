//! Prices: nano-credits per 1,000 work units, on a tick.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Credits, CreditsError, Units};

/// Prices are whole multiples of this many nano-credits per 1,000 work units: fine enough for any model, coarse
/// enough that a level is shared.
pub const PRICE_TICK: u64 = 1_000;

/// The highest price, about a thousand credits per 1,000 work units: a ceiling that keeps every product in range.
const PRICE_MAX: u64 = 1 << 40;

/// A price, in nano-credits per 1,000 work units. Never zero, always on a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Price(u64);

/// A number that is not a price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Zero or less: work is never given away by accident.
    #[error("a price is at least {} credits per 1,000 work units", Price::MIN)]
    TooLow,
    /// Not a multiple of the tick.
    #[error(
        "a price is a multiple of {} credits per 1,000 work units: it has at most six decimals",
        Price::MIN
    )]
    OffTick,
    /// Above the ceiling.
    #[error("a price is at most {} credits per 1,000 work units", Price::MAX)]
    TooHigh,
    /// Not a decimal number of credits.
    #[error("a price is a decimal number of credits per 1,000 work units, such as 0.02")]
    Malformed(#[source] CreditsError),
}

impl Price {
    /// The lowest price: one tick.
    pub const MIN: Self = Self(PRICE_TICK);
    /// The highest price on the tick.
    pub const MAX: Self = Self(PRICE_MAX - PRICE_MAX % PRICE_TICK);

    /// A price of so many nano-credits per 1,000 work units.
    ///
    /// # Errors
    /// When it is zero, off the tick or above the ceiling.
    pub const fn new(nano_per_thousand: u64) -> Result<Self, PriceError> {
        if nano_per_thousand == 0 {
            return Err(PriceError::TooLow);
        }
        if nano_per_thousand > PRICE_MAX {
            return Err(PriceError::TooHigh);
        }
        if !nano_per_thousand.is_multiple_of(PRICE_TICK) {
            return Err(PriceError::OffTick);
        }
        Ok(Self(nano_per_thousand))
    }

    /// Nano-credits per 1,000 work units.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The price in ticks, from 1.
    #[must_use]
    pub const fn ticks(self) -> u64 {
        self.0.div_euclid(PRICE_TICK)
    }

    /// The price of so many ticks.
    ///
    /// # Errors
    /// When it is zero or above the ceiling.
    pub const fn from_ticks(ticks: u64) -> Result<Self, PriceError> {
        match ticks.checked_mul(PRICE_TICK) {
            Some(nano) => Self::new(nano),
            None => Err(PriceError::TooHigh),
        }
    }

    /// What `units` cost at this price, rounded up, or `None` on overflow.
    #[must_use]
    pub fn cost_of(self, units: Units) -> Option<Credits> {
        // Nearly every product fits a machine word, and dividing two of them is slow.
        match self.0.checked_mul(units.get()) {
            Some(exact) => Credits::try_from_nano(u128::from(exact.div_ceil(1_000))),
            None => Credits::try_from_nano(self.exact_cost_of(units).div_ceil(1_000)),
        }
    }

    /// What `units` cost at this price in thousandths of a nano-credit: exact, never overflows.
    #[must_use]
    pub fn exact_cost_of(self, units: Units) -> u128 {
        u128::from(self.0)
            .checked_mul(u128::from(units.get()))
            .expect("64 bits times 64 bits fit 128")
    }

    /// Twice this price, or the highest: the protection price of a bid that names no limit.
    #[must_use]
    pub fn doubled(self) -> Self {
        Self(self.0.saturating_mul(2).min(Self::MAX.0))
    }
}

/// The prices that an instrument's operator holds for plausible: a bid above and an ask below are refused, so that a
/// slip of the keyboard does not become a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(Price, Price)", into = "(Price, Price)")]
pub struct PriceBand {
    lowest: Price,
    highest: Price,
}

/// The lowest price of a band is above the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a price band's lowest price is at most its highest")]
pub struct PriceBandError;

impl PriceBand {
    /// The band from `lowest` to `highest`, both included.
    ///
    /// # Errors
    /// When the lowest is above the highest.
    pub fn new(lowest: Price, highest: Price) -> Result<Self, PriceBandError> {
        if lowest > highest {
            return Err(PriceBandError);
        }
        Ok(Self { lowest, highest })
    }

    /// The lowest price of an ask.
    #[must_use]
    pub const fn lowest(self) -> Price {
        self.lowest
    }

    /// The highest price of a bid.
    #[must_use]
    pub const fn highest(self) -> Price {
        self.highest
    }
}

impl TryFrom<(Price, Price)> for PriceBand {
    type Error = PriceBandError;

    fn try_from((lowest, highest): (Price, Price)) -> Result<Self, PriceBandError> {
        Self::new(lowest, highest)
    }
}

impl From<PriceBand> for (Price, Price) {
    fn from(band: PriceBand) -> Self {
        (band.lowest, band.highest)
    }
}

impl TryFrom<u64> for Price {
    type Error = PriceError;

    fn try_from(nano_per_thousand: u64) -> Result<Self, PriceError> {
        Self::new(nano_per_thousand)
    }
}

impl From<Price> for u64 {
    fn from(price: Price) -> Self {
        price.0
    }
}

impl fmt::Display for Price {
    /// Credits per 1,000 work units, as a plain decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nano = i64::try_from(self.0).expect("the highest price fits an i64");
        Credits::from_nano(nano).fmt(f)
    }
}

impl FromStr for Price {
    type Err = PriceError;

    /// Reads credits per 1,000 work units, a plain decimal such as `0.02`.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let credits: Credits = text.parse().map_err(|error| match error {
            CreditsError::TooFine => PriceError::OffTick,
            CreditsError::OutOfRange if text.starts_with('-') => PriceError::TooLow,
            CreditsError::OutOfRange => PriceError::TooHigh,
            CreditsError::Malformed { .. } => PriceError::Malformed(error),
        })?;
        if credits.is_negative() {
            return Err(PriceError::TooLow);
        }
        Self::new(u64::try_from(credits.as_nano()).expect("not negative"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_on_the_tick_and_never_zero() {
        assert_eq!(Price::new(0), Err(PriceError::TooLow));
        assert_eq!(Price::new(1_001), Err(PriceError::OffTick));
        assert_eq!(Price::new(u64::MAX), Err(PriceError::TooHigh));
        assert_eq!(Price::new(PRICE_MAX + PRICE_TICK), Err(PriceError::TooHigh));
        assert!(Price::new(1_000).is_ok());
    }

    #[test]
    fn a_cost_is_rounded_up() {
        let price = Price::new(1_000).unwrap();
        assert_eq!(price.cost_of(Units::new(1)), Some(Credits::from_nano(1)));
        let price = Price::new(3_000).unwrap();
        assert_eq!(price.cost_of(Units::new(0)), Some(Credits::ZERO));
        assert_eq!(Price::MAX.cost_of(Units::new(u64::MAX)), None);
    }

    #[test]
    fn what_is_no_price_is_told_the_unit_and_the_bounds() {
        let told = |text: &str| text.parse::<Price>().unwrap_err().to_string();
        let low = "a price is at least 0.000001 credits per 1,000 work units";
        assert_eq!(["0", "-1", "-99999999999999999999"].map(told), [low; 3]);
        let high = "a price is at most 1099.511627 credits per 1,000 work units";
        assert_eq!(["1100", "99999999999999999999"].map(told), [high; 2]);
        let fine =
            "a price is a multiple of 0.000001 credits per 1,000 work units: it has at most six decimals";
        assert_eq!(["0.0000015", "0.0000000001"].map(told), [fine; 2]);
        let number = "a price is a decimal number of credits per 1,000 work units, such as 0.02";
        assert_eq!(["cheap", "1e3", ""].map(told), [number; 3]);
    }

    #[test]
    fn a_price_reads_as_decimal_credits() {
        assert_eq!("0.02".parse::<Price>().map(Price::get), Ok(20_000_000));
        assert_eq!("0".parse::<Price>(), Err(PriceError::TooLow));
        assert_eq!("-1".parse::<Price>(), Err(PriceError::TooLow));
        assert!(matches!("x".parse::<Price>(), Err(PriceError::Malformed(_))));
        assert_eq!(Price::new(20_000_000).unwrap().to_string(), "0.02");
    }
}
