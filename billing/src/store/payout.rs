//! Payouts: credits that leave, each held by a pending transfer until its provider has paid or refused.

use domain::{AccountId, Credits, Timestamp, TransferId};
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind, TransferSource};

use super::merkle::Day;

/// Why a payout was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayoutCause {
    /// Its owner asked for it.
    OnDemand,
    /// The weekly run found earnings.
    Weekly,
}

impl PayoutCause {
    /// The word in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Weekly => "weekly",
        }
    }

    /// The cause with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::OnDemand, Self::Weekly]
            .into_iter()
            .find(|cause| cause.name() == name)
    }
}

/// How far a payout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayoutState {
    /// The credits are held; an operator has to approve.
    Held,
    /// The provider is being asked, until he answers.
    Approved,
    /// The provider has paid, and the transfer is posted.
    Paid,
    /// Refused by the provider or an operator, and the transfer is voided.
    Failed,
}

impl PayoutState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Held, Self::Approved, Self::Paid, Self::Failed];
    /// Those in which its credits are held.
    pub const OPEN: [Self; 2] = [Self::Held, Self::Approved];

    /// The word in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Approved => "approved",
            Self::Paid => "paid",
            Self::Failed => "failed",
        }
    }

    /// The state with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether its credits are held.
    #[must_use]
    pub fn is_open(self) -> bool {
        Self::OPEN.contains(&self)
    }
}

/// A payout to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPayout {
    /// The pending transfer, and the payout's id.
    pub transfer: TransferId,
    /// Whose.
    pub owner: AccountId,
    /// Where to: a word that the provider understands.
    pub destination: String,
    /// How much.
    pub amount: Credits,
    /// Why.
    pub cause: PayoutCause,
    /// When.
    pub day: Day,
    /// [`PayoutState::Held`] if an operator must approve it, else [`PayoutState::Approved`].
    pub state: PayoutState,
}

/// A payout as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// The pending transfer, and the payout's id.
    pub transfer: TransferId,
    /// Whose.
    pub owner: Owner,
    /// Where to.
    pub destination: String,
    /// How much.
    pub amount: Credits,
    /// Why.
    pub cause: PayoutCause,
    /// When it was asked for.
    pub day: Day,
    /// How far it is.
    pub state: PayoutState,
    /// Who approved it; empty while nobody did.
    pub approved_by: String,
    /// How often the provider was asked.
    pub attempts: u32,
    /// When the provider is asked next, at the earliest.
    pub retry_at: Timestamp,
    /// The provider's reference of what is paid, or why it failed.
    pub note: String,
}

impl Payout {
    /// Its transfer: pending when it is made, then posted or voided.
    #[must_use]
    pub fn transfer(&self, mode: Mode) -> Transfer {
        let payout = self.transfer;
        Transfer {
            id: match mode {
                Mode::Plain | Mode::Pending => payout,
                // Paid and failed would be one transfer: whichever comes second is refused.
                Mode::Post(_) | Mode::Void(_) => TransferSource::PayoutEnd { payout }.id(),
            },
            kind: TransferKind::Payout,
            mode,
            debit: AccountKey::Available(self.owner),
            credit: AccountKey::Payouts,
            amount: self.amount,
            job: None,
            memo: format!("payout to {}; virtual, no cash value", self.destination),
        }
    }

    /// What a reset takes of it when it fails.
    #[must_use]
    pub fn taken(&self) -> Transfer {
        let payout = self.transfer;
        Transfer {
            id: TransferSource::ResetPayout { payout }.id(),
            kind: TransferKind::Reset,
            mode: Mode::Plain,
            debit: AccountKey::Available(self.owner),
            credit: AccountKey::Grants,
            amount: self.amount,
            job: None,
            memo: "held before the reset".to_owned(),
        }
    }
}

/// What happens to a payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayoutStep {
    /// An operator lets it go.
    Approve {
        /// Who.
        author: String,
    },
    /// The provider is about to be asked: noted first, so that a crash cannot hide it.
    Attempt {
        /// Which attempt, from 1.
        attempt: u32,
        /// When to ask again unless he answers.
        retry_at: Timestamp,
    },
    /// The provider has paid.
    Pay {
        /// His reference.
        reference: String,
    },
    /// The provider refused for good.
    Fail {
        /// Why.
        reason: String,
    },
    /// An operator refuses it, before the provider was asked.
    Reject {
        /// Who.
        author: String,
        /// Why.
        reason: String,
    },
}

/// What an owner was paid so far, or is about to be: failed payouts do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaidOut {
    /// The sum.
    pub total: Credits,
    /// The day of the last one on demand.
    pub last_on_demand: Option<Day>,
    /// Earnings that may not be paid out, for they were refunded or reset.
    pub taken: Credits,
}

/// Earnings that the weekly run may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payable {
    /// Whose.
    pub owner: Owner,
    /// Where to.
    pub destination: String,
    /// How much.
    pub amount: Credits,
}

/// Which payouts to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayoutFilter {
    /// Only this owner's.
    pub owner: Option<AccountId>,
    /// Only in this state.
    pub state: Option<PayoutState>,
}
