//! The words of an order, FIX's where FIX has one.

use std::fmt;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{IslandId, KarmaBand, Region, RegionSet, RoundTrip, Tier, Timestamp};

/// Islands that one bid may exclude.
pub const EXCLUDED_ISLANDS_MAX: usize = 8;

/// Which side of the market an order is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// A consumer buying.
    Bid,
    /// An Island selling.
    Ask,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }
}

/// How long an order stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimeInForce {
    /// Immediate or cancel: what does not trade at once is cancelled.
    Ioc,
    /// Fill or kill: all of it trades at once, or none.
    Fok,
    /// Good till cancelled, while its session lives.
    Gtc,
    /// Good till a date, while its session lives.
    Gtd(Timestamp),
}

/// What happens when an order would meet one of the same owner. The incoming order's mode governs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SelfTradeMode {
    /// One's own orders are ineligible and keep their place.
    #[default]
    Skip,
    /// What is left of the incoming order is cancelled.
    CancelNewest,
    /// The resting order is cancelled.
    CancelOldest,
    /// Both are cancelled.
    CancelBoth,
    /// They trade.
    Allow,
}

/// Whether a fill's order was resting or arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Liquidity {
    /// It rested.
    Maker,
    /// It arrived, and pays the fee.
    Taker,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderStatus {
    /// Resting, nothing filled.
    New,
    /// Resting or ended, some of it filled.
    PartiallyFilled,
    /// All of it filled.
    Filled,
    /// Ended by its owner, its session, or its rules.
    Canceled,
    /// Ended by its time.
    Expired,
    /// Never entered.
    Rejected,
}

/// What a report reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExecutionType {
    /// The order was accepted.
    New,
    /// Some of it traded.
    Trade,
    /// It was cancelled.
    Canceled,
    /// It was amended.
    Replaced,
    /// Its time ran out.
    Expired,
    /// It was refused.
    Rejected,
}

/// What a buyer gives up, in nano-credits per 1,000 work units, for every 10 ms of round trip less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LatencyValue(u32);

impl LatencyValue {
    /// Distance does not matter.
    pub const ZERO: Self = Self(0);

    /// Wraps nano-credits per 1,000 work units per 10 ms.
    #[must_use]
    pub const fn new(nano_per_ten_millis: u32) -> Self {
        Self(nano_per_ten_millis)
    }

    /// Nano-credits per 1,000 work units per 10 ms.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// What a distance adds to ten times a price when asks are ranked: `latency_value × rtt_ms`.
    #[must_use]
    pub fn handicap(self, distance: RoundTrip) -> u64 {
        u64::from(self.0)
            .checked_mul(u64::from(distance.as_millis()))
            .expect("32 bits times 16 bits fit 64")
    }
}

/// What an order's jobs are to do, in 64 bits: enough to tell a repeat from another body under the same name, and too
/// little to find the body by. Whoever makes it decides how, and keys it; here two are only ever compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayloadDigest(u64);

impl PayloadDigest {
    /// Of no payload.
    pub const NONE: Self = Self(0);

    /// Wraps the bits.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Islands that a bid will not be filled by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Excluded(ArrayVec<IslandId, EXCLUDED_ISLANDS_MAX>);

/// More Islands than a bid may exclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bid excludes at most {EXCLUDED_ISLANDS_MAX} Islands")]
pub struct TooManyExcluded;

impl Excluded {
    /// Excludes these Islands; one named twice counts once.
    ///
    /// # Errors
    /// Beyond [`EXCLUDED_ISLANDS_MAX`] different ones.
    pub fn new(islands: impl IntoIterator<Item = IslandId>) -> Result<Self, TooManyExcluded> {
        islands.into_iter().try_fold(Self::default(), Self::with)
    }

    /// These Islands and one more.
    ///
    /// # Errors
    /// Beyond [`EXCLUDED_ISLANDS_MAX`] different ones.
    pub fn with(mut self, island: IslandId) -> Result<Self, TooManyExcluded> {
        if !self.contains(island) {
            self.0.try_push(island).map_err(|_| TooManyExcluded)?;
        }
        Ok(self)
    }

    /// Whether the Island is excluded.
    #[must_use]
    pub fn contains(&self, island: IslandId) -> bool {
        self.0.contains(&island)
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Islands, in the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = IslandId> + '_ {
        self.0.iter().copied()
    }
}

/// Which cells may fill a bid: the key of its class while it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Eligibility {
    /// Where the buyer is: distances are measured from here.
    pub home: Region,
    /// Where an Island may be.
    pub regions: RegionSet,
    /// The slowest tier that will do.
    pub min_tier: Tier,
    /// The worst karma band that will do.
    pub min_band: KarmaBand,
}

impl Eligibility {
    /// Whether an Island there, that fast and so reputed may fill the bid.
    #[must_use]
    pub fn covers(&self, region: Region, tier: Tier, band: KarmaBand) -> bool {
        self.regions.contains(region) && tier >= self.min_tier && band >= self.min_band
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bid => "bid",
            Self::Ask => "ask",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_island_excluded_twice_counts_once() {
        let twice = Excluded::new([IslandId::new(1), IslandId::new(1)]).unwrap();
        assert_eq!(twice.iter().count(), 1);
    }

    #[test]
    fn a_ninth_exclusion_is_refused() {
        assert_eq!(Excluded::new((0..9).map(IslandId::new)), Err(TooManyExcluded));
    }
}
