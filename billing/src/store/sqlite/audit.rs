//! Reads the whole file to the auditor.

use sqlx::{Connection, SqliteConnection};
use tokio_stream::StreamExt;

use super::{failed, statements};
use crate::store::auditor::Auditor;
use crate::store::{AuditReport, StoreError, rows};

pub(super) async fn audit(connection: &mut SqliteConnection) -> Result<AuditReport, StoreError> {
    // One read transaction: all of it at one instant, while the writer goes on.
    let mut transaction = connection.begin().await.map_err(failed("begin an audit"))?;
    let mut auditor = Auditor::default();
    check_pages(&mut transaction, &mut auditor).await?;
    read_matured(&mut transaction, &mut auditor).await?;
    read_transfers(&mut transaction, &mut auditor).await?;
    read_settlements(&mut transaction, &mut auditor).await?;
    read_accounts(&mut transaction, &mut auditor).await?;
    check_cursors(&mut transaction, &mut auditor).await?;
    transaction.rollback().await.map_err(failed("end an audit"))?;
    Ok(auditor.finish())
}

async fn check_pages(connection: &mut SqliteConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    let checked = sqlx::query(statements::QUICK_CHECK)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed("check the database's pages"))?;
    for row in &checked {
        let said = rows::text(row, 0)?;
        if said != "ok" {
            auditor.finding(format!("the database file: {said}"));
        }
    }
    let dangling = sqlx::query(statements::FOREIGN_KEY_CHECK)
        .fetch_all(connection)
        .await
        .map_err(failed("check the database's references"))?;
    for row in &dangling {
        auditor.finding(format!(
            "{} rows of {} refer to nothing",
            rows::int(row, 1)?,
            rows::text(row, 0)?
        ));
    }
    Ok(())
}

async fn read_matured(connection: &mut SqliteConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    let matured = sqlx::query(statements::ALL_MATURED)
        .fetch_all(connection)
        .await
        .map_err(failed("read what matured"))?;
    for row in &matured {
        auditor.matured(rows::account_key(row, 0)?, rows::unsigned(row, 1)?);
    }
    Ok(())
}

async fn read_transfers(connection: &mut SqliteConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
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

async fn read_settlements(
    connection: &mut SqliteConnection,
    auditor: &mut Auditor,
) -> Result<(), StoreError> {
    {
        let mut settlements = sqlx::query(statements::ALL_SETTLEMENTS).fetch(&mut *connection);
        while let Some(row) = settlements.next().await {
            let row = row.map_err(failed("read the settlements"))?;
            let (settlement, refusal) = rows::settlement(&row)?;
            auditor.settlement(&settlement, refusal.as_ref(), rows::settled_on(&row)?);
        }
    }
    let days = sqlx::query(statements::CLOSED_DAYS)
        .bind(-1)
        .bind(i64::MAX)
        .fetch_all(connection)
        .await
        .map_err(failed("read the closed days"))?;
    for row in &days {
        auditor.closed_day(rows::closed_day(row)?);
    }
    Ok(())
}

async fn read_accounts(connection: &mut SqliteConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
    let mut accounts = sqlx::query(statements::ALL_ACCOUNTS).fetch(connection);
    while let Some(row) = accounts.next().await {
        let row = row.map_err(failed("read the accounts"))?;
        auditor.account(rows::account(&row));
    }
    Ok(())
}

async fn check_cursors(connection: &mut SqliteConnection, auditor: &mut Auditor) -> Result<(), StoreError> {
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
