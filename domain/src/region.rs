//! Regions, sets of them, and the round trips between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most regions that one table may name: a set of them is one machine word.
pub const REGIONS_MAX: usize = 64;

/// A region, by its index in the region table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Region(u8);

/// What can be wrong with a region or a table of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// An index of 64 or more.
    #[error("a region's index is below {REGIONS_MAX}")]
    Index,
    /// No region, or more than 64.
    #[error("a region table names 1 to {REGIONS_MAX} regions, this one {count}")]
    Count {
        /// How many it names.
        count: usize,
    },
    /// A code that is empty, too long, or has characters other than lower-case letters, digits and hyphens.
    #[error("`{code}` is not a region code such as eu-west")]
    Code {
        /// The code, cut to 40 characters.
        code: String,
    },
    /// Two regions with one code.
    #[error("the region `{code}` is named twice")]
    Duplicate {
        /// The code.
        code: String,
    },
    /// A row of the matrix with the wrong number of entries.
    #[error("the round trips of region `{code}` need one entry a region")]
    Row {
        /// The region whose row it is.
        code: String,
    },
    /// The round trip there differs from the round trip back.
    #[error("the round trip between `{a}` and `{b}` is not the same both ways")]
    Asymmetric {
        /// One region.
        a: String,
        /// The other.
        b: String,
    },
}

impl Region {
    /// The region at `index`.
    ///
    /// # Errors
    /// When `index` is 64 or more.
    pub fn new(index: u8) -> Result<Self, RegionError> {
        if usize::from(index) >= REGIONS_MAX {
            return Err(RegionError::Index);
        }
        Ok(Self(index))
    }

    /// The index in the region table.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl TryFrom<u8> for Region {
    type Error = RegionError;

    fn try_from(index: u8) -> Result<Self, RegionError> {
        Self::new(index)
    }
}

impl From<Region> for u8 {
    fn from(region: Region) -> Self {
        region.0
    }
}

/// A set of regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionSet(u64);

impl RegionSet {
    /// No region.
    pub const EMPTY: Self = Self(0);

    /// This set and `region`.
    #[must_use]
    pub const fn with(self, region: Region) -> Self {
        Self(self.0 | (1 << region.0))
    }

    /// Whether `region` is in the set.
    #[must_use]
    pub const fn contains(self, region: Region) -> bool {
        self.0 & (1 << region.0) != 0
    }

    /// The set as bits: that of a region's index is its own.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether no region is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set without `region`.
    #[must_use]
    pub const fn without(self, region: Region) -> Self {
        Self(self.0 & !(1 << region.0))
    }

    /// How many regions of the set come before `region`.
    #[must_use]
    pub fn rank(self, region: Region) -> usize {
        let before = self.0 & ((1 << region.0) - 1);
        usize::try_from(before.count_ones()).expect("64 bits are counted")
    }

    /// The regions in the set, lowest index first.
    pub fn iter(self) -> impl Iterator<Item = Region> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = u8::try_from(left.trailing_zeros()).ok();
            let region = index.and_then(|index| Region::new(index).ok())?;
            left &= left - 1;
            Some(region)
        })
    }
}

