//! Rows → values, whatever database they come from. What no version of this program writes is damage, and says where.

use domain::{
    AccountId, Bill, Credits, IslandId, JobId, KeyId, LeaseEpoch, LeaseId, Liquidity, Price, Sequence,
    ShardId, Standing, Timestamp, TransferId, Units,
};
use ledger::{AccountKey, AccountKind, Counters, Mode, Owner, Transfer, TransferKind};
use proto::convert::billing::{KeyScope, Settlement, SpendingLimit, SpendingTotal};
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::key::{KeyRecord, KeyRequest, KeyState};
use super::merkle::Day;
use super::payout::{PaidOut, Payable, Payout, PayoutCause, PayoutState};
use super::plan::Head;
use super::refund::Refund;
use super::reset::{NewReset, Participation, Reset};
use super::seal::{ChainHead, Digest, Seal};
use super::sign_up::SignUp;
use super::usage::{UsageSide, UsageSum};
use super::{
    Balances, BookedTransfer, ClosedDay, KeptRefusal, Maturing, ReservationRecord, Settled, ShardSettlement,
    StoreError,
};

/// A row, by the few types that our columns have.
pub(super) trait Columns {
    /// A number or null.
    fn optional_int(&self, column: usize) -> Result<Option<i64>, StoreError>;

    /// A text or null.
    fn optional_text(&self, column: usize) -> Result<Option<String>, StoreError>;

    /// Bytes or null.
    fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError>;
}

impl<R> Columns for R
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: for<'r> Decode<'r, R::Database> + Type<R::Database>,
{
    fn optional_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.try_get(column).map_err(|error| unreadable(column, &error))
    }

    fn optional_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        self.try_get(column).map_err(|error| unreadable(column, &error))
    }

    fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError> {
        self.try_get(column).map_err(|error| unreadable(column, &error))
    }
}

fn unreadable(column: usize, error: &sqlx::Error) -> StoreError {
    damaged(format!("column {column}: {error}"))
}

fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::Damaged { what: what.into() }
}

fn null(column: usize) -> StoreError {
    damaged(format!("column {column} is null"))
}

/// A number of ours as the database's: all that are stored fit.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn int(row: &impl Columns, column: usize) -> Result<i64, StoreError> {
    row.optional_int(column)?.ok_or_else(|| null(column))
}

pub(super) fn unsigned(row: &impl Columns, column: usize) -> Result<u64, StoreError> {
    u64::try_from(int(row, column)?).map_err(|_| damaged(format!("column {column} is negative")))
}

pub(super) fn text(row: &impl Columns, column: usize) -> Result<String, StoreError> {
    row.optional_text(column)?.ok_or_else(|| null(column))
}

/// Bytes of a fixed length.
pub(super) fn bytes<const N: usize>(row: &impl Columns, column: usize) -> Result<[u8; N], StoreError> {
    optional_bytes(row, column)?.ok_or_else(|| null(column))
}

/// Bytes of a fixed length, or null.
pub(super) fn optional_bytes<const N: usize>(
    row: &impl Columns,
    column: usize,
) -> Result<Option<[u8; N]>, StoreError> {
    let bytes = row.optional_bytes(column)?;
    bytes
        .map(|bytes| {
            <[u8; N]>::try_from(bytes.as_slice())
                .map_err(|_| damaged(format!("column {column} is not {N} bytes")))
        })
        .transpose()
}

/// A moment, or none.
pub(super) fn optional_time(row: &impl Columns, column: usize) -> Result<Option<Timestamp>, StoreError> {
    let at = row.optional_int(column)?;
    at.map(|at| u64::try_from(at).map(Timestamp::from_micros))
        .transpose()
        .map_err(|_| damaged(format!("column {column} is negative")))
}

pub(super) fn owner(row: &impl Columns, column: usize) -> Result<Owner, StoreError> {
    let number = unsigned(row, column)?;
    Owner::new(AccountId::new(number)).ok_or_else(|| damaged(format!("{number} is no owner")))
}

