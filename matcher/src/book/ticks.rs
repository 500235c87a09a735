//! A price as the book keeps it: in ticks, in four bytes.

use std::num::NonZeroU32;

use domain::Price;

/// A price in ticks: from 1 up, as every price is. An `Option` of it takes four bytes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(NonZeroU32);

impl Ticks {
    #[inline]
    pub(crate) fn of(price: Price) -> Self {
        let ticks = u32::try_from(price.ticks()).ok().and_then(NonZeroU32::new);
        Self(ticks.expect("a price is at least a tick, and the highest less than 2^32"))
    }

    #[inline]
    pub(crate) fn price(self) -> Price {
        Price::from_ticks(u64::from(self.get())).expect("ticks were a price")
    }

    #[inline]
    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }
}
