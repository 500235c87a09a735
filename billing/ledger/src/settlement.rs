//! What an ended lease moves: the claim is computed again, and then split into legs that add up.
//!
//! The consumer pays out of his reserved account, the Island's owner earns into what matures, the taker's fee goes to the
//! exchange and the failover pool. If the bid took, the consumer pays charge and fee; if it rested, he pays the charge
//! and the fee comes out of it. Subsidy and compensation come out of the pool and the fees, which may owe.

use domain::{Bill, Credits, JobId, LeaseId, Price, RunningBill, ShardId, Standing, UNITS_MAX, fee_on};

use crate::account::{AccountKey, Owner};
use crate::transfer::{Mode, Transfer, TransferKind};
use crate::transfer_id::{Leg, TransferSource};

/// The most legs that a settlement has.
pub const LEGS_OF_SETTLEMENT_MAX: usize = 5;

/// The most that one settlement may take out of the pool or the fees: these accounts may owe, so nothing else stops a
/// wrong number. A million credits is a thousand times what the highest price asks for a long context.
pub const UNCOVERED_MAX: Credits = Credits::from_nano(1_000_000_000_000_000);

/// One ended lease, as the exchange claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The shard whose engine counted the lease.
    pub shard: ShardId,
    /// The lease.
    pub lease: LeaseId,
    /// Its job.
    pub job: JobId,
    /// Who pays.
    pub consumer: Owner,
    /// Who earns.
    pub island_owner: Owner,
    /// Whether the Island is on probation: its earnings take longer to mature then.
    pub standing: Standing,
    /// The execution price.
    pub price: Price,
    /// What the segment is claimed to move.
    pub bill: Bill,
    /// What the job was billed before this segment, in thousandths of a nano-credit.
    pub billed_before_thousandths: u128,
    /// What the exchange pays the Island for a job that the exchange lost.
    pub compensation: Credits,
    /// For the statement.
    pub memo: String,
}

/// Why a claim was refused, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SettlementRefusal {
    /// A negative amount.
    #[error("{field} is negative")]
    NegativeAmount {
        /// Which.
        field: &'static str,
    },
    /// Both a bill and a compensation.
    #[error("a job that the exchange lost is compensated and not billed")]
    BilledAndCompensated,
    /// More than one settlement may take out of the exchange's own accounts.
    #[error("{field} is more than one settlement may take from the exchange's own accounts")]
    UncoveredTooLarge {
        /// Which.
        field: &'static str,
    },
    /// The job's bill leaves the range of credits.
    #[error("the bill is out of range")]
    OutOfRange,
    /// Price times units is another charge.
    #[error("the charge is {claimed}, price and units make it {computed}")]
    ChargeMismatch {
        /// What was claimed.
        claimed: Credits,
        /// What it is.
        computed: Credits,
    },
    /// Two percent of the charge is another fee.
    #[error("the fee is {claimed}, the charge makes it {computed}")]
    FeeMismatch {
        /// What was claimed.
        claimed: Credits,
        /// What it is.
        computed: Credits,
    },
}

impl SettlementRefusal {
    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NegativeAmount { .. } => "INVALID_AMOUNT",
            Self::BilledAndCompensated => "BILLED_AND_COMPENSATED",
            Self::UncoveredTooLarge { .. } => "UNCOVERED_TOO_LARGE",
            Self::OutOfRange => "BILL_OUT_OF_RANGE",
            Self::ChargeMismatch { .. } => "CHARGE_MISMATCH",
            Self::FeeMismatch { .. } => "FEE_MISMATCH",
        }
    }
}

impl Settlement {
    /// The transfers that settle it, without the legs that move nothing: none at all if nothing moves.
    ///
    /// # Errors
    /// When the claim is not what price, units and the bill before make it.
    pub fn legs(&self) -> Result<Vec<Transfer>, SettlementRefusal> {
        self.check()?;
        let reserved = AccountKey::Reserved(self.consumer, self.shard);
        let pending = AccountKey::earnings(self.island_owner, self.standing);
        let bill = self.bill;
        let legs = [
            (
                Leg::Charge,
                TransferKind::Charge,
                reserved,
                pending,
                bill.island_earns(),
            ),
            (
                Leg::Fee,
                TransferKind::Fee,
                reserved,
                AccountKey::Fees,
                bill.exchange_share(),
            ),
            (
                Leg::PoolShare,
                TransferKind::PoolShare,
                reserved,
                AccountKey::Pool,
                bill.pool_share(),
            ),
            (
                Leg::Subsidy,
                TransferKind::Subsidy,
                AccountKey::Pool,
                pending,
                bill.pool_subsidy,
            ),
            (
                Leg::Compensation,
                TransferKind::Compensation,
                AccountKey::Fees,
                pending,
                self.compensation,
            ),
        ];
        let moving = legs.into_iter().filter(|(.., amount)| *amount > Credits::ZERO);
        Ok(moving
            .map(|(leg, kind, debit, credit, amount)| Transfer {
                id: TransferSource::Settlement {
                    shard: self.shard,
                    lease: self.lease,
                    leg,
                }
                .id(),
                kind,
                mode: Mode::Plain,
                debit,
                credit,
                amount,
                job: Some(self.job),
                memo: self.memo.clone(),
            })
            .collect())
    }

    fn check(&self) -> Result<(), SettlementRefusal> {
        let bill = self.bill;
        let amounts = [
            ("charge", bill.charge),
            ("fee", bill.fee),
            ("pool_subsidy", bill.pool_subsidy),
            ("compensation", self.compensation),
        ];
        if let Some((field, _)) = amounts.into_iter().find(|(_, amount)| amount.is_negative()) {
            return Err(SettlementRefusal::NegativeAmount { field });
        }
        let billed = [bill.charge, bill.fee, bill.pool_subsidy]
            .into_iter()
            .any(|amount| amount > Credits::ZERO);
        if billed && self.compensation > Credits::ZERO {
            return Err(SettlementRefusal::BilledAndCompensated);
        }
        let uncovered = [
            ("pool_subsidy", bill.pool_subsidy),
            ("compensation", self.compensation),
        ];
        if let Some((field, _)) = uncovered.into_iter().find(|(_, amount)| *amount > UNCOVERED_MAX) {
            return Err(SettlementRefusal::UncoveredTooLarge { field });
        }
        let computed = self.computed_charge()?;
        if computed != bill.charge {
            return Err(SettlementRefusal::ChargeMismatch {
                claimed: bill.charge,
                computed,
            });
        }
        let fee = fee_on(computed);
        if fee != bill.fee {
            return Err(SettlementRefusal::FeeMismatch {
                claimed: bill.fee,
                computed: fee,
            });
        }
        // What leaves the consumer's account must be a number too.
        bill.charge
            .checked_add(fee)
            .ok_or(SettlementRefusal::OutOfRange)?;
        Ok(())
    }

    fn computed_charge(&self) -> Result<Credits, SettlementRefusal> {
        if self.bill.units.get() > UNITS_MAX {
            return Err(SettlementRefusal::OutOfRange);
        }
        let before = self.billed_before_thousandths;
        let billed = Credits::try_from_nano(before.div_ceil(1_000)).ok_or(SettlementRefusal::OutOfRange)?;
        let mut running = RunningBill::restore(before, billed).map_err(|_| SettlementRefusal::OutOfRange)?;
        running
            .bill(self.price, self.bill.units)
            .map_err(|_| SettlementRefusal::OutOfRange)
    }
}
