//! What billing keeps, whatever database keeps it.
//!
//! A [`LedgerStore`] commits batches of [`Change`]s and answers questions. All rules are in the `ledger` crate and in
//! [`plan`]: a store loads what a batch needs, lets the plan decide, and writes the rows that come out, in one
//! transaction. The database holds the same invariants by itself and refuses what breaks them.

mod answers;
mod audit;
mod auditor;
mod batch;
mod days;
mod error;
pub mod key;
mod keys;
pub mod merkle;
pub mod payout;
pub mod plan;
pub mod postgres;
pub mod refund;
pub mod reset;
mod rows;
pub mod seal;
mod session;
pub mod sign_up;
mod sign_ups;
pub mod sqlite;
mod statements;
pub mod usage;

use std::future::Future;

use domain::{
    AccountId, Credits, IslandId, JobId, KeyId, LeaseId, Sequence, ShardId, Standing, Timestamp, TransferId,
};
use ledger::{AccountKey, Applied, Owner, Refusal, Transfer};
use proto::convert::billing::{Settlement, SpendingLimit, SpendingTotal};

use key::{KeyMade, KeyRecord, NewKey, Rotation};
use merkle::Day;
use payout::{NewPayout, Payable, Payout, PayoutFilter, PayoutState, PayoutStep};
use refund::{Mending, NewRefund, Refund};
use reset::{NewReset, OwnerReset, Participation, Reset};
use seal::{ChainHead, Digest};
use sign_up::NewSignUp;
use usage::{UsageQuestion, UsageSum};

use crate::limits::{KEYS_PER_OWNER_MAX, PAYOUT_MIN};

pub use error::{OpenError, StoreError};

/// What a commit is worth when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk when the answer comes.
    Synced,
    /// It may be lost: for books that nobody needs, such as those of a random script.
    Lost,
}

/// One thing to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make an owner with his accounts.
    OpenOwner {
        /// The key of idempotence.
        request_id: String,
        /// A name for people.
        display_name: String,
    },
    /// Book a journal.
    Book(Vec<Transfer>),
    /// Move what is there, up to `wanted`, to a reserved account, which is opened if need be.
    Reserve {
        /// The transfer; its amount does not count.
        order: Transfer,
        /// At least so much.
        minimum: Credits,
        /// At most so much.
        wanted: Credits,
    },
    /// Make an owner who asks for it himself, with a key and a grant.
    SignUp(NewSignUp),
    /// Make a key.
    CreateKey(NewKey),
    /// Make a key's successor, and bring the key's own end forward.
    RotateKey(Rotation),
    /// Revoke a key.
    RevokeKey(KeyId),
    /// Say what may be spent with a key's line.
    LimitSpending(KeyId, SpendingLimit),
    /// Keep what was spent with a line on a day, unless more is known.
    NoteSpending(SpendingTotal),
    /// Settle an ended lease, or keep it with the reason why not.
    Settle(ShardSettlement),
    /// Keep a settlement that the database itself refused.
    KeepRefused(ShardSettlement, KeptRefusal),
    /// Book a settlement that was refused, now that its cause is mended.
    BookRefused(Mending),
    /// Give a consumer back what he paid for a job, or a part of it.
    Refund(NewRefund),
    /// Announce that the virtual economy begins anew.
    AnnounceReset(NewReset),
    /// Let an owner have his turn in a reset.
    ResetOwner(OwnerReset),
    /// Note that everybody had his turn.
    EndReset(u32),
    /// Note that a shard is settled through this command.
    MoveCursor(ShardId, Sequence),
    /// Move earnings from pending to available.
    Mature(Maturing),
    /// Ask for a payout, and hold its credits.
    RequestPayout(NewPayout),
    /// Take a payout a step on.
    StepPayout(TransferId, PayoutStep),
    /// Say where the weekly run sends an owner's earnings; nowhere if it is empty.
    SetPayoutDestination(AccountId, String),
}

/// A settlement with its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSettlement {
    /// The shard whose journal it comes from.
    pub shard: ShardId,
    /// What the exchange claims.
    pub settlement: Settlement,
}

/// Why a settlement was not booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRefusal {
    /// The stable code.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Earnings that have matured: those after one transfer's number, through another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maturing {
    /// Whose.
    pub owner: Owner,
    /// The standing of the Islands that earned them.
    pub standing: Standing,
    /// Where the earnings matured so far end.
    pub after: u64,
    /// Where these end.
    pub through: u64,
    /// What they come to.
    pub amount: Credits,
    /// What had left the account when this was worked out. If more has since, such as a refund, it has to be worked out anew.
    pub gone: Credits,
}