pub(super) fn shard(row: &impl Columns, column: usize) -> Result<ShardId, StoreError> {
    u16::try_from(int(row, column)?)
        .map(ShardId::new)
        .map_err(|_| damaged(format!("column {column} is no shard")))
}

pub(super) fn account_key(row: &impl Columns, column: usize) -> Result<AccountKey, StoreError> {
    let number = int(row, column)?;
    AccountKey::from_number(number).ok_or_else(|| damaged(format!("{number} is no account")))
}

/// An account: id and four counters.
pub(super) fn account(row: &impl Columns) -> Result<(AccountKey, Counters), StoreError> {
    let key = account_key(row, 0)?;
    let counter = |column| int(row, column).map(Credits::from_nano);
    let counters = Counters::restore(counter(1)?, counter(2)?, counter(3)?, counter(4)?)
        .map_err(|error| damaged(format!("{key}: {error}")))?;
    Ok((key, counters))
}

/// What an owner has, of all his accounts.
pub(super) fn balances<R: Columns>(accounts: &[R]) -> Result<Balances, StoreError> {
    let mut balances = Balances::default();
    for row in accounts {
        let (account, counters) = account(row)?;
        let spendable = counters.spendable().unwrap_or(Credits::ZERO);
        let sum = match account {
            AccountKey::Available(_) => &mut balances.available,
            AccountKey::Pending(_) | AccountKey::Probation(_) => &mut balances.pending,
            AccountKey::Reserved(..) => &mut balances.reserved,
            AccountKey::Grants | AccountKey::Fees | AccountKey::Pool | AccountKey::Payouts => continue,
        };
        *sum = sum
            .checked_add(spendable)
            .ok_or_else(|| damaged(format!("a sum with {account} leaves the range")))?;
    }
    Ok(balances)
}

/// What a reserved account holds.
pub(super) fn reserved_balance(row: &impl Columns) -> Result<(AccountId, Credits), StoreError> {
    let (account, counters) = account(row)?;
    let owner = account
        .owner()
        .ok_or_else(|| damaged(format!("{account} is reserved for nobody")))?;
    Ok((owner.id(), counters.balance()))
}

/// A transfer, in the order of columns that every statement uses.
pub(super) fn transfer(row: &impl Columns) -> Result<BookedTransfer, StoreError> {
    let number = unsigned(row, 0)?;
    let kind_name = text(row, 2)?;
    let kind = TransferKind::from_name(&kind_name)
        .ok_or_else(|| damaged(format!("transfer {number} is a `{kind_name}`")))?;
    let pending = optional_bytes(row, 4)?.map(|id| TransferId::new(u128::from_be_bytes(id)));
    let mode = Mode::from_code(int(row, 3)?, pending)
        .ok_or_else(|| damaged(format!("transfer {number} has no known mode")))?;
    Ok(BookedTransfer {
        number,
        at: Timestamp::from_micros(unsigned(row, 10)?),
        transfer: Transfer {
            id: TransferId::new(u128::from_be_bytes(bytes(row, 1)?)),
            kind,
            mode,
            debit: account_key(row, 5)?,
            credit: account_key(row, 6)?,
            amount: Credits::from_nano(int(row, 7)?),
            job: optional_bytes(row, 8)?.map(|job| JobId::new(u128::from_be_bytes(job))),
            memo: text(row, 9)?,
        },
    })
}

/// A transfer, and behind its columns the end and the hash of the seal that begins at it.
pub(super) fn sealed_transfer(row: &impl Columns) -> Result<(BookedTransfer, Option<Seal>), StoreError> {
    let booked = transfer(row)?;
    let Some(hash) = optional_bytes(row, 12)? else {
        return Ok((booked, None));
    };
    let seal = Seal {
        first: booked.number,
        through: unsigned(row, 11)?,
        hash,
    };
    Ok((booked, Some(seal)))
}

