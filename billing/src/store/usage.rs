//! Sums over an account's settlements, by day, model and side.

use domain::Credits;

use super::Span;
use super::merkle::Day;

/// On which side of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageSide {
    /// The account bought.
    Consumer,
    /// One of its Islands sold.
    IslandOwner,
}

impl UsageSide {
    /// Its number in the database; 0 stands for both.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Consumer => 1,
            Self::IslandOwner => 2,
        }
    }

    /// The side with that number.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Consumer),
            2 => Some(Self::IslandOwner),
            _ => None,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuestion {
    /// When it was settled.
    pub span: Span,
    /// Only this model.
    pub model: Option<String>,
    /// Only this side.
    pub side: Option<UsageSide>,
}

/// What was bought, or sold, of a model on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// The day.
    pub day: Day,
    /// The model.
    pub model: String,
    /// Which side.
    pub side: UsageSide,
    /// Jobs, each once.
    pub jobs: u64,
    /// Their segments.
    pub segments: u64,
    /// Work units billed.
    pub units: u64,
    /// What they cost, or brought.
    pub charge: Credits,
    /// The fee that this side paid.
    pub fee: Credits,
    /// What the pool added.
    pub pool_subsidy: Credits,
    /// What the exchange added.
    pub compensation: Credits,
}
