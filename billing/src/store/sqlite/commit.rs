//! One batch, one transaction: load what it touches, decide, write.

use std::collections::BTreeSet;

use domain::{KeyId, Sequence, Timestamp};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, SqliteConnection};

use super::{failed, payouts, rows as json, statements};
use crate::store::plan::{Head, Needs, OwnerRow, Rows, Working};
use crate::store::seal::Seal;
use crate::store::{BookedTransfer, Change, Outcome, StoreError, rows};

pub(super) async fn commit(
    connection: &mut SqliteConnection,
    changes: &[Change],
    now: Timestamp,
) -> Result<Vec<Outcome>, StoreError> {
    // The write lock is taken at once, so what is read stays true until the commit.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed("begin a transaction"))?;
    let mut working = load(&mut transaction, Needs::of(changes)).await?;
    let outcomes = changes.iter().map(|change| working.apply(change)).collect();
    write(&mut transaction, &working, now).await?;
    transaction.commit().await.map_err(failed("commit"))?;
    Ok(outcomes)
}

/// Values as the one JSON parameter that a statement takes.
pub(super) fn list<T: Serialize>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<T> = values.into_iter().collect();
    serde_json::to_string(&values).expect("numbers and texts are JSON")
}

/// Fetches the rows that a list asks for; none for an empty one.
pub(super) async fn fetch(
    connection: &mut SqliteConnection,
    statement: &'static str,
    wanted: String,
) -> Result<Vec<SqliteRow>, StoreError> {
    if wanted == "[]" {
        return Ok(Vec::new());
    }
    sqlx::query(statement)
        .bind(wanted)
        .fetch_all(connection)
        .await
        .map_err(failed("read the books"))
}

/// Where the books end.
async fn head(connection: &mut SqliteConnection) -> Result<Head, StoreError> {
    let row = sqlx::query(statements::COUNTS)
        .fetch_one(connection)
        .await
        .map_err(failed("read the books"))?;
    rows::head(&row)
}

async fn load(connection: &mut SqliteConnection, mut needs: Needs) -> Result<Working, StoreError> {
    let mut working = Working {
        head: head(connection).await?,
        ..Working::default()
    };
    payouts::load(connection, &mut needs, &mut working).await?;
    let accounts = list(needs.accounts.iter().map(|account| account.number()));
    for row in fetch(connection, statements::ACCOUNTS, accounts).await? {
        let (account, counters) = rows::account(&row)?;
        working.ledger.load_account(account, counters);
    }
    let transfers = list(needs.transfers.iter().map(|id| json::transfer_id_hex(*id)));
    for row in fetch(connection, statements::TRANSFERS, transfers).await? {
        working.ledger.load_transfer(rows::transfer(&row)?.transfer);
    }
    let settlements = needs.settlements.iter();
    let settlements = list(settlements.map(|(shard, lease)| (shard.get(), json::lease_hex(*lease))));
    for row in fetch(connection, statements::SETTLEMENTS, settlements).await? {
        let (settlement, refusal) = rows::settlement(&row)?;
        let key = (settlement.shard, settlement.settlement.lease);
        working.settlements.insert(key, (settlement, refusal));
    }
    let shards = list(needs.shards.iter().map(|shard| shard.get()));
    for row in fetch(connection, statements::CURSORS, shards).await? {
        let sequence = Sequence::new(rows::unsigned(&row, 1)?);
        working.cursors.insert(rows::shard(&row, 0)?, sequence);
    }
    load_people(connection, &needs, &mut working).await?;
    Ok(working)
}

async fn load_people(
    connection: &mut SqliteConnection,
    needs: &Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    let keys = list(needs.keys.iter().filter_map(|key| i64::try_from(key.get()).ok()));
    for row in fetch(connection, statements::KEYS, keys).await? {
        let key = KeyId::new(rows::unsigned(&row, 0)?);
        working.keys.insert(key, rows::optional_time(&row, 1)?);
    }
    let requests = list(needs.requests.iter());
    for row in fetch(connection, statements::OWNERS_BY_REQUEST, requests).await? {
        let owner = OwnerRow {
            id: rows::owner(&row, 0)?.id(),
            request_id: rows::text(&row, 1)?,
            display_name: rows::text(&row, 2)?,
        };
        working.owners.insert(owner.request_id.clone(), owner);
    }
    let maturing = list(needs.maturing.iter().map(|account| account.number()));
    for row in fetch(connection, statements::MATURED, maturing).await? {
        working
            .matured
            .insert(rows::account_key(&row, 0)?, rows::unsigned(&row, 1)?);
    }
    Ok(())
}

