//! Why a journal was refused, in the order in which it is checked.

use domain::{Credits, TransferId};

use crate::account::AccountKey;
use crate::transfer::TransferKind;

/// Why a journal was refused. Listed in the order of the checks: all legs pass one check before any meets the next,
/// but for the last two, which meet the legs one after the other, as they would be booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Nothing to do.
    #[error("a journal has at least one leg")]
    NoLegs,
    /// More than a journal may have.
    #[error("a journal of {legs} legs is too long")]
    TooManyLegs {
        /// How many there are.
        legs: usize,
    },
    /// A leg that moves nothing or backwards.
    #[error("an amount is above zero, this is {amount}")]
    AmountNotPositive {
        /// The amount.
        amount: Credits,
    },
    /// A kind between accounts that it does not join.
    #[error("a {} does not go from {debit} to {credit}", kind.name())]
    WrongAccounts {
        /// The kind.
        kind: TransferKind,
        /// Who would pay.
        debit: AccountKey,
        /// Who would be paid.
        credit: AccountKey,
    },
    /// Two legs with one id.
    #[error("two legs carry the id {id}")]
    DuplicateLeg {
        /// The id.
        id: TransferId,
    },
    /// A range that holds no amount.
    #[error("the least that is asked for ({minimum}) is more than the most ({wanted})")]
    EmptyRange {
        /// The least.
        minimum: Credits,
        /// The most.
        wanted: Credits,
    },
    /// The id was booked before, with another body or in another journal.
    #[error("{id} was booked before and is another transfer")]
    TransferDiffers {
        /// The id.
        id: TransferId,
    },
    /// No such account.
    #[error("there is no account {account}")]
    UnknownAccount {
        /// Its key.
        account: AccountKey,
    },
    /// No such transfer to resolve.
    #[error("there is no transfer {pending} to resolve")]
    UnknownPending {
        /// The transfer.
        pending: TransferId,
    },
    /// The transfer to resolve is final.
    #[error("{pending} is not pending")]
    NotPending {
        /// The transfer.
        pending: TransferId,
    },
    /// The transfer to resolve has other accounts, kind or amount.
    #[error("{pending} has other accounts, kind or amount")]
    PendingDiffers {
        /// The transfer.
        pending: TransferId,
    },
    /// The transfer to resolve was posted.
    #[error("{pending} was posted already")]
    AlreadyPosted {
        /// The transfer.
        pending: TransferId,
    },
    /// The transfer to resolve was voided.
    #[error("{pending} was voided already")]
    AlreadyVoided {
        /// The transfer.
        pending: TransferId,
    },
    /// The payer has less.
    #[error("{account} has {spendable}, {wanted} is wanted")]
    InsufficientFunds {
        /// The payer.
        account: AccountKey,
        /// What it may spend.
        spendable: Credits,
        /// What was asked for.
        wanted: Credits,
    },
    /// A counter would leave its range.
    #[error("a counter of {account} would overflow")]
    CounterOverflow {
        /// The account.
        account: AccountKey,
    },
}

impl Refusal {
    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoLegs | Self::TooManyLegs { .. } | Self::DuplicateLeg { .. } => "MALFORMED_JOURNAL",
            Self::AmountNotPositive { .. } | Self::EmptyRange { .. } => "INVALID_AMOUNT",
            Self::WrongAccounts { .. } => "WRONG_ACCOUNTS",
            Self::TransferDiffers { .. } => "TRANSFER_DIFFERS",
            Self::UnknownAccount { .. } => "UNKNOWN_ACCOUNT",
            Self::UnknownPending { .. } => "UNKNOWN_PENDING_TRANSFER",
            Self::NotPending { .. } => "TRANSFER_NOT_PENDING",
            Self::PendingDiffers { .. } => "PENDING_TRANSFER_DIFFERS",
            Self::AlreadyPosted { .. } => "ALREADY_POSTED",
            Self::AlreadyVoided { .. } => "ALREADY_VOIDED",
            Self::InsufficientFunds { .. } => "INSUFFICIENT_FUNDS",
            Self::CounterOverflow { .. } => "COUNTER_OVERFLOW",
        }
    }
}
