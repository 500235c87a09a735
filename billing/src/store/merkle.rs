//! The root over a day's settlements: one hash that stands for all of them, and from which nobody can take one away.
//!
//! The tree is RFC 6962's: a leaf is hashed after a 0 byte, two nodes after a 1 byte, so that no node can be taken for a
//! leaf; a node that has no neighbour goes up as it is. Leaves come in the order of shard and lease.

use domain::{Liquidity, Timestamp};
use sha2::{Digest as _, Sha256};

use super::seal::Digest;
use super::{KeptRefusal, ShardSettlement};

const MICROS_PER_DAY: u64 = 24 * 3_600 * 1_000_000;

/// A day in UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// The day with that number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// How many days after 1970-01-01.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The day of a moment.
    ///
    /// # Panics
    /// Never: 64 bits of microseconds have fewer days than 32 bits.
    #[must_use]
    #[expect(clippy::integer_division, reason = "the rest is the time of day")]
    pub fn of(at: Timestamp) -> Self {
        let number = at.as_micros() / MICROS_PER_DAY;
        Self(u32::try_from(number).expect("64 bits of microseconds have fewer days"))
    }

    /// Its first moment.
    #[must_use]
    pub const fn start(self) -> Timestamp {
        #[expect(clippy::as_conversions, reason = "32 bits fit 64, and `from` is not const")]
        let number = self.0 as u64;
        Timestamp::from_micros(number.saturating_mul(MICROS_PER_DAY))
    }

    /// The first moment after it.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        self.next().start()
    }

    /// The day after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A tree in the making: the perfect trees over what came so far, largest first. Its memory grows with the logarithm of the
/// number of leaves.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Each with its height.
    peaks: Vec<(u32, Digest)>,
    leaves: u64,
}

impl Tree {
    /// Adds the next leaf.
    pub fn add(&mut self, leaf: &[u8]) {
        self.leaves = self.leaves.saturating_add(1);
        let mut height = 0;
        let mut hash = hash(&[&[0], leaf]);
        while let Some((top, left)) = self.peaks.last().copied()
            && top == height
        {
            self.peaks.pop();
            hash = node(&left, &hash);
            height += 1;
        }
        self.peaks.push((height, hash));
    }

    /// How many leaves it has.
    #[must_use]
    pub const fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root; of no leaves, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = peaks.next() else {
            return hash(&[]);
        };
        peaks.fold(last, |right, left| node(&left, &right))
    }
}

fn node(left: &Digest, right: &Digest) -> Digest {
    hash(&[&[1], left, right])
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part));
    sha.finalize().into()
}

/// A settlement as a leaf, such that two different ones never make the same.
#[must_use]
pub fn leaf(
    ShardSettlement { shard, settlement }: &ShardSettlement,
    refusal: Option<&KeptRefusal>,
) -> Vec<u8> {
    let bill = settlement.bill;
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&shard.get().to_be_bytes());
    bytes.extend_from_slice(&settlement.lease.get().to_be_bytes());
    bytes.extend_from_slice(&settlement.sequence.get().to_be_bytes());
    bytes.extend_from_slice(&settlement.job.get().to_be_bytes());
    bytes.push(settlement.epoch.get());
    bytes.extend_from_slice(&settlement.consumer.get().to_be_bytes());
    bytes.extend_from_slice(&settlement.island_owner.get().to_be_bytes());
    bytes.extend_from_slice(&settlement.island.get().to_be_bytes());
    bytes.extend_from_slice(&settlement.price.get().to_be_bytes());
    bytes.extend_from_slice(&bill.units.get().to_be_bytes());
    bytes.extend_from_slice(&bill.charge.as_nano().to_be_bytes());
    bytes.extend_from_slice(&bill.fee.as_nano().to_be_bytes());
    bytes.push(match bill.bid_liquidity {
        Liquidity::Maker => 0,
        Liquidity::Taker => 1,
    });
    bytes.extend_from_slice(&bill.pool_subsidy.as_nano().to_be_bytes());
    bytes.extend_from_slice(&settlement.compensation.as_nano().to_be_bytes());
    bytes.extend_from_slice(&settlement.billed_before_thousandths.to_be_bytes());
    let texts = [
        settlement.model.as_str(),
        settlement.standing.name(),
        refusal.map_or("", |refusal| &refusal.code),
        refusal.map_or("", |refusal| &refusal.message),
    ];
    for text in texts {
        let length = u64::try_from(text.len()).expect("a length fits 64 bits");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word: split at the largest power of two below the count.
    fn naive(leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [] => hash(&[]),
            [leaf] => hash(&[&[0], leaf]),
            _ => {
                let split = (leaves.len() - 1).next_power_of_two();
                let split = if split >= leaves.len() { split >> 1 } else { split };
                let (left, right) = leaves.split_at(split);
                node(&naive(left), &naive(right))
            }
        }
    }

    #[test]
    fn a_tree_that_grows_has_the_root_of_its_definition() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        assert_eq!(tree.root(), naive(&leaves));
        for count in 1..130u8 {
            let leaf = vec![count; usize::from(count)];
            tree.add(&leaf);
            leaves.push(leaf);
            assert_eq!(tree.root(), naive(&leaves), "{count}");
            assert_eq!(tree.leaves(), u64::from(count));
        }
    }

    #[test]
    fn a_day_begins_at_midnight_and_ends_at_the_next() {
        let day = Day::new(20_000);
        let micros = |at: Timestamp| at.as_micros();
        assert_eq!(Day::of(day.start()), day);
        assert_eq!(Day::of(Timestamp::from_micros(micros(day.end()) - 1)), day);
        assert_eq!(Day::of(day.end()), day.next());
        let last = Timestamp::from_micros(u64::MAX);
        assert!(Day::of(last).start() < last);
    }
}
