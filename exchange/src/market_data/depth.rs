//! A model's depth as the wire shows it, on either side of the wire.
//!
//! The feed keeps one to make snapshots and deltas, a reader keeps one to apply them; the checksum shows that they
//! are the same (docs/protocol.md, "Depth checksum").

use std::cmp::Reverse;
use std::collections::BTreeMap;

use proto::market_data::v1::{AskLevel, BidLevel, DepthDelta, DepthSnapshot};

/// Why a delta cannot be applied. The reader asks for a fresh snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DepthError {
    /// Deltas are missing.
    #[error("a delta after {found} came to a book at {expected}")]
    Gap {
        /// Where the book is.
        expected: u64,
        /// What the delta follows.
        found: u64,
    },
    /// The book is not what the sender's is.
    #[error("the checksum at {sequence} is {found:#010x}, it should be {expected:#010x}")]
    Checksum {
        /// Where the book is.
        sequence: u64,
        /// What the sender says.
        expected: u32,
        /// What the book comes to.
        found: u32,
    },
}

/// Where an ask level stands: region, tier, price. The order is the checksum's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AskKey {
    region: String,
    tier: i32,
    price: u64,
}

/// Where a bid level stands: home, regions, tier floor, band floor, price, dearest first. The order is the checksum's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BidKey {
    home_region: String,
    regions: Vec<String>,
    min_tier: i32,
    min_band: i32,
    price: Reverse<u64>,
}

/// A model's depth at one sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DepthBook {
    sequence: u64,
    at_us: u64,
    asks: BTreeMap<AskKey, u64>,
    bids: BTreeMap<BidKey, u64>,
}

impl DepthBook {
    /// The book that a snapshot describes.
    ///
    /// # Errors
    /// When its checksum does not match.
    pub fn of_snapshot(snapshot: &DepthSnapshot) -> Result<Self, DepthError> {
        let mut book = Self {
            sequence: snapshot.sequence,
            at_us: snapshot.at_us,
            ..Self::default()
        };
        for level in &snapshot.asks {
            book.set_ask(level);
        }
        for level in &snapshot.bids {
            book.set_bid(level);
        }
        book.check(snapshot.checksum)?;
        Ok(book)
    }

    /// Brings the book forward.
    ///
    /// # Errors
    /// When deltas are missing, or the checksum does not match afterwards.
    pub fn apply(&mut self, delta: &DepthDelta) -> Result<(), DepthError> {
        if delta.prev_sequence != self.sequence {
            return Err(DepthError::Gap {
                expected: self.sequence,
                found: delta.prev_sequence,
            });
        }
        self.sequence = delta.sequence;
        self.at_us = delta.at_us;
        for level in &delta.asks {
            self.set_ask(level);
        }
        for level in &delta.bids {
            self.set_bid(level);
        }
        self.check(delta.checksum)
    }

    /// The sequence of the last change.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The ask levels, by region, tier and price.
    pub fn asks(&self) -> impl Iterator<Item = AskLevel> + '_ {
        self.asks.iter().map(|(key, jobs)| AskLevel {
            region: key.region.clone(),
            tier: key.tier,
            price: key.price,
            jobs: *jobs,
        })
    }

    /// The bid levels, by eligibility and price, best first.
    pub fn bids(&self) -> impl Iterator<Item = BidLevel> + '_ {
        self.bids.iter().map(|(key, jobs)| BidLevel {
            home_region: key.home_region.clone(),
            regions: key.regions.clone(),
            min_tier: key.min_tier,
            min_band: key.min_band,
            price: key.price.0,
            jobs: *jobs,
        })
    }

    /// All of it, for a reader.
    #[must_use]
    pub fn snapshot(&self, model: &str) -> DepthSnapshot {
        DepthSnapshot {
            model: model.to_owned(),
            sequence: self.sequence,
            at_us: self.at_us,
            asks: self.asks().collect(),
            bids: self.bids().collect(),
            checksum: self.checksum(),
        }
    }

    /// The next change: keeps of the levels those that differ, or `None` if none does.
    pub(super) fn change(
        &mut self,
        at_us: u64,
        mut asks: Vec<AskLevel>,
        mut bids: Vec<BidLevel>,
    ) -> Option<DepthDelta> {
        asks.retain(|level| self.set_ask(level));
        bids.retain(|level| self.set_bid(level));
        if asks.is_empty() && bids.is_empty() {
            return None;
        }
        let prev_sequence = self.sequence;
        self.sequence = prev_sequence + 1;
        self.at_us = at_us;
        Some(DepthDelta {
            sequence: self.sequence,
            prev_sequence,
            at_us,
            asks,
            bids,
            checksum: self.checksum(),
        })
    }

    /// CRC-32C over every level, as docs/protocol.md lays them out.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let mut bytes = Vec::new();
        for (key, jobs) in &self.asks {
            push_text(&mut bytes, &key.region);
            push_enum(&mut bytes, key.tier);
            bytes.extend_from_slice(&key.price.to_le_bytes());
            bytes.extend_from_slice(&jobs.to_le_bytes());
        }
        bytes.push(0xFF);
        for (key, jobs) in &self.bids {
            push_text(&mut bytes, &key.home_region);
            for region in &key.regions {
                push_text(&mut bytes, region);
            }
            bytes.push(0);
            push_enum(&mut bytes, key.min_tier);
            push_enum(&mut bytes, key.min_band);
            bytes.extend_from_slice(&key.price.0.to_le_bytes());
            bytes.extend_from_slice(&jobs.to_le_bytes());
        }
        crc32c::crc32c(&bytes)
    }

    fn check(&self, expected: u32) -> Result<(), DepthError> {
        let found = self.checksum();
        if found == expected {
            return Ok(());
        }
        Err(DepthError::Checksum {
            sequence: self.sequence,
            expected,
            found,
        })
    }

    /// Sets a level and says whether it changed.
    fn set_ask(&mut self, level: &AskLevel) -> bool {
        let key = AskKey {
            region: level.region.clone(),
            tier: level.tier,
            price: level.price,
        };
        set(&mut self.asks, key, level.jobs)
    }

    /// Sets a level and says whether it changed.
    fn set_bid(&mut self, level: &BidLevel) -> bool {
        let key = BidKey {
            home_region: level.home_region.clone(),
            regions: level.regions.clone(),
            min_tier: level.min_tier,
            min_band: level.min_band,
            price: Reverse(level.price),
        };
        set(&mut self.bids, key, level.jobs)
    }
}

fn set<K: Ord>(levels: &mut BTreeMap<K, u64>, key: K, jobs: u64) -> bool {
    let before = if jobs == 0 {
        levels.remove(&key)
    } else {
        levels.insert(key, jobs)
    };
    before.unwrap_or(0) != jobs
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

/// An enum's number on the wire; those of ours are small.
fn push_enum(bytes: &mut Vec<u8>, number: i32) {
    bytes.push(u8::try_from(number).unwrap_or(u8::MAX));
}
