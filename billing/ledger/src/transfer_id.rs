//! How a transfer's id derives from the fact that it records.
//!
//! An id has 128 bits. Bit 127 tells who derived it: 0 the exchange (reservations and their return, whatever it
//! derives them from), 1 billing. For billing's own, bits 126 to 120 are a tag and the rest depends on it:
//!
//! | tag | fact | bits 119 to 0 |
//! |---|---|---|
//! | 1 | settlement | shard (16), lease (64), 32 zeros, leg (8) |
//! | 2 | grant | the first 120 bits of SHA-256 of the request id |
//! | 3 | maturity | 1 zero, owner (55), number of the last earning that matured (64) |
//! | 4 | payout on demand | the first 120 bits of SHA-256 of the request id |
//! | 6 | weekly payout | 1 zero, owner (55), week (64) |
//! | 5, 7 | the end of one, paid or failed | those of the payout |
//! | 8 | refund | the first 112 bits of SHA-256 of the request id, leg (8) |
//! | 9 | correction | the first 120 bits of SHA-256 of the request id |
//! | 10 | reset | number of the reset (48), owner (64), leg (8) |
//! | 12, 14 | what a reset takes of one that fails | those of the payout |
//! | 11 | what a reset takes of a return | the first 120 bits of SHA-256 of the return's id |
//!
//! So a fact that is reported twice makes the same id twice, and two facts never make the same one.

use domain::{LeaseId, ShardId, TransferId};

use crate::account::Owner;

/// How many bits of a request's digest an id carries.
pub const DIGEST_BITS: u32 = 120;

const BILLING: u128 = 1 << 127;
const TAG_SHIFT: u32 = 120;
/// The lowest bits of a refund's and a reset's id, which say which leg it is.
const LEG_BITS: u32 = 8;

/// A part of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leg {
    /// Consumer to Island.
    Charge,
    /// Consumer to exchange.
    Fee,
    /// Consumer to failover pool.
    PoolShare,
    /// Failover pool to Island.
    Subsidy,
    /// Exchange to Island.
    Compensation,
}

impl Leg {
    /// Every leg, in the order in which they are booked.
    pub const ALL: [Self; 5] = [
        Self::Charge,
        Self::Fee,
        Self::PoolShare,
        Self::Subsidy,
        Self::Compensation,
    ];

    const fn code(self) -> u8 {
        match self {
            Self::Charge => 0,
            Self::Fee => 1,
            Self::PoolShare => 2,
            Self::Subsidy => 3,
            Self::Compensation => 4,
        }
    }
}

/// The fact that one of billing's own transfers records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferSource {
    /// A leg of a settlement.
    Settlement {
        /// The shard whose engine counted the lease.
        shard: ShardId,
        /// The lease.
        lease: LeaseId,
        /// Which part.
        leg: Leg,
    },
    /// A grant that was asked for under a request id.
    Grant {
        /// SHA-256 of the request id, of which the first [`DIGEST_BITS`] count.
        request_digest: [u8; 32],
    },
    /// Earnings that matured.
    Maturity {
        /// Whose.
        owner: Owner,
        /// The number of the last earning among them, in the order of booking.
        through: u64,
    },
    /// A payout that was asked for under a request id.
    Payout {
        /// SHA-256 of the request id, of which the first [`DIGEST_BITS`] count.
        request_digest: [u8; 32],
    },
    /// A payout of the weekly run.
    WeeklyPayout {
        /// Whose.
        owner: Owner,
        /// Which week, counted from that of 1970-01-01.
        week: u32,
    },
    /// A leg of a refund that was asked for under a request id; leg 0 stands for all of it and moves nothing.
    Refund {
        /// SHA-256 of the request id, of which the first 112 bits count.
        request_digest: [u8; 32],
        /// Which leg, from 1.
        leg: u8,
    },
    /// A correction that was asked for under a request id.
    Correction {
        /// SHA-256 of the request id, of which the first [`DIGEST_BITS`] count.
        request_digest: [u8; 32],
    },
    /// A leg of what a reset does to an owner.
    Reset {
        /// Which reset, from 1.
        reset: u32,
        /// To whom.
        owner: Owner,
        /// Which leg.
        leg: u8,
    },
    /// What a reset takes of credits that came back from what was reserved when it happened.
    ResetReturn {
        /// SHA-256 of the return's id, of which the first [`DIGEST_BITS`] count.
        return_digest: [u8; 32],
    },
    /// The end of a payout, paid or failed: there is one.
    PayoutEnd {
        /// The payout's pending transfer.
        payout: TransferId,
    },
    /// What a reset takes of a payout that was held when it happened, and failed.
    ResetPayout {
        /// The payout's pending transfer.
        payout: TransferId,
    },
}

