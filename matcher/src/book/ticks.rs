//! A price as the book keeps it: in ticks, in four bytes.

use domain::Price;

/// A price in ticks. As every price is, from 1 up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(u32);

impl Ticks {
    #[inline]
    pub(crate) fn of(price: Price) -> Self {
        Self(u32::try_from(price.ticks()).expect("the highest price is less than 2^32 ticks"))
    }

    #[inline]
    pub(crate) fn price(self) -> Price {
        Price::from_ticks(u64::from(self.0)).expect("ticks were a price")
    }

    #[inline]
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}