impl Maturing {
    /// The account that they wait in.
    #[must_use]
    pub const fn account(&self) -> AccountKey {
        AccountKey::earnings(self.owner, self.standing)
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The owner, made now or before.
    Owner(AccountId),
    /// Booked now or before.
    Booked(Applied),
    /// Reserved so much, now or before.
    Reserved(Credits),
    /// The owner, made now or before, with his first key and what was granted.
    SignedUp {
        /// The owner.
        owner: AccountId,
        /// His first key.
        key: KeyMade,
        /// The starter grant.
        granted: Credits,
    },
    /// The key.
    Key(KeyMade),
    /// The key's successor.
    Rotated {
        /// It.
        successor: KeyMade,
        /// When the key itself stops working.
        old_expires_at: Timestamp,
    },
    /// Revoked now or before.
    Revoked,
    /// The limit is set.
    SpendingLimited,
    /// The total, or a greater one, is kept.
    SpendingNoted,
    /// Settled now or before.
    Settled,
    /// Not settled, and kept, or refused because what was settled before is different.
    SettlementRefused(KeptRefusal),
    /// Where the shard's cursor is.
    Cursor(Sequence),
    /// The payout as it is now.
    Payout(Payout),
    /// Noted where the weekly run sends earnings.
    DestinationSet,
    /// Refunded now or before, by lease.
    Refunded(Vec<Refund>),
    /// Announced now or before.
    ResetAnnounced(Reset),
    /// The owner had his turn, now or before.
    OwnerReset,
    /// The reset is over, now or before.
    ResetEnded,
    /// Refused; nothing changed.
    Rejected(Rejection),
}

/// Why a change was refused: the asker's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// By the rules of the ledger.
    #[error(transparent)]
    Ledger(#[from] Refusal),
    /// The request id was used before, for something else.
    #[error("the request id was used before, with another body")]
    RequestDiffers,
    /// No such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// No such key.
    #[error("there is no key {0}")]
    UnknownKey(KeyId),
    /// As many as may have signed up today.
    #[error("as many as may have signed up today; the next can tomorrow (UTC)")]
    SignUpsToday,
    /// The key was revoked.
    #[error("{0} was revoked")]
    KeyRevoked(KeyId),
    /// The key has expired.
    #[error("{0} has expired")]
    KeyExpired(KeyId),
    /// The key has a successor.
    #[error("the key was rotated before, into {successor}; rotate that one")]
    AlreadyRotated {
        /// It.
        successor: KeyId,
    },
    /// A key would be made that had expired already.
    #[error("the time at which the key is to expire has passed")]
    ExpiryPassed,
    /// The owner has as many keys as one may ever have.
    #[error("the account has made {KEYS_PER_OWNER_MAX} keys, which is the most")]
    TooManyKeys,
    /// These earnings matured already, or do not follow those that did.
    #[error("these earnings do not follow those that matured before")]
    NotNextToMature,
    /// No such payout.
    #[error("there is no payout {0}")]
    UnknownPayout(TransferId),
    /// Below the minimum.
    #[error("a payout is at least {PAYOUT_MIN} credits")]
    PayoutTooSmall,
    /// A second one on demand in a day.
    #[error("this account has had its payout on demand today; the next can be asked for tomorrow (UTC)")]
    PayoutToday,
    /// More than was earned.
    #[error("only what Islands earned can be paid out, of which {left} credits are left")]
    NotEarned {
        /// What may be paid out.
        left: Credits,
    },
    /// Another reset is announced and not over.
    #[error("a reset is announced already; the next can be announced when it is over")]
    ResetAnnounced,
    /// A reset would be announced of which nobody could be told before.
    #[error("the time at which the reset is to happen has passed")]
    ResetPassed,
    /// No such reset is going on.
    #[error("there is no such reset, or it is over")]
    UnknownReset,
    /// Nothing was settled of such a job.
    #[error("nothing was settled of {0}")]
    UnknownJob(JobId),
    /// No such settlement was kept.
    #[error("no settlement of {0} is kept")]
    UnknownSettlement(LeaseId),
    /// More than was paid and not refunded, or nothing is left.
    #[error("of what was paid for the job, {left} credits are left to be refunded")]
    RefundTooLarge {
        /// What is left.
        left: Credits,
    },
    /// The payout is too far, or not far enough.
    #[error("the payout is {}, which does not allow this", .0.name())]
    PayoutState(PayoutState),
}

/// A transfer as it was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedTransfer {
    /// Its place in the order of booking, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub transfer: Transfer,
}