/// The 120 bits of a request's digest that an id carries.
fn digest_bits(request_digest: [u8; 32]) -> u128 {
    let head = request_digest.first_chunk().expect("a digest has 32 bytes");
    u128::from_be_bytes(*head) >> (128 - DIGEST_BITS)
}

impl TransferSource {
    /// The id.
    ///
    /// # Panics
    /// Never: a digest has 32 bytes.
    #[must_use]
    pub fn id(self) -> TransferId {
        let (tag, rest): (u128, u128) = match self {
            Self::Settlement { shard, lease, leg } => (
                1,
                (u128::from(shard.get()) << 104) | (u128::from(lease.get()) << 40) | u128::from(leg.code()),
            ),
            Self::Grant { request_digest } => (2, digest_bits(request_digest)),
            Self::Payout { request_digest } => (4, digest_bits(request_digest)),
            Self::WeeklyPayout { owner, week } => {
                (6, (u128::from(owner.id().get()) << 64) | u128::from(week))
            }
            Self::Refund { request_digest, leg } => {
                let digest = digest_bits(request_digest) >> LEG_BITS << LEG_BITS;
                (8, digest | u128::from(leg))
            }
            Self::Correction { request_digest } => (9, digest_bits(request_digest)),
            Self::Reset { reset, owner, leg } => (
                10,
                (u128::from(reset) << 72) | (u128::from(owner.id().get()) << LEG_BITS) | u128::from(leg),
            ),
            Self::ResetReturn { return_digest } => (11, digest_bits(return_digest)),
            // The tags of payouts are even, and that of an end is the next.
            Self::PayoutEnd { payout } => return TransferId::new(payout.get() | (1 << TAG_SHIFT)),
            // And eight more are those of what a reset takes of one.
            Self::ResetPayout { payout } => return TransferId::new(payout.get() | (8 << TAG_SHIFT)),
            Self::Maturity { owner, through } => {
                (3, (u128::from(owner.id().get()) << 64) | u128::from(through))
            }
        };
        TransferId::new(BILLING | (tag << TAG_SHIFT) | rest)
    }

    /// Whether an id is of the exchange's kind: billing never derives it itself.
    #[must_use]
    pub const fn is_exchanges(id: TransferId) -> bool {
        id.get() & BILLING == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AccountId;
    use std::collections::BTreeSet;

    #[test]
    fn ids_of_different_facts_differ_and_are_billings() {
        let mut ids = BTreeSet::new();
        let mut count = 0;
        for shard in [0, 1, u16::MAX] {
            for lease in [0, 1, 255, 256, u64::MAX] {
                for leg in Leg::ALL {
                    let (shard, lease) = (ShardId::new(shard), LeaseId::new(lease));
                    ids.insert(TransferSource::Settlement { shard, lease, leg }.id());
                    count += 1;
                }
            }
        }
        for owner in [1, 2, crate::account::OWNER_MAX] {
            for through in [0, 1, u64::MAX] {
                let owner = Owner::new(AccountId::new(owner)).unwrap();
                ids.insert(TransferSource::Maturity { owner, through }.id());
                count += 1;
            }
        }
        for byte in [0, 1, 255] {
            for leg in [0, 1, 255] {
                let request_digest = [byte; 32];
                ids.insert(TransferSource::Refund { request_digest, leg }.id());
                let owner = Owner::new(AccountId::new(1 + u64::from(byte))).unwrap();
                let reset = u32::from(leg) << 24;
                ids.insert(TransferSource::Reset { reset, owner, leg }.id());
                count += 2;
            }
            let request_digest = [byte; 32];
            ids.insert(TransferSource::Correction { request_digest }.id());
            let payout = TransferSource::Payout { request_digest }.id();
            ids.extend([payout, TransferSource::PayoutEnd { payout }.id()]);
            ids.insert(TransferSource::ResetPayout { payout }.id());
            count += 3;
            let return_digest = request_digest;
            ids.insert(TransferSource::ResetReturn { return_digest }.id());
            count += 2;
            ids.insert(
                TransferSource::Grant {
                    request_digest: [byte; 32],
                }
                .id(),
            );
            count += 1;
        }
        assert_eq!(ids.len(), count);
        assert!(ids.iter().all(|id| !TransferSource::is_exchanges(*id)));
        assert!(TransferSource::is_exchanges(TransferId::new(u128::MAX >> 1)));
    }
}