async fn write(
    connection: &mut SqliteConnection,
    working: &Working,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows = &working.rows;
    // Time never runs backwards in the books, whatever the clock does.
    let moment = now.max(working.head.at);
    let at = rows::stored(moment.as_micros());
    for owner in &rows.owners {
        let insert = sqlx::query(statements::INSERT_OWNER)
            .bind(rows::stored(owner.id.get()))
            .bind(&owner.request_id)
            .bind(&owner.display_name)
            .bind(at);
        insert
            .execute(&mut *connection)
            .await
            .map_err(failed("make an owner"))?;
    }
    for account in &rows.accounts {
        let insert = sqlx::query(statements::INSERT_ACCOUNT)
            .bind(account.number())
            .bind(account.owner().map(|owner| rows::stored(owner.id().get())))
            .bind(account.shard().map_or(0, |shard| i64::from(shard.get())))
            .bind(i64::from(account.kind().code()));
        insert
            .execute(&mut *connection)
            .await
            .map_err(failed("open an account"))?;
    }
    let (transfers, seal) = rows.booked(&working.head, moment);
    write_transfers(connection, &transfers, seal, at).await?;
    write_books(connection, rows, at).await?;
    payouts::write(connection, rows).await?;
    write_keys(connection, rows, at).await
}

async fn write_transfers(
    connection: &mut SqliteConnection,
    transfers: &[BookedTransfer],
    seal: Option<Seal>,
    at: i64,
) -> Result<(), StoreError> {
    let Some(seal) = seal else { return Ok(()) };
    let insert = sqlx::query(statements::INSERT_TRANSFERS)
        .bind(list(transfers.iter().map(json::transfer_json)))
        .bind(at);
    insert
        .execute(&mut *connection)
        .await
        .map_err(failed("book transfers"))?;
    insert_seal(connection, seal).await
}

/// Keeps a seal.
pub(super) async fn insert_seal(connection: &mut SqliteConnection, seal: Seal) -> Result<(), StoreError> {
    let insert = sqlx::query(statements::INSERT_SEAL)
        .bind(rows::stored(seal.first))
        .bind(rows::stored(seal.through))
        .bind(seal.hash.as_slice());
    insert
        .execute(connection)
        .await
        .map_err(failed("seal transfers"))?;
    Ok(())
}

async fn write_books(connection: &mut SqliteConnection, rows: &Rows, at: i64) -> Result<(), StoreError> {
    if !rows.settlements.is_empty() {
        let settlements = rows.settlements.iter();
        let settlements = list(
            settlements.map(|(settlement, refusal)| json::settlement_json(settlement, refusal.as_ref())),
        );
        let insert = sqlx::query(statements::INSERT_SETTLEMENTS)
            .bind(settlements)
            .bind(at);
        insert
            .execute(&mut *connection)
            .await
            .map_err(failed("keep settlements"))?;
    }
    for (shard, sequence) in &rows.cursors {
        let advance = sqlx::query(statements::MOVE_CURSOR)
            .bind(i64::from(shard.get()))
            .bind(rows::stored(sequence.get()));
        advance
            .execute(&mut *connection)
            .await
            .map_err(failed("move a cursor"))?;
    }
    for (account, through) in &rows.matured {
        let advance = sqlx::query(statements::MOVE_MATURED)
            .bind(account.number())
            .bind(rows::stored(*through));
        advance
            .execute(&mut *connection)
            .await
            .map_err(failed("note what matured"))?;
    }
    Ok(())
}

async fn write_keys(connection: &mut SqliteConnection, rows: &Rows, at: i64) -> Result<(), StoreError> {
    for (id, key) in &rows.keys {
        let insert = sqlx::query(statements::INSERT_KEY)
            .bind(rows::stored(id.get()))
            .bind(rows::stored(key.owner.get()))
            .bind(&key.name)
            .bind(rows::scope_name(key.scope))
            .bind(&key.prefix)
            .bind(key.secret_sha256.as_slice())
            .bind(at);
        insert
            .execute(&mut *connection)
            .await
            .map_err(failed("make a key"))?;
    }
    let revoked: BTreeSet<KeyId> = rows.revoked.iter().copied().collect();
    for id in revoked {
        let revoke = sqlx::query(statements::REVOKE_KEY)
            .bind(rows::stored(id.get()))
            .bind(at);
        revoke
            .execute(&mut *connection)
            .await
            .map_err(failed("revoke a key"))?;
    }
    Ok(())
}
