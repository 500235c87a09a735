//! Counts and chains the ids that one lease emits, and says when to sign for them.
//!
//! Invariants: the chain covers exactly the ids that were added, in order; at most
//! [`CHECKPOINT_IDS`] of them are ever unsigned if the owner asks [`Meter::room`] before it adds.

use domain::{ChainHead, LeaseEpoch, LeaseId, Timestamp, TokenCount};

use crate::limits::{CHECKPOINT_IDS, CHECKPOINT_WITHIN};

/// What one lease has emitted so far.
#[derive(Clone, Debug)]
pub struct Meter {
    chain: ChainHead,
    emitted: u32,
    unsigned: u32,
    due_at: Option<Timestamp>,
}

impl Meter {
    /// Nothing yet.
    #[must_use]
    pub fn start(lease: LeaseId, epoch: LeaseEpoch) -> Self {
        Self {
            chain: ChainHead::start(lease, epoch),
            emitted: 0,
            unsigned: 0,
            due_at: None,
        }
    }

    /// How many ids fit before a checkpoint must be signed.
    #[must_use]
    pub fn room(&self) -> u32 {
        CHECKPOINT_IDS.saturating_sub(self.unsigned)
    }

    /// Adds the next ids of the stream, at most [`Meter::room`] of them.
    ///
    /// # Panics
    /// If there are more.
    pub fn add(&mut self, ids: &[u32], now: Timestamp) {
        let count = u32::try_from(ids.len()).expect("a batch fits the room, a u32");
        assert!(count <= self.room(), "ids are added a checkpoint at a time");
        if count == 0 {
            return;
        }
        self.chain = ids.iter().fold(self.chain, |head, id| head.extend(*id));
        self.emitted = self.emitted.saturating_add(count);
        self.unsigned = self.unsigned.saturating_add(count);
        self.due_at.get_or_insert(now.after(CHECKPOINT_WITHIN));
    }

    /// Whether a checkpoint must be signed now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.room() == 0 || self.due_at.is_some_and(|due_at| due_at <= now)
    }

    /// Notes that everything so far was signed for.
    pub fn sign(&mut self) {
        self.unsigned = 0;
        self.due_at = None;
    }

    /// When a checkpoint falls due if nothing more is emitted.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.due_at
    }

    /// How many ids were emitted.
    #[must_use]
    pub fn emitted(&self) -> TokenCount {
        TokenCount::new(self.emitted)
    }

    /// The head of the chain over them.
    #[must_use]
    pub fn chain(&self) -> ChainHead {
        self.chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::start(LeaseId::new(7), LeaseEpoch::new(1))
    }

    #[test]
    fn sixteen_ids_or_one_second_make_a_checkpoint_due() {
        let start = Timestamp::from_micros(5);
        let mut meter = meter();
        assert!(!meter.is_due(Timestamp::MAX));
        meter.add(&[1; 15], start);
        assert!(!meter.is_due(start));
        assert!(meter.is_due(start.after(CHECKPOINT_WITHIN)));
        meter.add(&[1], start);
        assert!(meter.is_due(start));
        meter.sign();
        assert!(!meter.is_due(Timestamp::MAX));
    }

    #[test]
    fn the_second_counts_from_the_first_unsigned_id() {
        let mut meter = meter();
        meter.add(&[1], Timestamp::from_micros(0));
        meter.add(&[2], Timestamp::from_micros(900_000));
        assert_eq!(meter.due_at(), Some(Timestamp::from_micros(1_000_000)));
        meter.sign();
        meter.add(&[3], Timestamp::from_micros(1_500_000));
        assert_eq!(meter.due_at(), Some(Timestamp::from_micros(2_500_000)));
    }

    #[test]
    fn the_chain_does_not_depend_on_how_ids_were_batched() {
        let (mut one, mut many) = (meter(), meter());
        one.add(&[1, 2, 3], Timestamp::ZERO);
        for id in [1, 2, 3] {
            many.add(&[id], Timestamp::ZERO);
        }
        assert_eq!(one.chain(), many.chain());
        assert_eq!(one.emitted(), TokenCount::new(3));
    }
}
