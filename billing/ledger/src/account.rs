//! Accounts: whose they are, what they are for, and the four counters that each carries.

use std::fmt;

use domain::{AccountId, Credits, ShardId, Standing};

use crate::transfer::Mode;

/// The highest owner number: 43 bits, so that owner, shard and kind fit one positive 64-bit number.
pub const OWNER_MAX: u64 = (1 << 43) - 1;

const KIND_BITS: u32 = 4;
const SHARD_BITS: u32 = 16;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const SHARD_MASK: u64 = (1 << SHARD_BITS) - 1;

/// A person or firm with accounts: never one of the exchange's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(AccountId);

impl Owner {
    /// The owner that an id names, or `None` if no owner can have it.
    #[must_use]
    pub const fn new(id: AccountId) -> Option<Self> {
        if id.get() == 0 || id.get() > OWNER_MAX {
            return None;
        }
        Some(Self(id))
    }

    /// The id that people see.
    #[must_use]
    pub const fn id(self) -> AccountId {
        self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    /// Free to spend, to reserve or to be paid out.
    Available,
    /// Buying power on one shard.
    Reserved,
    /// Earned and not yet matured.
    Pending,
    /// Earned by Islands on probation and not yet matured.
    Probation,
    /// Where virtual credits come from.
    Grants,
    /// The exchange's share of fees.
    Fees,
    /// The failover pool.
    Pool,
    /// What has left for good.
    Payouts,
}

impl AccountKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Available,
        Self::Reserved,
        Self::Pending,
        Self::Probation,
        Self::Grants,
        Self::Fees,
        Self::Pool,
        Self::Payouts,
    ];

    /// The number in an account's number and in the database. Never changes its meaning.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Available => 1,
            Self::Reserved => 2,
            Self::Pending => 3,
            Self::Probation => 4,
            Self::Grants => 8,
            Self::Fees => 9,
            Self::Pool => 10,
            Self::Payouts => 11,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| u64::from(kind.code()) == code)
    }

    /// Whether the account may owe.
    ///
    /// Grants owe what was ever granted. Fees and pool may owe because they pay for the exchange's own faults
    /// (a job that it lost) and for failovers, whether or not enough fees came in before; an Island is not made to
    /// wait for that. Nobody else may.
    #[must_use]
    pub const fn may_owe(self) -> bool {
        match self {
            Self::Grants | Self::Fees | Self::Pool => true,
            Self::Available | Self::Reserved | Self::Pending | Self::Probation | Self::Payouts => false,
        }
    }
}

/// One account of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKey {
    /// An owner's free credits.
    Available(Owner),
    /// An owner's buying power on a shard.
    Reserved(Owner, ShardId),
    /// An owner's earnings that have not matured.
    Pending(Owner),
    /// An owner's earnings from Islands on probation that have not matured: an account of their own, because they
    /// take longer and must not hold the others up.
    Probation(Owner),
    /// Where virtual credits come from.
    Grants,
    /// The exchange's share of fees.
    Fees,
    /// The failover pool.
    Pool,
    /// What has left for good.
    Payouts,
}

impl AccountKey {
    /// The exchange's own accounts, which exist from the start.
    pub const OWN: [Self; 4] = [Self::Grants, Self::Fees, Self::Pool, Self::Payouts];

    /// What it is for.
    #[must_use]
    pub const fn kind(self) -> AccountKind {
        match self {
            Self::Available(_) => AccountKind::Available,
            Self::Reserved(..) => AccountKind::Reserved,
            Self::Pending(_) => AccountKind::Pending,
            Self::Probation(_) => AccountKind::Probation,
            Self::Grants => AccountKind::Grants,
            Self::Fees => AccountKind::Fees,
            Self::Pool => AccountKind::Pool,
            Self::Payouts => AccountKind::Payouts,
        }
    }

    /// Whose it is; `None` for the exchange's own.
    #[must_use]
    pub const fn owner(self) -> Option<Owner> {
        match self {
            Self::Available(owner)
            | Self::Reserved(owner, _)
            | Self::Pending(owner)
            | Self::Probation(owner) => Some(owner),
            Self::Grants | Self::Fees | Self::Pool | Self::Payouts => None,
        }
    }

    /// Where an owner's earnings wait until they mature.
    #[must_use]
    pub const fn earnings(owner: Owner, standing: Standing) -> Self {
        match standing {
            Standing::Established => Self::Pending(owner),
            Standing::Probation => Self::Probation(owner),
        }
    }

