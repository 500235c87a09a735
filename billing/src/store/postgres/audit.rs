//! Reads the whole database to the auditor.

use sqlx::{Connection, PgConnection};
use tokio_stream::StreamExt;

use super::{failed, statements};
use crate::store::auditor::Auditor;
use crate::store::{AuditReport, StoreError, rows};

pub(super) async fn audit(connection: &mut PgConnection) -> Result<AuditReport, StoreError> {
    // One snapshot: all of it at one instant, while writers go on.
    let mut transaction = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(failed("begin an audit"))?;
    let mut auditor = Auditor::default();
    read_matured(&mut transaction, &mut auditor).await?;
    read_transfers(&mut transaction, &mut auditor).await?;
    read_settlements(&mut transaction, &mut auditor).await?;
    read_accounts(&mut transaction, &mut auditor).await?;
    check_cursors(&mut transaction, &mut auditor).await?;
    transaction.rollback().await.map_err(failed("end an audit"))?;
    Ok(auditor.finish())
}

async fn read_matured(connection: &mut PgConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    let matured = sqlx::query(statements::ALL_MATURED)
        .fetch_all(connection)
        .await
        .map_err(failed("read what matured"))?;
    for row in &matured {
        auditor.matured(rows::account_key(row, 0)?, rows::unsigned(row, 1)?);
    }
    Ok(())
}

async fn read_transfers(connection: &mut PgConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    {
        let mut transfers = sqlx::query(statements::ALL_TRANSFERS).fetch(&mut *connection);
        while let Some(row) = transfers.next().await {
            let row = row.map_err(failed("read the transfers"))?;
            auditor.transfer(rows::sealed_transfer(&row));
        }
    }
    let seals = sqlx::query(statements::SEAL_COUNT)
        .fetch_one(connection)
        .await
        .map_err(failed("count the seals"))?;
    auditor.seals(rows::unsigned(&seals, 0)?);
    Ok(())
}

async fn read_settlements(connection: &mut PgConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    {
        let mut settlements = sqlx::query(statements::ALL_SETTLEMENTS).fetch(&mut *connection);
        while let Some(row) = settlements.next().await {
            let row = row.map_err(failed("read the settlements"))?;
            let (settlement, refusal) = rows::settlement(&row)?;
            auditor.settlement(&settlement, refusal.as_ref(), rows::settled_on(&row)?);
        }
    }
    let days = sqlx::query(statements::CLOSED_DAYS)
        .bind(-1i64)
        .bind(i64::MAX)
        .fetch_all(connection)
        .await
        .map_err(failed("read the closed days"))?;
    for row in &days {
        auditor.closed_day(rows::closed_day(row)?);
    }
    Ok(())
}

async fn read_accounts(connection: &mut PgConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    let mut accounts = sqlx::query(statements::ALL_ACCOUNTS).fetch(connection);
    while let Some(row) = accounts.next().await {
        let row = row.map_err(failed("read the accounts"))?;
        auditor.account(rows::account(&row));
    }
    Ok(())
}

async fn check_cursors(connection: &mut PgConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    let cursors = sqlx::query(statements::ALL_CURSORS)
        .fetch_all(connection)
        .await
        .map_err(failed("read the cursors"))?;
    for row in &cursors {
        let shard = rows::int(row, 0)?;
        if rows::shard(row, 0).is_err() || rows::unsigned(row, 1).is_err() {
            auditor.finding(format!("the cursor of shard {shard} makes no sense"));
        }
    }
    Ok(())
}
