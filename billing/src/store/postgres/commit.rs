//! One batch, one transaction: take the pen, load what the batch touches, decide, write.

use domain::{KeyId, LeaseId, Sequence, Timestamp, TransferId};
use ledger::AccountKey;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::{begin_writing, failed, insert, payouts, statements};
use crate::store::plan::{Needs, OwnerRow, Working};
use crate::store::{Change, Outcome, StoreError, rows};

pub(super) async fn commit(
    connection: &mut PgConnection,
    changes: &[Change],
    now: Timestamp,
) -> Result<Vec<Outcome>, StoreError> {
    let mut transaction = begin_writing(connection).await?;
    let mut working = load(&mut transaction, Needs::of(changes)).await?;
    let outcomes = changes.iter().map(|change| working.apply(change)).collect();
    // Time never runs backwards in the books, whatever the clock does.
    let at = now.max(working.head.at);
    insert::write(&mut transaction, &working, at).await?;
    transaction.commit().await.map_err(failed("commit"))?;
    Ok(outcomes)
}

/// Fetches the rows that a list asks for; none for an empty one.
pub(super) async fn fetch<T>(
    connection: &mut PgConnection,
    statement: &'static str,
    wanted: Vec<T>,
) -> Result<Vec<PgRow>, StoreError>
where
    T: Send,
    Vec<T>: for<'q> sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(statement)
        .bind(wanted)
        .fetch_all(connection)
        .await
        .map_err(failed("read the books"))
}

async fn load(connection: &mut PgConnection, mut needs: Needs) -> Result<Working, StoreError> {
    let counts = sqlx::query(statements::COUNTS)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed("read the books"))?;
    let mut working = Working {
        head: rows::head(&counts)?,
        ..Working::default()
    };
    payouts::load(connection, &mut needs, &mut working).await?;
    let accounts: Vec<i64> = needs.accounts.iter().map(|account| account.number()).collect();
    for row in fetch(connection, statements::ACCOUNTS, accounts).await? {
        let (account, counters) = rows::account(&row)?;
        working.ledger.load_account(account, counters);
    }
    let transfers: Vec<[u8; 16]> = needs.transfers.iter().copied().map(id_bytes).collect();
    for row in fetch(connection, statements::TRANSFERS, transfers).await? {
        working.ledger.load_transfer(rows::transfer(&row)?.transfer);
    }
    load_settlements(connection, &needs, &mut working).await?;
    load_people(connection, &needs, &mut working).await?;
    Ok(working)
}

async fn load_settlements(
    connection: &mut PgConnection,
    needs: &Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    if !needs.settlements.is_empty() {
        let wanted = needs.settlements.iter().copied();
        let (shards, leases): (Vec<i64>, Vec<[u8; 8]>) = wanted
            .map(|(shard, lease)| (i64::from(shard.get()), lease_bytes(lease)))
            .unzip();
        let kept = sqlx::query(statements::SETTLEMENTS)
            .bind(shards)
            .bind(leases)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed("read the settlements"))?;
        for row in &kept {
            let (settlement, refusal) = rows::settlement(row)?;
            let key = (settlement.shard, settlement.settlement.lease);
            working.settlements.insert(key, (settlement, refusal));
        }
    }
    let shards: Vec<i64> = needs.shards.iter().map(|shard| i64::from(shard.get())).collect();
    for row in fetch(connection, statements::CURSORS, shards).await? {
        let sequence = Sequence::new(rows::unsigned(&row, 1)?);
        working.cursors.insert(rows::shard(&row, 0)?, sequence);
    }
    Ok(())
}

async fn load_people(
    connection: &mut PgConnection,
    needs: &Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    let keys = needs.keys.iter().filter_map(|key| i64::try_from(key.get()).ok());
    for row in fetch(connection, statements::KEYS, keys.collect::<Vec<i64>>()).await? {
        let key = KeyId::new(rows::unsigned(&row, 0)?);
        working.keys.insert(key, rows::optional_time(&row, 1)?);
    }
    let requests: Vec<String> = needs.requests.iter().cloned().collect();
    for row in fetch(connection, statements::OWNERS_BY_REQUEST, requests).await? {
        let owner = OwnerRow {
            id: rows::owner(&row, 0)?.id(),
            request_id: rows::text(&row, 1)?,
            display_name: rows::text(&row, 2)?,
        };
        working.owners.insert(owner.request_id.clone(), owner);
    }
    let maturing: Vec<i64> = needs.maturing.iter().copied().map(AccountKey::number).collect();
    for row in fetch(connection, statements::MATURED, maturing).await? {
        working
            .matured
            .insert(rows::account_key(&row, 0)?, rows::unsigned(&row, 1)?);
    }
    Ok(())
}

pub(super) const fn id_bytes(id: TransferId) -> [u8; 16] {
    id.get().to_be_bytes()
}

pub(super) const fn lease_bytes(lease: LeaseId) -> [u8; 8] {
    lease.get().to_be_bytes()
}
