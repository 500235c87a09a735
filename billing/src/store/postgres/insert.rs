//! What a batch decided, as rows: one array a column, one statement a table.

use domain::{KeyId, Timestamp};
use sqlx::PgConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::commit::{id_bytes, lease_bytes};
use super::{failed, payouts, statements};
use crate::store::plan::{OwnerRow, Rows, Working};
use crate::store::rows::{liquidity_name, scope_name, stored};
use crate::store::seal::Seal;
use crate::store::{BookedTransfer, KeptRefusal, ShardSettlement, StoreError};

/// A statement with its parameters.
type Insert<'q> = Query<'q, sqlx::Postgres, PgArguments>;

async fn execute(
    connection: &mut PgConnection,
    insert: Insert<'_>,
    doing: &'static str,
) -> Result<(), StoreError> {
    insert.execute(connection).await.map_err(failed(doing))?;
    Ok(())
}

/// Writes what a batch decided.
pub(super) async fn write(
    connection: &mut PgConnection,
    working: &Working,
    moment: Timestamp,
) -> Result<(), StoreError> {
    let rows = &working.rows;
    let at = stored(moment.as_micros());
    if !rows.owners.is_empty() {
        execute(connection, owners(&rows.owners, at), "make an owner").await?;
    }
    if !rows.accounts.is_empty() {
        execute(connection, accounts(rows), "open an account").await?;
    }
    let (transfers, seal) = rows.booked(&working.head, moment);
    if let Some(seal) = seal {
        execute(connection, insert_transfers(&transfers, at), "book transfers").await?;
        execute(connection, insert_seal(seal), "seal transfers").await?;
    }
    if !rows.settlements.is_empty() {
        let insert = settlements(&rows.settlements, at);
        execute(connection, insert, "keep settlements").await?;
    }
    write_marks(connection, rows).await?;
    payouts::write(connection, rows).await?;
    write_keys(connection, rows, at).await
}

fn owners<'q>(owners: &[OwnerRow], at: i64) -> Insert<'q> {
    let texts = |text: fn(&OwnerRow) -> &String| -> Vec<String> {
        owners.iter().map(|owner| text(owner).clone()).collect()
    };
    sqlx::query(statements::INSERT_OWNERS)
        .bind(
            owners
                .iter()
                .map(|owner| stored(owner.id.get()))
                .collect::<Vec<_>>(),
        )
        .bind(texts(|owner| &owner.request_id))
        .bind(texts(|owner| &owner.display_name))
        .bind(at)
}

fn accounts<'q>(rows: &Rows) -> Insert<'q> {
    let accounts = rows.accounts.iter();
    let numbers = accounts.clone().map(|account| account.number());
    let owners = accounts
        .clone()
        .map(|account| account.owner().map(|owner| stored(owner.id().get())));
    let shards = accounts
        .clone()
        .map(|account| account.shard().map_or(0, |shard| i64::from(shard.get())));
    let kinds = accounts.map(|account| i64::from(account.kind().code()));
    sqlx::query(statements::INSERT_ACCOUNTS)
        .bind(numbers.collect::<Vec<_>>())
        .bind(owners.collect::<Vec<_>>())
        .bind(shards.collect::<Vec<_>>())
        .bind(kinds.collect::<Vec<_>>())
}

fn insert_transfers<'q>(booked: &[BookedTransfer], at: i64) -> Insert<'q> {
    let transfers = booked.iter().map(|booked| &booked.transfer);
    let numbers = booked.iter().map(|booked| stored(booked.number));
    let kinds = transfers.clone().map(|transfer| transfer.kind.name());
    let modes = transfers.clone().map(|transfer| i64::from(transfer.mode.code()));
    let pending = transfers
        .clone()
        .map(|transfer| transfer.mode.resolves().map(id_bytes));
    let jobs = transfers
        .clone()
        .map(|transfer| transfer.job.map(|job| job.get().to_be_bytes()));
    sqlx::query(statements::INSERT_TRANSFERS)
        .bind(numbers.collect::<Vec<_>>())
        .bind(
            transfers
                .clone()
                .map(|transfer| id_bytes(transfer.id))
                .collect::<Vec<_>>(),
        )
        .bind(kinds.collect::<Vec<_>>())
        .bind(modes.collect::<Vec<_>>())
        .bind(pending.collect::<Vec<_>>())
        .bind(
            transfers
                .clone()
                .map(|transfer| transfer.debit.number())
                .collect::<Vec<_>>(),
        )
        .bind(
            transfers
                .clone()
                .map(|transfer| transfer.credit.number())
                .collect::<Vec<_>>(),
        )
        .bind(
            transfers
                .clone()
                .map(|transfer| transfer.amount.as_nano())
                .collect::<Vec<_>>(),
        )
        .bind(jobs.collect::<Vec<_>>())
        .bind(
            transfers
                .map(|transfer| transfer.memo.clone())
                .collect::<Vec<_>>(),
        )
        .bind(at)
}