/// What an owner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances {
    /// Free to spend or to reserve.
    pub available: Credits,
    /// Buying power on all shards.
    pub reserved: Credits,
    /// Earned and not yet matured.
    pub pending: Credits,
}

/// A transfer into a shard's reserved account, or, negative, out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationRecord {
    /// Its place in the order of booking.
    pub number: u64,
    /// The transfer.
    pub transfer: TransferId,
    /// Whose.
    pub owner: AccountId,
    /// How much; negative for a return.
    pub amount: Credits,
}

/// A span of time: from a moment to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

/// A settlement that was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// When.
    pub at: Timestamp,
    /// What.
    pub settlement: ShardSettlement,
}

/// A day whose settlements are final, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedDay {
    /// Which.
    pub day: Day,
    /// How many settlements it has.
    pub settlements: u64,
    /// The Merkle root over them, in the order of shard and lease.
    pub root: Digest,
    /// Where the chain over the transfers ended when the day did; none before the first transfer.
    pub chain: Option<ChainHead>,
}

/// What a check of the books found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// What is wrong, a sentence each, the first hundred.
    pub findings: Vec<String>,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many transfers there are.
    pub transfers: u64,
    /// The sum over all accounts, which is zero.
    pub sum: i128,
    /// What the failover pool has.
    pub pool: Credits,
    /// What the exchange's fees have come to.
    pub fees: Credits,
    /// What is reserved, on all shards.
    pub reserved: Credits,
    /// How many pending transfers are neither posted nor voided.
    pub held: u64,
    /// How many settlements there are, refused ones with them.
    pub settlements: u64,
    /// How many days have a root over their settlements.
    pub days: u64,
    /// The last seal's hash; none while nothing was booked.
    pub chain_head: Option<Digest>,
}

impl AuditReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// How much a store has written since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Transfers that were booked.
    pub transfers: u64,
    /// Settlements that were kept, refused ones with them.
    pub settlements: u64,
}

impl Written {
    /// What was written since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            transfers: self.transfers.saturating_sub(before.transfers),
            settlements: self.settlements.saturating_sub(before.settlements),
        }
    }
}

