//! The hash of a stream of trades, as `workload/README.md` defines it.

/// The hash of the trades so far; nothing yet at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TradeHash(u64);

/// What one trade adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedTrade {
    /// The workload's number of the resting order.
    pub maker: u64,
    /// The workload's number of the incoming order.
    pub taker: u64,
    /// The maker's price.
    pub price_ticks: u64,
    /// How many jobs.
    pub jobs: u32,
}

impl TradeHash {
    /// The hash with one trade more.
    #[must_use]
    pub fn with(self, trade: HashedTrade) -> Self {
        let quantity = u64::from(trade.jobs);
        let mixed = trade.maker.wrapping_mul(31)
            ^ trade.taker.wrapping_mul(7)
            ^ (trade.price_ticks << 40)
            ^ (quantity << 20);
        Self((self.0.rotate_left(5) ^ mixed).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Its bits.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}