/// A reservation or a return.
pub(super) fn reservation(row: &impl Columns) -> Result<ReservationRecord, StoreError> {
    let BookedTransfer { number, transfer, .. } = transfer(row)?;
    let returned = transfer.kind == TransferKind::Return;
    let account = if returned { transfer.debit } else { transfer.credit };
    let owner = account
        .owner()
        .ok_or_else(|| damaged(format!("{} reserves for nobody", transfer.id)))?;
    let nano = transfer.amount.as_nano();
    Ok(ReservationRecord {
        number,
        transfer: transfer.id,
        owner: owner.id(),
        amount: Credits::from_nano(if returned { -nano } else { nano }),
    })
}

/// The kind of account in which earnings of that standing wait.
pub(super) const fn earning_kind(standing: Standing) -> AccountKind {
    match standing {
        Standing::Established => AccountKind::Pending,
        Standing::Probation => AccountKind::Probation,
    }
}

/// Earnings that have matured: owner, where they begin and end, what they come to.
pub(super) fn maturing(row: &impl Columns, standing: Standing) -> Result<Maturing, StoreError> {
    Ok(Maturing {
        owner: owner(row, 0)?,
        standing,
        after: unsigned(row, 1)?,
        through: unsigned(row, 2)?,
        amount: Credits::from_nano(int(row, 3)?),
        gone: Credits::from_nano(int(row, 4)?),
    })
}

/// A settlement with why it was refused, in the order of columns that every statement uses.
pub(super) fn settlement(row: &impl Columns) -> Result<(ShardSettlement, Option<KeptRefusal>), StoreError> {
    let credits = |column| int(row, column).map(Credits::from_nano);
    let account = |column| bytes(row, column).map(|bytes| AccountId::new(u64::from_be_bytes(bytes)));
    let lease = LeaseId::new(u64::from_be_bytes(bytes(row, 1)?));
    let wrong = |what: &str| damaged(format!("settlement of {lease}: {what}"));
    let bid_liquidity = match text(row, 13)?.as_str() {
        "maker" => Liquidity::Maker,
        "taker" => Liquidity::Taker,
        _ => return Err(wrong("no known liquidity")),
    };
    let settlement = Settlement {
        sequence: Sequence::new(unsigned(row, 2)?),
        lease,
        job: JobId::new(u128::from_be_bytes(bytes(row, 3)?)),
        epoch: LeaseEpoch::new(u8::try_from(int(row, 4)?).map_err(|_| wrong("no epoch"))?),
        consumer: account(5)?,
        island_owner: account(6)?,
        island: IslandId::new(u64::from_be_bytes(bytes(row, 7)?)),
        model: text(row, 8)?,
        price: Price::new(unsigned(row, 9)?).map_err(|error| wrong(&error.to_string()))?,
        bill: Bill {
            units: Units::new(unsigned(row, 10)?),
            charge: credits(11)?,
            fee: credits(12)?,
            bid_liquidity,
            pool_subsidy: credits(14)?,
        },
        compensation: credits(15)?,
        billed_before_thousandths: u128::from_be_bytes(bytes(row, 16)?),
        standing: Standing::from_name(&text(row, 17)?).ok_or_else(|| wrong("no known standing"))?,
    };
    let refusal = match row.optional_text(18)? {
        Some(code) => Some(KeptRefusal {
            code,
            message: text(row, 19)?,
        }),
        None => None,
    };
    let shard = shard(row, 0)?;
    Ok((ShardSettlement { shard, settlement }, refusal))
}

/// A booked settlement with its moment.
pub(super) fn settled(row: &impl Columns) -> Result<Settled, StoreError> {
    let (settlement, _) = settlement(row)?;
    Ok(Settled {
        at: Timestamp::from_micros(unsigned(row, 20)?),
        settlement,
    })
}

/// A settlement as it is kept: why it was refused, on which day, and whether it was booked after all.
pub(super) struct KeptSettlement {
    pub(super) settlement: ShardSettlement,
    pub(super) refusal: Option<KeptRefusal>,
    pub(super) day: Day,
    pub(super) mended: bool,
}