/// A database with the books in it. One writer calls [`LedgerStore::commit`]; anybody may ask.
pub trait LedgerStore: Send + Sync + 'static {
    /// Writes all changes in one transaction, in order, or none of them. A refused change is an outcome and leaves
    /// the others alone. Durable when it returns.
    fn commit(
        &self,
        changes: &[Change],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Outcome>, StoreError>> + Send;

    /// The key with this hash, revoked and expired ones too.
    fn key_by_hash(
        &self,
        secret_sha256: [u8; 32],
    ) -> impl Future<Output = Result<Option<KeyRecord>, StoreError>> + Send;

    /// An owner's keys, oldest first; `None` if there is no such owner.
    fn keys_of(
        &self,
        owner: AccountId,
    ) -> impl Future<Output = Result<Option<Vec<KeyRecord>>, StoreError>> + Send;

    /// A key; `None` if there is no such one.
    fn key(&self, id: KeyId) -> impl Future<Output = Result<Option<KeyRecord>, StoreError>> + Send;

    /// What was spent with a line on a day, each total with its number, after a number.
    fn spending(
        &self,
        line: KeyId,
        day: u32,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(u64, SpendingTotal)>, StoreError>> + Send;

    /// What an owner has; `None` if there is no such owner.
    fn balances(&self, owner: AccountId)
    -> impl Future<Output = Result<Option<Balances>, StoreError>> + Send;

    /// An owner's transfers before a number, newest first; `None` if there is no such owner.
    fn history(
        &self,
        owner: AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Vec<BookedTransfer>>, StoreError>> + Send;

    /// A shard's reservations and returns after a number, oldest first.
    fn reservations(
        &self,
        shard: ShardId,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ReservationRecord>, StoreError>> + Send;

    /// What a shard's reserved accounts hold, by account after `after`; those that hold nothing are left out.
    fn reserved_balances(
        &self,
        shard: ShardId,
        after: Option<AccountId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(AccountId, Credits)>, StoreError>> + Send;

    /// How far a shard is settled.
    fn cursor(&self, shard: ShardId) -> impl Future<Output = Result<Sequence, StoreError>> + Send;

    /// Earnings of Islands of that standing, booked at or before `cutoff`, that have not matured: summed by owner, by owner
    /// after `after`, at most `limit` owners.
    fn due(
        &self,
        standing: Standing,
        cutoff: Timestamp,
        after: Option<AccountId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Maturing>, StoreError>> + Send;

    /// The first day with settlements that is not closed.
    fn first_open_day(&self) -> impl Future<Output = Result<Option<Day>, StoreError>> + Send;

    /// Closes a day: computes the root over its settlements and keeps it. No settlement can be booked in it afterwards.
    /// A day that is closed stays as it is. The caller sees to it that the day is over. Others may write meanwhile.
    fn close_day(
        &self,
        day: Day,
        now: Timestamp,
    ) -> impl Future<Output = Result<ClosedDay, StoreError>> + Send;

    /// Closed days after a day, oldest first.
    fn closed_days(
        &self,
        after: Option<Day>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ClosedDay>, StoreError>> + Send;

    /// What an owner had before the span in all his places, held credits with them, and what was booked in it, oldest first;
    /// `None` if there is no such owner.
    fn booked_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> impl Future<Output = Result<Option<(Credits, Vec<BookedTransfer>)>, StoreError>> + Send;

    /// Settlements that were booked in the span, with the owner as the consumer or as the Island's owner, oldest first.
    fn settled_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Settled>, StoreError>> + Send;

    /// Sums over what an owner bought and his Islands sold, by day, model and side, after the first `offset` of them; `None`
    /// if there is no such owner.
    fn usage(
        &self,
        owner: AccountId,
        question: &UsageQuestion,
        offset: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Vec<UsageSum>>, StoreError>> + Send;

    /// What one of an owner's Islands had earned before a moment.
    fn earned_before(
        &self,
        owner: AccountId,
        island: IslandId,
        until: Timestamp,
    ) -> impl Future<Output = Result<Credits, StoreError>> + Send;

    /// What an Island's refunds took back in the span, oldest first.
    fn refunds_of_island(
        &self,
        owner: AccountId,
        island: IslandId,
        span: Span,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Refund>, StoreError>> + Send;

    /// The leases of a job that were settled, in the order of their settlement.
    fn leases_of_job(
        &self,
        job: JobId,
    ) -> impl Future<Output = Result<Vec<(ShardId, LeaseId)>, StoreError>> + Send;

    /// A payout; `None` if there is no such one.
    fn payout(&self, id: TransferId) -> impl Future<Output = Result<Option<Payout>, StoreError>> + Send;

    /// Payouts before a number, newest first, each with its number.
    fn payouts(
        &self,
        filter: PayoutFilter,
        before: Option<u64>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(u64, Payout)>, StoreError>> + Send;

    /// Approved payouts whose provider is to be asked by now, those that wait longest first.
    fn payouts_to_send(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Payout>, StoreError>> + Send;

    /// What the weekly run may send: owners after `after` with a destination, without a weekly payout since `since`, whose
    /// available earnings are at least the minimum of a payout.
    fn weekly_payable(
        &self,
        since: Day,
        after: Option<AccountId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Payable>, StoreError>> + Send;

    /// The reset that is announced and not over.
    fn open_reset(&self) -> impl Future<Output = Result<Option<Reset>, StoreError>> + Send;

    /// Whose turn in a reset has not come: owners after `after` who were there when it was due, each with whether he took part
    /// since the last one.
    fn owners_to_reset(
        &self,
        reset: u32,
        after: Option<AccountId>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Owner, Participation)>, StoreError>> + Send;

    /// How much was written since the store was opened; nothing by a store that does not count.
    fn written(&self) -> Written {
        Written::default()
    }

    /// Checks the books against themselves, at one instant.
    fn audit(&self) -> impl Future<Output = Result<AuditReport, StoreError>> + Send;

    /// Makes the database tidy and lets it go. Everything committed is durable without it.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Outcome {
    /// The stable code of a refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::SettlementRefused(refusal) => Some(&refusal.code),
            Self::Rejected(rejection) => Some(rejection.code()),
            Self::Owner(_)
            | Self::Booked(_)
            | Self::Reserved(_)
            | Self::Key(_)
            | Self::Rotated { .. }
            | Self::SignedUp { .. }
            | Self::SpendingLimited
            | Self::SpendingNoted
            | Self::Revoked
            | Self::Settled
            | Self::Cursor(_)
            | Self::Payout(_)
            | Self::DestinationSet
            | Self::Refunded(_)
            | Self::ResetAnnounced(_)
            | Self::OwnerReset
            | Self::ResetEnded => None,
        }
    }
}
