//! Hardware tiers and karma: what a bid may ask of an Island beside its price.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A speed promise for one instrument, slowest first. The registry sets each tier's floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// As fast as a phone.
    Phone,
    /// As fast as a laptop.
    Laptop,
    /// As fast as a desktop computer.
    Desktop,
    /// As fast as a workstation.
    Workstation,
    /// As fast as a server.
    Server,
}

/// A text that is no tier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a tier: phone, laptop, desktop, workstation or server")]
pub struct TierParseError {
    found: String,
}

impl Tier {
    /// All tiers, slowest first.
    pub const ALL: [Self; 5] = [
        Self::Phone,
        Self::Laptop,
        Self::Desktop,
        Self::Workstation,
        Self::Server,
    ];

    /// The tier's place, from 0 for the slowest.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Phone => 0,
            Self::Laptop => 1,
            Self::Desktop => 2,
            Self::Workstation => 3,
            Self::Server => 4,
        }
    }

    /// The tier's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Laptop => "laptop",
            Self::Desktop => "desktop",
            Self::Workstation => "workstation",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tier {
    type Err = TierParseError;

    fn from_str(text: &str) -> Result<Self, TierParseError> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.name() == text)
            .ok_or_else(|| TierParseError {
                found: text.chars().take(40).collect(),
            })
    }
}

/// An Island's reputation, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Karma(u8);

/// A number that is no karma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("karma is 0 to 100")]
pub struct KarmaError;

impl Karma {
    /// What a new Island starts with.
    pub const NEW_ISLAND: Self = Self(50);

    /// A karma of so many points.
    ///
    /// # Errors
    /// Above 100.
    pub const fn new(points: u8) -> Result<Self, KarmaError> {
        if points > 100 {
            return Err(KarmaError);
        }
        Ok(Self(points))
    }

    /// The points.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A band of karma, worst first: the only form in which karma reaches the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KarmaBand {
    /// Below 50.
    D,
    /// From 50.
    C,
    /// From 70.
    B,
    /// From 85.
    A,
}

impl KarmaBand {
    /// All bands, worst first.
    pub const ALL: [Self; 4] = [Self::D, Self::C, Self::B, Self::A];

    /// The band's place, from 0 for the worst.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::D => 0,
            Self::C => 1,
            Self::B => 2,
            Self::A => 3,
        }
    }

    /// The lowest karma in the band.
    #[must_use]
    pub const fn floor(self) -> Karma {
        match self {
            Self::D => Karma(0),
            Self::C => Karma(50),
            Self::B => Karma(70),
            Self::A => Karma(85),
        }
    }

    /// The band that a karma lies in.
    #[must_use]
    pub fn of(karma: Karma) -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .find(|band| band.floor() <= karma)
            .unwrap_or(Self::D)
    }

    /// The worst band whose every member has at least `karma`, or `None` above band A's floor.
    ///
    /// A bid that asks for 80 gets band A: a floor is never filled by something worse.
    #[must_use]
    pub fn at_least(karma: Karma) -> Option<Self> {
        Self::ALL.into_iter().find(|band| band.floor() >= karma)
    }

    /// The band's letter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::D => "D",
            Self::C => "C",
            Self::B => "B",
            Self::A => "A",
        }
    }
}

impl fmt::Display for KarmaBand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_karma_lies_in_the_band_whose_floor_it_reaches() {
        let band = |points| KarmaBand::of(Karma::new(points).unwrap());
        assert_eq!(
            [band(0), band(49), band(50), band(70), band(84)].map(KarmaBand::name),
            ["D", "D", "C", "B", "B"]
        );
        assert_eq!(band(100), KarmaBand::A);
    }

    #[test]
    fn a_floor_inside_a_band_asks_for_the_band_above() {
        let band = |points| KarmaBand::at_least(Karma::new(points).unwrap());
        assert_eq!(band(0), Some(KarmaBand::D));
        assert_eq!(band(80), Some(KarmaBand::A));
        assert_eq!(band(86), None);
    }
}