    /// Whose earnings wait here, and what those Islands' standing was; `None` for an account of another kind.
    #[must_use]
    pub const fn earner(self) -> Option<(Owner, Standing)> {
        match self {
            Self::Pending(owner) => Some((owner, Standing::Established)),
            Self::Probation(owner) => Some((owner, Standing::Probation)),
            Self::Available(_)
            | Self::Reserved(..)
            | Self::Grants
            | Self::Fees
            | Self::Pool
            | Self::Payouts => None,
        }
    }

    /// The shard of a reserved account.
    #[must_use]
    pub const fn shard(self) -> Option<ShardId> {
        match self {
            Self::Reserved(_, shard) => Some(shard),
            Self::Available(_)
            | Self::Pending(_)
            | Self::Probation(_)
            | Self::Grants
            | Self::Fees
            | Self::Pool
            | Self::Payouts => None,
        }
    }

    /// The account's number: owner (43 bits), shard (16 bits), kind (4 bits), highest first. It is derived, so no
    /// table has to be asked for it, and all accounts of one owner are one range.
    ///
    /// # Panics
    /// Never: an owner has 43 bits.
    #[must_use]
    pub fn number(self) -> i64 {
        let owner = self.owner().map_or(0, |owner| owner.id().get());
        let shard = self.shard().map_or(0, |shard| u64::from(shard.get()));
        let number =
            (owner << (SHARD_BITS + KIND_BITS)) | (shard << KIND_BITS) | u64::from(self.kind().code());
        i64::try_from(number).expect("an owner has 43 bits")
    }

    /// The lowest and the highest number that an account of that owner can have.
    #[must_use]
    pub fn range_of(owner: Owner) -> (i64, i64) {
        let below = (1 << (SHARD_BITS + KIND_BITS)) - 1;
        let number = Self::Available(owner).number();
        (number & !below, number | below)
    }

    /// The account with that number, or `None` if no account can have it.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        let number = u64::try_from(number).ok()?;
        let kind = AccountKind::from_code(number & KIND_MASK)?;
        let shard = (number >> KIND_BITS) & SHARD_MASK;
        let owner = Owner::new(AccountId::new(number >> (SHARD_BITS + KIND_BITS)));
        let key = match (kind, owner) {
            (AccountKind::Available, Some(owner)) => Self::Available(owner),
            (AccountKind::Reserved, Some(owner)) => {
                Self::Reserved(owner, ShardId::new(u16::try_from(shard).ok()?))
            }
            (AccountKind::Pending, Some(owner)) => Self::Pending(owner),
            (AccountKind::Probation, Some(owner)) => Self::Probation(owner),
            (AccountKind::Grants, None) => Self::Grants,
            (AccountKind::Fees, None) => Self::Fees,
            (AccountKind::Pool, None) => Self::Pool,
            (AccountKind::Payouts, None) => Self::Payouts,
            (
                AccountKind::Available
                | AccountKind::Reserved
                | AccountKind::Pending
                | AccountKind::Probation
                | AccountKind::Grants
                | AccountKind::Fees
                | AccountKind::Pool
                | AccountKind::Payouts,
                Some(_) | None,
            ) => return None,
        };
        (i64::try_from(number).ok() == Some(key.number())).then_some(key)
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available(owner) => write!(f, "available({})", owner.id()),
            Self::Reserved(owner, shard) => write!(f, "reserved({}, {shard})", owner.id()),
            Self::Pending(owner) => write!(f, "pending({})", owner.id()),
            Self::Probation(owner) => write!(f, "probation({})", owner.id()),
            Self::Grants => f.write_str("grants"),
            Self::Fees => f.write_str("fees"),
            Self::Pool => f.write_str("pool"),
            Self::Payouts => f.write_str("payouts"),
        }
    }
}

/// Counters that cannot be: one of them is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a counter is never negative")]
pub struct CountersError;

/// Which side of an account a transfer touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It pays.
    Debit,
    /// It is paid.
    Credit,
}

/// What came into an account and what went out, posted and pending. None is ever negative, none ever shrinks but the
/// pending ones, when they resolve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    debits_pending: Credits,
    debits_posted: Credits,
    credits_pending: Credits,
    credits_posted: Credits,
}

