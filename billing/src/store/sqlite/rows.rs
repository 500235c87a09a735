//! Rows ↔ values. What no version of this program writes is damage, and says where.

use domain::{
    AccountId, Bill, Credits, IslandId, JobId, KeyId, LeaseEpoch, LeaseId, Liquidity, Price, Sequence,
    ShardId, Timestamp, TransferId, Units,
};
use ledger::{AccountKey, Counters, Mode, Owner, Transfer, TransferKind};
use proto::convert::billing::{KeyScope, Settlement};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::store::{BookedTransfer, KeptRefusal, KeyRecord, ShardSettlement, StoreError};

fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::Damaged { what: what.into() }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

/// A transfer id as the hexadecimal that `unhex` reads.
pub(super) fn transfer_id_hex(id: TransferId) -> String {
    hex(&id.get().to_be_bytes())
}

/// A lease as the hexadecimal that `unhex` reads.
pub(super) fn lease_hex(lease: LeaseId) -> String {
    hex(&lease.get().to_be_bytes())
}

/// A number of ours as the database's: all that are stored fit.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn int(row: &SqliteRow, column: usize) -> Result<i64, StoreError> {
    row.try_get(column)
        .map_err(|error| damaged(format!("column {column}: {error}")))
}

pub(super) fn unsigned(row: &SqliteRow, column: usize) -> Result<u64, StoreError> {
    u64::try_from(int(row, column)?).map_err(|_| damaged(format!("column {column} is negative")))
}

pub(super) fn text(row: &SqliteRow, column: usize) -> Result<String, StoreError> {
    row.try_get(column)
        .map_err(|error| damaged(format!("column {column}: {error}")))
}

fn blob<const N: usize>(row: &SqliteRow, column: usize) -> Result<[u8; N], StoreError> {
    optional_blob(row, column)?.ok_or_else(|| damaged(format!("column {column} is null")))
}

fn optional_blob<const N: usize>(row: &SqliteRow, column: usize) -> Result<Option<[u8; N]>, StoreError> {
    let bytes: Option<Vec<u8>> = row
        .try_get(column)
        .map_err(|error| damaged(format!("column {column}: {error}")))?;
    bytes
        .map(|bytes| {
            <[u8; N]>::try_from(bytes.as_slice())
                .map_err(|_| damaged(format!("column {column} is not {N} bytes")))
        })
        .transpose()
}

pub(super) fn owner(row: &SqliteRow, column: usize) -> Result<Owner, StoreError> {
    let number = unsigned(row, column)?;
    Owner::new(AccountId::new(number)).ok_or_else(|| damaged(format!("{number} is no owner")))
}

pub(super) fn shard(row: &SqliteRow, column: usize) -> Result<ShardId, StoreError> {
    u16::try_from(int(row, column)?)
        .map(ShardId::new)
        .map_err(|_| damaged(format!("column {column} is no shard")))
}

fn account_key(number: i64) -> Result<AccountKey, StoreError> {
    AccountKey::from_number(number).ok_or_else(|| damaged(format!("{number} is no account")))
}

/// An account: id and four counters.
pub(super) fn account(row: &SqliteRow) -> Result<(AccountKey, Counters), StoreError> {
    let key = account_key(int(row, 0)?)?;
    let counter = |column| int(row, column).map(Credits::from_nano);
    let counters = Counters::restore(counter(1)?, counter(2)?, counter(3)?, counter(4)?)
        .map_err(|error| damaged(format!("{key}: {error}")))?;
    Ok((key, counters))
}

/// A transfer, in the order of columns that every statement uses.
pub(super) fn transfer(row: &SqliteRow) -> Result<BookedTransfer, StoreError> {
    let number = unsigned(row, 0)?;
    let kind_name = text(row, 2)?;
    let kind = TransferKind::from_name(&kind_name)
        .ok_or_else(|| damaged(format!("transfer {number} is a `{kind_name}`")))?;
    let pending = optional_blob(row, 4)?.map(|id| TransferId::new(u128::from_be_bytes(id)));
    let mode = Mode::from_code(int(row, 3)?, pending)
        .ok_or_else(|| damaged(format!("transfer {number} has no known mode")))?;
    Ok(BookedTransfer {
        number,
        at: Timestamp::from_micros(unsigned(row, 10)?),
        transfer: Transfer {
            id: TransferId::new(u128::from_be_bytes(blob(row, 1)?)),
            kind,
            mode,
            debit: account_key(int(row, 5)?)?,
            credit: account_key(int(row, 6)?)?,
            amount: Credits::from_nano(int(row, 7)?),
            job: optional_blob(row, 8)?.map(|job| JobId::new(u128::from_be_bytes(job))),
            memo: text(row, 9)?,
        },
    })
}