fn insert_seal<'q>(seal: Seal) -> Insert<'q> {
    sqlx::query(statements::INSERT_SEAL)
        .bind(stored(seal.first))
        .bind(stored(seal.through))
        .bind(seal.hash)
}

fn settlements<'q>(kept: &[(ShardSettlement, Option<KeptRefusal>)], at: i64) -> Insert<'q> {
    let claims = kept.iter().map(|(kept, _)| &kept.settlement);
    let numbers = |number: fn(&ShardSettlement) -> i64| -> Vec<i64> {
        kept.iter().map(|(settlement, _)| number(settlement)).collect()
    };
    let ids = |id: fn(&ShardSettlement) -> u64| -> Vec<[u8; 8]> {
        kept.iter()
            .map(|(settlement, _)| id(settlement).to_be_bytes())
            .collect()
    };
    let refusals = |text: fn(&KeptRefusal) -> &String| -> Vec<Option<String>> {
        kept.iter()
            .map(|(_, refusal)| refusal.as_ref().map(|refusal| text(refusal).clone()))
            .collect()
    };
    let leases = claims.clone().map(|claim| lease_bytes(claim.lease));
    let jobs = claims.clone().map(|claim| claim.job.get().to_be_bytes());
    let models = claims.clone().map(|claim| claim.model.clone());
    let liquidities = claims
        .clone()
        .map(|claim| liquidity_name(claim.bill.bid_liquidity));
    let billed = claims
        .clone()
        .map(|claim| claim.billed_before_thousandths.to_be_bytes());
    let standings = claims.map(|claim| claim.standing.name());
    sqlx::query(statements::INSERT_SETTLEMENTS)
        .bind(numbers(|kept| i64::from(kept.shard.get())))
        .bind(leases.collect::<Vec<_>>())
        .bind(numbers(|kept| stored(kept.settlement.sequence.get())))
        .bind(jobs.collect::<Vec<_>>())
        .bind(numbers(|kept| i64::from(kept.settlement.epoch.get())))
        .bind(ids(|kept| kept.settlement.consumer.get()))
        .bind(ids(|kept| kept.settlement.island_owner.get()))
        .bind(ids(|kept| kept.settlement.island.get()))
        .bind(models.collect::<Vec<_>>())
        .bind(numbers(|kept| stored(kept.settlement.price.get())))
        .bind(numbers(|kept| stored(kept.settlement.bill.units.get())))
        .bind(numbers(|kept| kept.settlement.bill.charge.as_nano()))
        .bind(numbers(|kept| kept.settlement.bill.fee.as_nano()))
        .bind(liquidities.collect::<Vec<_>>())
        .bind(numbers(|kept| kept.settlement.bill.pool_subsidy.as_nano()))
        .bind(numbers(|kept| kept.settlement.compensation.as_nano()))
        .bind(billed.collect::<Vec<_>>())
        .bind(standings.collect::<Vec<_>>())
        .bind(refusals(|refusal| &refusal.code))
        .bind(refusals(|refusal| &refusal.message))
        .bind(at)
}

/// Cursors, and where maturity has come.
async fn write_marks(connection: &mut PgConnection, rows: &Rows) -> Result<(), StoreError> {
    for (shard, sequence) in &rows.cursors {
        let advance = sqlx::query(statements::MOVE_CURSOR)
            .bind(i64::from(shard.get()))
            .bind(stored(sequence.get()));
        execute(connection, advance, "move a cursor").await?;
    }
    for (account, through) in &rows.matured {
        let advance = sqlx::query(statements::MOVE_MATURED)
            .bind(account.number())
            .bind(stored(*through));
        execute(connection, advance, "note what matured").await?;
    }
    Ok(())
}

async fn write_keys(connection: &mut PgConnection, rows: &Rows, at: i64) -> Result<(), StoreError> {
    for (id, key) in &rows.keys {
        let insert = sqlx::query(statements::INSERT_KEY)
            .bind(stored(id.get()))
            .bind(stored(key.owner.get()))
            .bind(&key.name)
            .bind(scope_name(key.scope))
            .bind(&key.prefix)
            .bind(key.secret_sha256)
            .bind(at);
        execute(connection, insert, "make a key").await?;
    }
    for id in rows.revoked.iter().copied().map(KeyId::get) {
        let revoke = sqlx::query(statements::REVOKE_KEY).bind(stored(id)).bind(at);
        execute(connection, revoke, "revoke a key").await?;
    }
    Ok(())
}