impl Counters {
    /// The counters as a store kept them.
    ///
    /// # Errors
    /// When one of them is negative.
    pub const fn restore(
        debits_pending: Credits,
        debits_posted: Credits,
        credits_pending: Credits,
        credits_posted: Credits,
    ) -> Result<Self, CountersError> {
        if debits_pending.is_negative()
            || debits_posted.is_negative()
            || credits_pending.is_negative()
            || credits_posted.is_negative()
        {
            return Err(CountersError);
        }
        Ok(Self {
            debits_pending,
            debits_posted,
            credits_pending,
            credits_posted,
        })
    }

    /// Debits that are held and not yet posted or voided.
    #[must_use]
    pub const fn debits_pending(self) -> Credits {
        self.debits_pending
    }

    /// Debits that are final.
    #[must_use]
    pub const fn debits_posted(self) -> Credits {
        self.debits_posted
    }

    /// Credits on their way.
    #[must_use]
    pub const fn credits_pending(self) -> Credits {
        self.credits_pending
    }

    /// Credits that are final.
    #[must_use]
    pub const fn credits_posted(self) -> Credits {
        self.credits_posted
    }

    /// What is in the account: negative if it owes.
    ///
    /// # Panics
    /// Never: the difference of two non-negative numbers fits.
    #[must_use]
    pub fn balance(self) -> Credits {
        self.credits_posted
            .checked_sub(self.debits_posted)
            .expect("the difference of two non-negative numbers fits")
    }

    /// What may still be spent: the balance less what is held. `None` below the range.
    #[must_use]
    pub fn spendable(self) -> Option<Credits> {
        self.balance().checked_sub(self.debits_pending)
    }

    /// The counters after `amount` moved on the `direction` side, or `None` if a counter would leave its range.
    #[must_use]
    pub(crate) fn moved(self, direction: Direction, mode: Mode, amount: Credits) -> Option<Self> {
        let (pending, posted) = match direction {
            Direction::Debit => (self.debits_pending, self.debits_posted),
            Direction::Credit => (self.credits_pending, self.credits_posted),
        };
        let (pending, posted) = match mode {
            Mode::Plain => (pending, posted.checked_add(amount)?),
            Mode::Pending => (pending.checked_add(amount)?, posted),
            Mode::Post(_) => (pending.checked_sub(amount)?, posted.checked_add(amount)?),
            Mode::Void(_) => (pending.checked_sub(amount)?, posted),
        };
        let moved = match direction {
            Direction::Debit => Self {
                debits_pending: pending,
                debits_posted: posted,
                ..self
            },
            Direction::Credit => Self {
                credits_pending: pending,
                credits_posted: posted,
                ..self
            },
        };
        // What is held must stay payable in full, so posted and pending together fit too.
        pending.checked_add(posted)?;
        (!pending.is_negative()).then_some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(number: u64) -> Owner {
        Owner::new(AccountId::new(number)).unwrap()
    }

    #[test]
    fn an_account_number_reads_back_as_it_was_written() {
        let owners = [owner(1), owner(77), owner(OWNER_MAX)];
        let mut keys = AccountKey::OWN.to_vec();
        for owner in owners {
            keys.extend([
                AccountKey::Available(owner),
                AccountKey::Pending(owner),
                AccountKey::Probation(owner),
            ]);
            keys.extend([0, 1, u16::MAX].map(|shard| AccountKey::Reserved(owner, ShardId::new(shard))));
        }
        for key in keys {
            assert_eq!(AccountKey::from_number(key.number()), Some(key), "{key}");
        }
    }

    #[test]
    fn numbers_that_name_no_account_are_refused() {
        let available = AccountKey::Available(owner(5)).number();
        // Kind 0, a shard on a kind that has none, an owner on the exchange's account, none on a user's.
        for number in [0, -1, i64::MIN, available | (3 << 4), (5 << 20) | 9, 1, 2] {
            assert_eq!(AccountKey::from_number(number), None, "{number}");
        }
    }

    #[test]
    fn the_exchange_is_no_owner() {
        assert_eq!(Owner::new(AccountId::new(0)), None);
        assert_eq!(Owner::new(AccountId::new(OWNER_MAX + 1)), None);
        assert_eq!(Owner::new(AccountId::new(u64::MAX)), None);
    }

    #[test]
    fn counters_are_never_negative() {
        let [zero, below] = [0, -1].map(Credits::from_nano);
        assert_eq!(Counters::restore(zero, below, zero, zero), Err(CountersError));
        let counters = Counters::default();
        assert_eq!(
            counters.moved(
                Direction::Debit,
                Mode::Void(domain::TransferId::new(1)),
                Credits::from_nano(1)
            ),
            None
        );
    }
}