impl FromIterator<Region> for RegionSet {
    fn from_iter<I: IntoIterator<Item = Region>>(regions: I) -> Self {
        regions.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// A round trip between two regions, in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoundTrip(u16);

impl RoundTrip {
    /// A round trip of so many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u16) -> Self {
        Self(millis)
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u16 {
        self.0
    }
}

/// The regions that an exchange knows and the round trips between them. Symmetric; at most 64 regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedTable")]
pub struct RegionTable {
    codes: Vec<String>,
    round_trips: Vec<Vec<RoundTrip>>,
}

/// A table as it was read, with nothing checked.
#[derive(Deserialize)]
struct UncheckedTable {
    codes: Vec<String>,
    round_trips: Vec<Vec<RoundTrip>>,
}

impl TryFrom<UncheckedTable> for RegionTable {
    type Error = RegionError;

    fn try_from(unchecked: UncheckedTable) -> Result<Self, RegionError> {
        Self::new(unchecked.codes, unchecked.round_trips)
    }
}

impl RegionTable {
    /// The table of `codes`, with `round_trips[a][b]` between region `a` and region `b`.
    ///
    /// # Errors
    /// When codes are malformed or repeated, or the matrix is not square and symmetric.
    pub fn new(codes: Vec<String>, round_trips: Vec<Vec<RoundTrip>>) -> Result<Self, RegionError> {
        if codes.is_empty() || codes.len() > REGIONS_MAX {
            return Err(RegionError::Count { count: codes.len() });
        }
        for (index, code) in codes.iter().enumerate() {
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if code.is_empty() || code.len() > 32 || !code.bytes().all(legal) {
                return Err(RegionError::Code {
                    code: code.chars().take(40).collect(),
                });
            }
            if codes[..index].contains(code) {
                return Err(RegionError::Duplicate { code: code.clone() });
            }
            if round_trips.get(index).is_none_or(|row| row.len() != codes.len()) {
                return Err(RegionError::Row { code: code.clone() });
            }
        }
        if let (Some(code), true) = (codes.last(), round_trips.len() > codes.len()) {
            return Err(RegionError::Row { code: code.clone() });
        }
        for (a, row) in round_trips.iter().enumerate() {
            for (b, round_trip) in row.iter().enumerate() {
                if round_trips[b][a] != *round_trip {
                    return Err(RegionError::Asymmetric {
                        a: codes[a].clone(),
                        b: codes[b].clone(),
                    });
                }
            }
        }
        Ok(Self { codes, round_trips })
    }

    /// The region of that code.
    #[must_use]
    pub fn find(&self, code: &str) -> Option<Region> {
        let index = self.codes.iter().position(|known| known == code)?;
        u8::try_from(index).ok().and_then(|index| Region::new(index).ok())
    }

    /// The region's code, or `None` if this table does not have it.
    #[must_use]
    pub fn code(&self, region: Region) -> Option<&str> {
        self.codes.get(region.index()).map(String::as_str)
    }

    /// Every region, in order.
    pub fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        (0..64u8).map(Region).take(self.codes.len())
    }

    /// Whether this table has every region of the set.
    #[must_use]
    pub fn has_all(&self, regions: RegionSet) -> bool {
        let count = u32::try_from(self.codes.len()).unwrap_or(u32::MAX);
        regions.bits().checked_shr(count).unwrap_or(0) == 0
    }

    /// The round trip between two regions, or `None` if this table lacks one of them.
    #[must_use]
    pub fn round_trip(&self, a: Region, b: Region) -> Option<RoundTrip> {
        self.round_trips.get(a.index())?.get(b.index()).copied()
    }

    /// The regions no farther than `farthest` from `home`.
    #[must_use]
    pub fn within(&self, home: Region, farthest: RoundTrip) -> RegionSet {
        self.regions()
            .filter(|region| {
                self.round_trip(home, *region)
                    .is_some_and(|round_trip| round_trip <= farthest)
            })
            .collect()
    }

    /// All regions as a set.
    #[must_use]
    pub fn all(&self) -> RegionSet {
        self.regions().collect()
    }
}

impl fmt::Display for RegionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.codes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(codes: &[&str], rows: &[&[u16]]) -> Result<RegionTable, RegionError> {
        RegionTable::new(
            codes.iter().map(ToString::to_string).collect(),
            rows.iter()
                .map(|row| row.iter().copied().map(RoundTrip::from_millis).collect())
                .collect(),
        )
    }

    #[test]
    fn a_table_finds_what_is_near() {
        let table = table(&["eu", "us"], &[&[5, 90], &[90, 5]]).unwrap();
        let eu = table.find("eu").unwrap();
        assert_eq!(
            table
                .within(eu, RoundTrip::from_millis(50))
                .iter()
                .collect::<Vec<_>>(),
            [eu]
        );
        assert_eq!(table.within(eu, RoundTrip::from_millis(90)), table.all());
        assert!(table.has_all(table.all()) && table.has_all(RegionSet::EMPTY));
        assert!(!table.has_all(table.all().with(Region::new(2).unwrap())));
    }

    #[test]
    fn a_malformed_table_is_refused() {
        assert_eq!(table(&[], &[]), Err(RegionError::Count { count: 0 }));
        assert!(matches!(table(&["EU"], &[&[5]]), Err(RegionError::Code { .. })));
        assert!(matches!(
            table(&["eu", "eu"], &[&[5, 5], &[5, 5]]),
            Err(RegionError::Duplicate { .. })
        ));
        assert!(matches!(
            table(&["eu", "us"], &[&[5], &[5]]),
            Err(RegionError::Row { .. })
        ));
        assert!(matches!(
            table(&["eu"], &[&[5], &[5]]),
            Err(RegionError::Row { .. })
        ));
        assert!(matches!(
            table(&["eu", "us"], &[&[5, 9], &[8, 5]]),
            Err(RegionError::Asymmetric { .. })
        ));
    }
}
