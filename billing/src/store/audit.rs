//! Reads a whole database to the auditor, at one instant, while writers go on.

use super::auditor::Auditor;
use super::session::Session;
use super::{AuditReport, StoreError, rows, session, statements};

pub(super) async fn audit<S: Session>(session: &mut S) -> Result<AuditReport, StoreError> {
    let mut transaction = session.begin_snapshot().await?;
    let mut auditor = Auditor::default();
    for finding in transaction.check_files().await? {
        auditor.finding(format!("the database file: {finding}"));
    }
    read(&mut *transaction, &mut auditor).await?;
    transaction
        .rollback()
        .await
        .map_err(|source| S::failure("end an audit", source))?;
    Ok(auditor.finish())
}

async fn read<S: Session>(session: &mut S, auditor: &mut Auditor) -> Result<(), StoreError> {
    let every_day = vec![(-1).into(), i64::MAX.into()];
    session
        .each(
            statements::CLOSED_DAYS,
            every_day,
            "read the closed days",
            |row| auditor.closed_day(rows::closed_day(row)),
        )
        .await?;
    session
        .each(statements::ALL_MATURED, vec![], "read what matured", |row| {
            auditor.matured(rows::matured(row));
        })
        .await?;
    session
        .each(statements::ALL_TRANSFERS, vec![], "read the transfers", |row| {
            auditor.transfer(rows::sealed_transfer(row));
        })
        .await?;
    let seals = session::row(session, statements::SEAL_COUNT, vec![], "count the seals").await?;
    auditor.seals(rows::unsigned(&seals, 0)?);
    session
        .each(statements::ALL_REFUNDS, vec![], "read the refunds", |row| {
            auditor.refund(rows::refund(row));
        })
        .await?;
    session
        .each(
            statements::ALL_SETTLEMENTS,
            vec![],
            "read the settlements",
            |row| auditor.settlement(rows::kept_settlement(row)),
        )
        .await?;
    session
        .each(statements::ALL_ACCOUNTS, vec![], "read the accounts", |row| {
            auditor.account(rows::account(row));
        })
        .await?;
    session
        .each(statements::ALL_CURSORS, vec![], "read the cursors", |row| {
            auditor.cursor(rows::cursor(row));
        })
        .await
}