/// A transfer as the array that the insert takes apart.
pub(super) fn transfer_json(transfer: &Transfer) -> Value {
    json!([
        transfer_id_hex(transfer.id),
        transfer.kind.name(),
        transfer.mode.code(),
        transfer.mode.resolves().map(transfer_id_hex),
        transfer.debit.number(),
        transfer.credit.number(),
        transfer.amount.as_nano(),
        transfer.job.map(|job| hex(&job.get().to_be_bytes())),
        transfer.memo,
    ])
}

/// A settlement with why it was refused, in the order of columns that every statement uses.
pub(super) fn settlement(row: &SqliteRow) -> Result<(ShardSettlement, Option<KeptRefusal>), StoreError> {
    let credits = |column| int(row, column).map(Credits::from_nano);
    let account = |column| blob(row, column).map(|bytes| AccountId::new(u64::from_be_bytes(bytes)));
    let lease = LeaseId::new(u64::from_be_bytes(blob(row, 1)?));
    let wrong = |what: &str| damaged(format!("settlement of {lease}: {what}"));
    let bid_liquidity = match text(row, 13)?.as_str() {
        "maker" => Liquidity::Maker,
        "taker" => Liquidity::Taker,
        _ => return Err(wrong("no known liquidity")),
    };
    let settlement = Settlement {
        sequence: Sequence::new(unsigned(row, 2)?),
        lease,
        job: JobId::new(u128::from_be_bytes(blob(row, 3)?)),
        epoch: LeaseEpoch::new(u8::try_from(int(row, 4)?).map_err(|_| wrong("no epoch"))?),
        consumer: account(5)?,
        island_owner: account(6)?,
        island: IslandId::new(u64::from_be_bytes(blob(row, 7)?)),
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
        billed_before_thousandths: u128::from_be_bytes(blob(row, 16)?),
    };
    let refusal: Option<String> = row
        .try_get(17)
        .map_err(|error| damaged(format!("column 17: {error}")))?;
    let refusal = match refusal {
        Some(code) => Some(KeptRefusal {
            code,
            message: text(row, 18)?,
        }),
        None => None,
    };
    Ok((
        ShardSettlement {
            shard: shard(row, 0)?,
            settlement,
        },
        refusal,
    ))
}

/// A settlement as the array that the insert takes apart.
pub(super) fn settlement_json(settlement: &ShardSettlement, refusal: Option<&KeptRefusal>) -> Value {
    let ShardSettlement { shard, settlement } = settlement;
    let bill = settlement.bill;
    let liquidity = match bill.bid_liquidity {
        Liquidity::Maker => "maker",
        Liquidity::Taker => "taker",
    };
    json!([
        shard.get(),
        lease_hex(settlement.lease),
        settlement.sequence.get(),
        hex(&settlement.job.get().to_be_bytes()),
        settlement.epoch.get(),
        hex(&settlement.consumer.get().to_be_bytes()),
        hex(&settlement.island_owner.get().to_be_bytes()),
        hex(&settlement.island.get().to_be_bytes()),
        settlement.model,
        settlement.price.get(),
        bill.units.get(),
        bill.charge.as_nano(),
        bill.fee.as_nano(),
        liquidity,
        bill.pool_subsidy.as_nano(),
        settlement.compensation.as_nano(),
        hex(&settlement.billed_before_thousandths.to_be_bytes()),
        refusal.map(|refusal| &refusal.code),
        refusal.map(|refusal| &refusal.message),
    ])
}

/// A scope's word in the database.
pub(super) const fn scope_name(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Full => "full",
        KeyScope::Consumer => "consumer",
        KeyScope::Island => "island",
    }
}

/// A key, without its hash.
pub(super) fn key(row: &SqliteRow) -> Result<KeyRecord, StoreError> {
    let id = KeyId::new(unsigned(row, 0)?);
    let scope = match text(row, 3)?.as_str() {
        "full" => KeyScope::Full,
        "consumer" => KeyScope::Consumer,
        "island" => KeyScope::Island,
        _ => return Err(damaged(format!("{id} has no known scope"))),
    };
    Ok(KeyRecord {
        id,
        owner: owner(row, 1)?.id(),
        name: text(row, 2)?,
        scope,
        created_at: Timestamp::from_micros(unsigned(row, 4)?),
        revoked_at: optional_time(row, 5)?,
    })
}

/// A moment, or none.
pub(super) fn optional_time(row: &SqliteRow, column: usize) -> Result<Option<Timestamp>, StoreError> {
    let at: Option<i64> = row
        .try_get(column)
        .map_err(|error| damaged(format!("column {column}: {error}")))?;
    at.map(|at| u64::try_from(at).map(Timestamp::from_micros))
        .transpose()
        .map_err(|_| damaged(format!("column {column} is negative")))
}
