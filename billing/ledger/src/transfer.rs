//! Transfers: one debit, one credit, one amount.

use domain::{Credits, JobId, TransferId};

use crate::account::{AccountKey, AccountKind};

/// What a transfer records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransferKind {
    /// Virtual credits given out.
    Grant,
    /// Credits that become buying power on a shard.
    Reserve,
    /// Buying power that the engine gave up.
    Return,
    /// A consumer pays an Island for a segment of a job.
    Charge,
    /// The exchange's share of the taker's fee.
    Fee,
    /// The failover pool's share of the taker's fee.
    PoolShare,
    /// The failover pool pays an Island for reading what another had written.
    Subsidy,
    /// The exchange pays an Island for a job that the exchange lost.
    Compensation,
    /// Earnings become available.
    Maturity,
    /// Credits leave for good.
    Payout,
    /// What a consumer paid for a segment, or a part of it, comes back to him.
    Refund,
    /// An operator corrects a balance, against the exchange's own account.
    Correction,
    /// The virtual economy begins anew: what an owner had goes back to where credits come from.
    Reset,
}

impl TransferKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Grant,
        Self::Reserve,
        Self::Return,
        Self::Charge,
        Self::Fee,
        Self::PoolShare,
        Self::Subsidy,
        Self::Compensation,
        Self::Maturity,
        Self::Payout,
        Self::Refund,
        Self::Correction,
        Self::Reset,
    ];

    /// The word that the database and statements use. Never changes its meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Reserve => "reserve",
            Self::Return => "return",
            Self::Charge => "charge",
            Self::Fee => "fee",
            Self::PoolShare => "pool_share",
            Self::Subsidy => "subsidy",
            Self::Compensation => "compensation",
            Self::Maturity => "maturity",
            Self::Payout => "payout",
            Self::Refund => "refund",
            Self::Correction => "correction",
            Self::Reset => "reset",
        }
    }

    /// The kind with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a transfer of this kind may go from `debit` to `credit`.
    #[must_use]
    pub fn allows(self, debit: AccountKey, credit: AccountKey) -> bool {
        use AccountKind::{Available, Fees, Grants, Payouts, Pending, Pool, Probation, Reserved};
        // Earnings wait in one of two accounts, by the Island's standing.
        let waits = |kind| if kind == Probation { Probation } else { Pending };
        let one_of = |kind, kinds: &[AccountKind]| if kinds.contains(&kind) { kind } else { Available };
        let (from, to) = match self {
            Self::Grant => (Grants, Available),
            Self::Reserve => (Available, Reserved),
            Self::Return => (Reserved, Available),
            Self::Charge => (Reserved, waits(credit.kind())),
            Self::Fee => (Reserved, Fees),
            Self::PoolShare => (Reserved, Pool),
            Self::Subsidy => (Pool, waits(credit.kind())),
            Self::Compensation => (Fees, waits(credit.kind())),
            Self::Maturity => (waits(debit.kind()), Available),
            Self::Payout => (Available, Payouts),
            Self::Refund => {
                let payers = [Pending, Probation, Available, Fees, Pool];
                (one_of(debit.kind(), &payers), Available)
            }
            Self::Correction if debit.kind() == Fees => (Fees, Available),
            Self::Correction => (Available, Fees),
            Self::Reset => (one_of(debit.kind(), &[Pending, Probation]), Grants),
        };
        let one_owner = match self {
            Self::Reserve | Self::Return | Self::Maturity => debit.owner() == credit.owner(),
            Self::Grant
            | Self::Charge
            | Self::Fee
            | Self::PoolShare
            | Self::Subsidy
            | Self::Compensation
            | Self::Payout
            | Self::Refund
            | Self::Correction
            | Self::Reset => true,
        };
        debit.kind() == from && credit.kind() == to && one_owner
    }
}

/// Whether a transfer is final, held, or resolves a held one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Final at once.
    Plain,
    /// Held: the credits are neither here nor there until it is posted or voided.
    Pending,
    /// Makes the pending transfer final.
    Post(TransferId),
    /// Gives the pending transfer back.
    Void(TransferId),
}

impl Mode {
    /// The number in the database. Never changes its meaning.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Pending => 1,
            Self::Post(_) => 2,
            Self::Void(_) => 3,
        }
    }

    /// The mode with that number and pending transfer, or `None` if they do not fit together.
    #[must_use]
    pub const fn from_code(code: i64, pending: Option<TransferId>) -> Option<Self> {
        match (code, pending) {
            (0, None) => Some(Self::Plain),
            (1, None) => Some(Self::Pending),
            (2, Some(pending)) => Some(Self::Post(pending)),
            (3, Some(pending)) => Some(Self::Void(pending)),
            _ => None,
        }
    }

    /// The pending transfer that it resolves.
    #[must_use]
    pub const fn resolves(self) -> Option<TransferId> {
        match self {
            Self::Plain | Self::Pending => None,
            Self::Post(pending) | Self::Void(pending) => Some(pending),
        }
    }
}

/// One movement of credits. Once booked it never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its id, derived from the fact that it records.
    pub id: TransferId,
    /// What it records.
    pub kind: TransferKind,
    /// Whether it is final.
    pub mode: Mode,
    /// Who pays.
    pub debit: AccountKey,
    /// Who is paid.
    pub credit: AccountKey,
    /// How much; above zero.
    pub amount: Credits,
    /// The job that it belongs to.
    pub job: Option<JobId>,
    /// For people.
    pub memo: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_read_back_as_they_were_written() {
        for kind in TransferKind::ALL {
            assert_eq!(TransferKind::from_name(kind.name()), Some(kind));
        }
        let pending = TransferId::new(9);
        for mode in [
            Mode::Plain,
            Mode::Pending,
            Mode::Post(pending),
            Mode::Void(pending),
        ] {
            assert_eq!(Mode::from_code(mode.code().into(), mode.resolves()), Some(mode));
        }
        assert_eq!(Mode::from_code(0, Some(pending)), None);
        assert_eq!(Mode::from_code(2, None), None);
        assert_eq!(Mode::from_code(4, None), None);
    }
}
