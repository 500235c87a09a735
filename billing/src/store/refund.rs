//! Refunds: what a consumer gets back of a settled job, from those whom he paid.

use domain::{Credits, JobId, LeaseId, ShardId, Standing, TransferId};
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind};

/// Legs of a refund, for each lease.
const LEGS: u64 = 4;

/// A refund to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRefund {
    /// Derived from the request: the key of idempotence.
    pub id: TransferId,
    /// The job.
    pub job: JobId,
    /// Its leases that were settled, in the order of their settlement.
    pub leases: Vec<(ShardId, LeaseId)>,
    /// The one lease that was asked for; none for the whole job.
    pub lease: Option<LeaseId>,
    /// How much; all that is left, if not given.
    pub amount: Option<Credits>,
    /// Who decided it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// The part of a refund that belongs to one lease, and who bore it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The request's.
    pub id: TransferId,
    /// The lease's place in the request, from 0.
    pub place: u8,
    /// The shard.
    pub shard: ShardId,
    /// The lease.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// Who gets it.
    pub consumer: Owner,
    /// Whose earnings were asked first.
    pub island_owner: Owner,
    /// The one lease that was asked for; none for the whole job.
    pub asked_lease: Option<LeaseId>,
    /// What was asked for, of all that was; none for all that was left.
    pub asked: Option<Credits>,
    /// Out of earnings that had not matured.
    pub from_earnings: Credits,
    /// Out of the Island's owner's available credits.
    pub from_available: Credits,
    /// Out of the exchange's fees: its own part, and what the Island's owner no longer had.
    pub from_fees: Credits,
    /// Out of the failover pool.
    pub from_pool: Credits,
    /// Where the earnings waited.
    pub standing: Standing,
    /// Who decided it.
    pub author: String,
    /// Why.
    pub reason: String,
}

impl Refund {
    /// All of it.
    ///
    /// # Panics
    /// Never: no more is refunded than was paid.
    #[must_use]
    pub fn amount(&self) -> Credits {
        let parts = [self.from_available, self.from_fees, self.from_pool];
        parts
            .into_iter()
            .try_fold(self.from_earnings, Credits::checked_add)
            .expect("no more is refunded than was paid")
    }

    /// What the Island's owner bore.
    ///
    /// # Panics
    /// Never: no more is refunded than was paid.
    #[must_use]
    pub fn borne_by_island(&self) -> Credits {
        self.from_earnings
            .checked_add(self.from_available)
            .expect("no more is refunded than was paid")
    }

    /// Its transfers, without those that move nothing. Who sold to himself has nothing to pay back out of what is available
    /// to him already.
    #[must_use]
    pub fn legs(&self) -> Vec<Transfer> {
        let available = AccountKey::Available(self.consumer);
        let payers = [
            (
                AccountKey::earnings(self.island_owner, self.standing),
                self.from_earnings,
            ),
            (AccountKey::Available(self.island_owner), self.from_available),
            (AccountKey::Fees, self.from_fees),
            (AccountKey::Pool, self.from_pool),
        ];
        let first = u64::from(self.place) * LEGS + 1;
        let legs = (first..).zip(payers);
        let moving = legs.filter(|(_, (payer, amount))| *amount > Credits::ZERO && *payer != available);
        let leg = |(leg, (payer, amount)): (u64, (AccountKey, Credits))| Transfer {
            // Leg 0 stands for the whole request.
            id: TransferId::new(self.id.get() | u128::from(leg)),
            kind: TransferKind::Refund,
            mode: Mode::Plain,
            debit: payer,
            credit: available,
            amount,
            job: Some(self.job),
            memo: format!("refund by {}: {}", self.author, self.reason),
        };
        moving.map(leg).collect()
    }
}

/// A refused settlement that is booked after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mending {
    /// The shard.
    pub shard: ShardId,
    /// The lease.
    pub lease: LeaseId,
    /// Who had it booked.
    pub author: String,
    /// What was mended.
    pub reason: String,
}