/// A settlement, with whether it was booked after all behind its columns.
pub(super) fn kept_settlement(row: &impl Columns) -> Result<KeptSettlement, StoreError> {
    let (settlement, refusal) = settlement(row)?;
    Ok(KeptSettlement {
        settlement,
        refusal,
        day: Day::of(Timestamp::from_micros(unsigned(row, 20)?)),
        mended: int(row, 21)? > 0,
    })
}

/// A refund's part of a lease, in the order of columns that every statement uses.
pub(super) fn refund(row: &impl Columns) -> Result<Refund, StoreError> {
    let credits = |column| int(row, column).map(Credits::from_nano);
    let id = TransferId::new(u128::from_be_bytes(bytes(row, 0)?));
    let wrong = |what: &str| damaged(format!("refund {id}: {what}"));
    Ok(Refund {
        id,
        place: u8::try_from(int(row, 1)?).map_err(|_| wrong("no place"))?,
        shard: shard(row, 2)?,
        lease: LeaseId::new(u64::from_be_bytes(bytes(row, 3)?)),
        job: JobId::new(u128::from_be_bytes(bytes(row, 4)?)),
        consumer: owner(row, 5)?,
        island_owner: owner(row, 6)?,
        asked_lease: optional_bytes(row, 15)?.map(|bytes| LeaseId::new(u64::from_be_bytes(bytes))),
        asked: row.optional_int(7)?.map(Credits::from_nano),
        from_earnings: credits(8)?,
        from_available: credits(9)?,
        from_fees: credits(10)?,
        from_pool: credits(11)?,
        standing: Standing::from_name(&text(row, 12)?).ok_or_else(|| wrong("no known standing"))?,
        author: text(row, 13)?,
        reason: text(row, 14)?,
    })
}

/// The number of a reset.
pub(super) fn number(row: &impl Columns, column: usize) -> Result<u32, StoreError> {
    u32::try_from(int(row, column)?).map_err(|_| damaged(format!("column {column} is no reset")))
}

/// A reset, in the order of columns that every statement uses.
pub(super) fn reset(row: &impl Columns) -> Result<Reset, StoreError> {
    Ok(Reset {
        number: number(row, 0)?,
        announced: NewReset {
            id: TransferId::new(u128::from_be_bytes(bytes(row, 1)?)),
            at: Timestamp::from_micros(unsigned(row, 2)?),
            starter: Credits::from_nano(int(row, 3)?),
            bonus: Credits::from_nano(int(row, 4)?),
            author: text(row, 5)?,
            reason: text(row, 6)?,
        },
    })
}

/// An owner with whether he took part.
pub(super) fn participant(row: &impl Columns) -> Result<(Owner, Participation), StoreError> {
    let participation = if int(row, 1)? > 0 {
        Participation::TookPart
    } else {
        Participation::LookedOn
    };
    Ok((owner(row, 0)?, participation))
}

/// A lease with its shard.
pub(super) fn lease(row: &impl Columns) -> Result<(ShardId, LeaseId), StoreError> {
    Ok((shard(row, 0)?, LeaseId::new(u64::from_be_bytes(bytes(row, 1)?))))
}

/// Where an account's matured earnings end.
pub(super) fn matured(row: &impl Columns) -> Result<(AccountKey, u64), StoreError> {
    Ok((account_key(row, 0)?, unsigned(row, 1)?))
}

/// What had ever been reserved in an account when its owner's last turn in a reset came.
pub(super) fn reserved_before(row: &impl Columns) -> Result<(AccountKey, Credits), StoreError> {
    Ok((account_key(row, 0)?, Credits::from_nano(int(row, 1)?)))
}

/// How far a shard is settled.
pub(super) fn cursor(row: &impl Columns) -> Result<(ShardId, Sequence), StoreError> {
    Ok((shard(row, 0)?, Sequence::new(unsigned(row, 1)?)))
}

/// A sum over settlements.
pub(super) fn usage(row: &impl Columns) -> Result<UsageSum, StoreError> {
    let credits = |column| int(row, column).map(Credits::from_nano);
    let side = UsageSide::from_code(int(row, 2)?);
    Ok(UsageSum {
        day: day(row, 0)?,
        model: text(row, 1)?,
        side: side.ok_or_else(|| damaged("a sum is of no side"))?,
        jobs: unsigned(row, 3)?,
        segments: unsigned(row, 4)?,
        units: unsigned(row, 5)?,
        charge: credits(6)?,
        fee: credits(7)?,
        pool_subsidy: credits(8)?,
        compensation: credits(9)?,
    })
}

