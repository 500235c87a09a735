//! What an Island asks for its work: a rule over the model and the load, and nothing else.
//!
//! `price = base × (100 + surcharge × busy slots) / 100`, rounded up to the tick, then held between
//! floor and ceiling. The same model and load give the same price. It does not look at the market.

use std::collections::BTreeMap;

use domain::{PRICE_TICK, Price};

/// The owner's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricingRule {
    /// The price of a model that has none of its own.
    pub default: Price,
    /// Prices of single models.
    pub models: BTreeMap<String, Price>,
    /// Never below this.
    pub floor: Price,
    /// Never above this.
    pub ceiling: Price,
    /// Per cent on top for each busy slot.
    pub surcharge_percent: u32,
}

impl PricingRule {
    /// A rule that always asks `price`.
    #[must_use]
    pub fn flat(price: Price) -> Self {
        Self {
            default: price,
            models: BTreeMap::new(),
            floor: Price::MIN,
            ceiling: Price::MAX,
            surcharge_percent: 0,
        }
    }

    /// The price of `model` while `busy` slots are taken.
    #[must_use]
    pub fn price(&self, model: &str, busy: u32) -> Price {
        let base = self.models.get(model).copied().unwrap_or(self.default);
        let percent = u128::from(self.surcharge_percent)
            .saturating_mul(busy.into())
            .saturating_add(100);
        let nano = u128::from(base.get()).saturating_mul(percent).div_ceil(100);
        let ticks = nano.div_ceil(PRICE_TICK.into());
        let price = u64::try_from(ticks)
            .ok()
            .and_then(|ticks| Price::from_ticks(ticks).ok())
            .unwrap_or(Price::MAX);
        price.max(self.floor).min(self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    fn rule() -> PricingRule {
        PricingRule {
            default: price("0.02"),
            models: BTreeMap::from([("big".to_owned(), price("0.5"))]),
            floor: price("0.01"),
            ceiling: price("0.03"),
            surcharge_percent: 10,
        }
    }

    #[test]
    fn a_model_has_its_own_price_or_the_default() {
        let rule = PricingRule {
            ceiling: Price::MAX,
            ..rule()
        };
        assert_eq!(rule.price("small", 0), price("0.02"));
        assert_eq!(rule.price("big", 0), price("0.5"));
    }

    #[test]
    fn each_busy_slot_adds_the_surcharge_up_to_the_ceiling() {
        assert_eq!(rule().price("small", 1), price("0.022"));
        assert_eq!(rule().price("small", 3), price("0.026"));
        assert_eq!(rule().price("small", 5), price("0.03"));
        assert_eq!(rule().price("small", u32::MAX), price("0.03"));
    }

    #[test]
    fn a_surcharge_rounds_up_to_the_tick() {
        let rule = PricingRule {
            surcharge_percent: 1,
            ..PricingRule::flat(Price::MIN)
        };
        assert_eq!(rule.price("m", 1).get(), 2_000);
    }

    #[test]
    fn the_floor_holds_and_nothing_overflows() {
        let low = PricingRule {
            default: Price::MIN,
            ..rule()
        };
        assert_eq!(low.price("small", 0), price("0.01"));
        let highest = PricingRule {
            surcharge_percent: u32::MAX,
            ..PricingRule::flat(Price::MAX)
        };
        assert_eq!(highest.price("m", u32::MAX), Price::MAX);
    }
}