/// A liquidity's word in the database.
pub(super) const fn liquidity_name(liquidity: Liquidity) -> &'static str {
    match liquidity {
        Liquidity::Maker => "maker",
        Liquidity::Taker => "taker",
    }
}

/// A day that is closed.
pub(super) fn closed_day(row: &impl Columns) -> Result<ClosedDay, StoreError> {
    let chain = match optional_bytes(row, 4)? {
        Some(hash) => Some(ChainHead {
            through: unsigned(row, 3)?,
            hash,
        }),
        None => None,
    };
    Ok(ClosedDay {
        day: day(row, 0)?,
        settlements: unsigned(row, 1)?,
        root: bytes::<32>(row, 2)?,
        chain,
    })
}

/// A day's number.
pub(super) fn day(row: &impl Columns, column: usize) -> Result<Day, StoreError> {
    u32::try_from(int(row, column)?)
        .map(Day::new)
        .map_err(|_| damaged(format!("column {column} is no day")))
}

/// Where the books end: the last owner, key and transfer, when that was booked, where the last fenced day ends, and the
/// last seal.
pub(super) fn head(row: &impl Columns) -> Result<Head, StoreError> {
    let at = unsigned(row, 3)?.max(unsigned(row, 4)?);
    Ok(Head {
        owner: unsigned(row, 0)?,
        key: unsigned(row, 1)?,
        number: unsigned(row, 2)?,
        at: Timestamp::from_micros(at),
        seal: optional_bytes(row, 5)?.unwrap_or_default(),
    })
}

/// Whether there are transfers and no seal, by the same columns.
pub(super) fn is_stripped(row: &impl Columns) -> Result<bool, StoreError> {
    Ok(unsigned(row, 2)? > 0 && optional_bytes::<32>(row, 5)?.is_none())
}

/// A scope's word in the database.
pub(super) const fn scope_name(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Full => "full",
        KeyScope::Consumer => "consumer",
        KeyScope::Island => "island",
    }
}

/// A key's scope, by its word.
fn scope(row: &impl Columns, column: usize) -> Result<KeyScope, StoreError> {
    match text(row, column)?.as_str() {
        "full" => Ok(KeyScope::Full),
        "consumer" => Ok(KeyScope::Consumer),
        "island" => Ok(KeyScope::Island),
        other => Err(damaged(format!("`{other}` is no scope of a key"))),
    }
}

fn key_id(row: &impl Columns, column: usize) -> Result<KeyId, StoreError> {
    unsigned(row, column).map(KeyId::new)
}

fn optional_key_id(row: &impl Columns, column: usize) -> Result<Option<KeyId>, StoreError> {
    match row.optional_int(column)? {
        Some(_) => key_id(row, column).map(Some),
        None => Ok(None),
    }
}

/// A key, without its hash.
pub(super) fn key(row: &impl Columns) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: key_id(row, 0)?,
        owner: owner(row, 1)?.id(),
        name: text(row, 2)?,
        scope: scope(row, 3)?,
        created_at: Timestamp::from_micros(unsigned(row, 4)?),
        revoked_at: optional_time(row, 5)?,
        expires_at: optional_time(row, 6)?,
        line: key_id(row, 7)?,
        rotated_from: optional_key_id(row, 8)?,
        rotated_to: optional_key_id(row, 9)?,
        limit: SpendingLimit {
            key_per_day: row.optional_int(10)?.map(Credits::from_nano),
            user_per_day: row.optional_int(11)?.map(Credits::from_nano),
        },
    })
}

/// What was spent on a day, with its number.
pub(super) fn spending(row: &impl Columns) -> Result<(u64, SpendingTotal), StoreError> {
    let user = row.optional_bytes(3)?.unwrap_or_default();
    let total = SpendingTotal {
        line: key_id(row, 1)?,
        user: if user.is_empty() {
            None
        } else {
            optional_bytes(row, 3)?
        },
        day: day(row, 2)?.get(),
        spent: Credits::from_nano(int(row, 4)?),
    };
    Ok((unsigned(row, 0)?, total))
}

/// A key as a batch needs it.
pub(super) fn key_state(row: &impl Columns) -> Result<(KeyId, KeyState), StoreError> {
    let successor = match optional_key_id(row, 7)? {
        Some(successor) => Some((
            successor,
            KeyRequest {
                id: text(row, 8)?,
                body: bytes(row, 9)?,
            },
        )),
        None => None,
    };
    let state = KeyState {
        owner: owner(row, 1)?.id(),
        name: text(row, 2)?,
        scope: scope(row, 3)?,
        line: key_id(row, 4)?,
        expires_at: optional_time(row, 5)?,
        revoked_at: optional_time(row, 6)?,
        successor,
    };
    Ok((key_id(row, 0)?, state))
}

/// A key by what it was asked for under, with the digest of the rest.
#[expect(clippy::type_complexity, reason = "an entry of the plan's map")]
pub(super) fn key_request(row: &impl Columns) -> Result<((AccountId, String), (KeyId, Digest)), StoreError> {
    let request = (owner(row, 0)?.id(), text(row, 1)?);
    Ok((request, (key_id(row, 2)?, bytes(row, 3)?)))
}

/// Somebody who signed up.
pub(super) fn sign_up(row: &impl Columns) -> Result<SignUp, StoreError> {
    Ok(SignUp {
        request_id: text(row, 0)?,
        owner: owner(row, 1)?.id(),
        key: key_id(row, 2)?,
        day: day(row, 3)?,
        granted: Credits::from_nano(int(row, 4)?),
    })
}

/// How many keys an owner has made.
pub(super) fn key_count(row: &impl Columns) -> Result<(AccountId, u32), StoreError> {
    let count = u32::try_from(unsigned(row, 1)?).unwrap_or(u32::MAX);
    Ok((owner(row, 0)?.id(), count))
}

/// A payout with its number, in the order of columns that every statement uses.
pub(super) fn payout(row: &impl Columns) -> Result<(u64, Payout), StoreError> {
    let transfer = TransferId::new(u128::from_be_bytes(bytes(row, 1)?));
    let wrong = |what: &str| damaged(format!("payout {transfer}: {what}"));
    let payout = Payout {
        transfer,
        owner: owner(row, 2)?,
        destination: text(row, 3)?,
        amount: Credits::from_nano(int(row, 4)?),
        cause: PayoutCause::from_name(&text(row, 5)?).ok_or_else(|| wrong("no known cause"))?,
        day: day(row, 6)?,
        state: PayoutState::from_name(&text(row, 7)?).ok_or_else(|| wrong("no known state"))?,
        approved_by: text(row, 8)?,
        attempts: u32::try_from(int(row, 9)?).map_err(|_| wrong("no count of attempts"))?,
        retry_at: Timestamp::from_micros(unsigned(row, 10)?),
        note: text(row, 11)?,
    };
    Ok((unsigned(row, 0)?, payout))
}

/// What an owner was paid out so far.
pub(super) fn paid_out(row: &impl Columns) -> Result<(Owner, PaidOut), StoreError> {
    let last_on_demand = match row.optional_int(2)? {
        Some(_) => Some(day(row, 2)?),
        None => None,
    };
    let paid_out = PaidOut {
        total: Credits::from_nano(int(row, 1)?),
        last_on_demand,
        taken: Credits::from_nano(int(row, 3)?),
    };
    Ok((owner(row, 0)?, paid_out))
}

/// What the weekly run may send.
pub(super) fn payable(row: &impl Columns) -> Result<Payable, StoreError> {
    Ok(Payable {
        owner: owner(row, 0)?,
        destination: text(row, 1)?,
        amount: Credits::from_nano(int(row, 2)?),
    })
}
