//! The books, added up once more, from the transfers alone and in 128 bits.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Credits, TransferId};
use ledger::{AccountKey, Counters, Mode, Owner, TransferKind};
use sqlx::{Connection, Row, SqliteConnection};
use tokio_stream::StreamExt;

use super::{failed, rows, statements};
use crate::limits::FINDINGS_MAX;
use crate::store::plan::claim;
use crate::store::{AuditReport, BookedTransfer, StoreError};

#[derive(Default)]
struct Auditor {
    report: AuditReport,
    /// Per account: debits pending, debits posted, credits pending, credits posted.
    sums: BTreeMap<AccountKey, [i128; 4]>,
    held: BTreeSet<TransferId>,
    matured_through: BTreeMap<Owner, u64>,
    /// Per owner: earned up to where maturity has come, less what matured.
    unmatured: BTreeMap<Owner, i128>,
    by_kind: BTreeMap<TransferKind, i128>,
    last: Option<BookedTransfer>,
}

pub(super) async fn audit(connection: &mut SqliteConnection) -> Result<AuditReport, StoreError> {
    // One read transaction: all of it at one instant, while the writer goes on.
    let mut transaction = connection.begin().await.map_err(failed("begin an audit"))?;
    let mut auditor = Auditor::default();
    auditor.check_pages(&mut transaction).await?;
    auditor.read_matured(&mut transaction).await?;
    auditor.add_transfers(&mut transaction).await?;
    auditor.compare_settlements(&mut transaction).await?;
    auditor.compare_accounts(&mut transaction).await?;
    auditor.check_cursors(&mut transaction).await?;
    transaction.rollback().await.map_err(failed("end an audit"))?;
    Ok(auditor.finish())
}

impl Auditor {
    fn finding(&mut self, finding: impl Into<String>) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding.into());
        }
    }

    async fn check_pages(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let checked = sqlx::query(statements::QUICK_CHECK)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed("check the database's pages"))?;
        for row in &checked {
            let said = rows::text(row, 0)?;
            if said != "ok" {
                self.finding(format!("the database file: {said}"));
            }
        }
        let dangling = sqlx::query(statements::FOREIGN_KEY_CHECK)
            .fetch_all(connection)
            .await
            .map_err(failed("check the database's references"))?;
        for row in &dangling {
            self.finding(format!(
                "{} rows of {} refer to nothing",
                rows::int(row, 1)?,
                rows::text(row, 0)?
            ));
        }
        Ok(())
    }

    async fn read_matured(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let matured = sqlx::query(statements::ALL_MATURED)
            .fetch_all(connection)
            .await
            .map_err(failed("read what matured"))?;
        for row in &matured {
            self.matured_through
                .insert(rows::owner(row, 0)?, rows::unsigned(row, 1)?);
        }
        Ok(())
    }

    async fn add_transfers(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let mut transfers = sqlx::query(statements::ALL_TRANSFERS).fetch(connection);
        while let Some(row) = transfers.next().await {
            let row = row.map_err(failed("read the transfers"))?;
            self.report.transfers = self.report.transfers.saturating_add(1);
            match rows::transfer(&row) {
                Ok(booked) => self.add(booked),
                Err(error) => self.finding(error.to_string()),
            }
        }
        Ok(())
    }

    fn add(&mut self, booked: BookedTransfer) {
        let transfer = &booked.transfer;
        let id = transfer.id;
        let amount = i128::from(transfer.amount.as_nano());
        if amount <= 0 {
            self.finding(format!("{id} moves {amount}"));
        }
        if !transfer.kind.allows(transfer.debit, transfer.credit) {
            let (kind, debit, credit) = (transfer.kind.name(), transfer.debit, transfer.credit);
            self.finding(format!("{id}, a {kind}, goes from {debit} to {credit}"));
        }
        if self.last.as_ref().is_some_and(|last| last.at > booked.at) {
            self.finding(format!("{id} was booked before the transfer ahead of it"));
        }
        let (pending, posted) = match transfer.mode {
            Mode::Plain => (0, amount),
            Mode::Pending => {
                self.held.insert(id);
                (amount, 0)
            }
            Mode::Post(held) => {
                self.resolve(id, held);
                (-amount, amount)
            }
            Mode::Void(held) => {
                self.resolve(id, held);
                (-amount, 0)
            }
        };
        let debit = self.sums.entry(transfer.debit).or_default();
        debit[0] += pending;
        debit[1] += posted;
        let credit = self.sums.entry(transfer.credit).or_default();
        credit[2] += pending;
        credit[3] += posted;
        *self.by_kind.entry(transfer.kind).or_default() += posted;
        if let AccountKey::Pending(owner) = transfer.credit {
            let through = self.matured_through.get(&owner).copied().unwrap_or(0);
            if booked.number <= through {
                *self.unmatured.entry(owner).or_default() += posted;
            }
        }
        if let AccountKey::Pending(owner) = transfer.debit {
            *self.unmatured.entry(owner).or_default() -= posted;
        }
        self.last = Some(booked);
    }

    fn resolve(&mut self, id: TransferId, held: TransferId) {
        if !self.held.remove(&held) {
            self.finding(format!("{id} resolves {held}, which is not held"));
        }
    }

    async fn compare_settlements(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let mut expected: BTreeMap<TransferKind, i128> = BTreeMap::new();
        {
            let mut settlements = sqlx::query(statements::ALL_SETTLEMENTS).fetch(connection);
            while let Some(row) = settlements.next().await {
                let row = row.map_err(failed("read the settlements"))?;
                let (settlement, refusal) = rows::settlement(&row)?;
                if refusal.is_some() {
                    continue;
                }
                let lease = settlement.settlement.lease;
                match claim(&settlement).map(|claim| claim.legs()) {
                    Ok(Ok(legs)) => {
                        for leg in legs {
                            *expected.entry(leg.kind).or_default() += i128::from(leg.amount.as_nano());
                        }
                    }
                    Ok(Err(refusal)) => self.finding(format!("{lease} was settled, although {refusal}")),
                    Err(refusal) => {
                        self.finding(format!("{lease} was settled, although {}", refusal.message))
                    }
                }
            }
        }
        for kind in [
            TransferKind::Charge,
            TransferKind::Fee,
            TransferKind::PoolShare,
            TransferKind::Subsidy,
            TransferKind::Compensation,
        ] {
            let moved = self.by_kind.get(&kind).copied().unwrap_or(0);
            let settled = expected.get(&kind).copied().unwrap_or(0);
            if moved != settled {
                let kind = kind.name();
                self.finding(format!(
                    "{kind} transfers come to {moved}, the settlements to {settled}"
                ));
            }
        }
        Ok(())
    }

    async fn compare_accounts(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let accounts = sqlx::query(statements::ALL_ACCOUNTS)
            .fetch_all(connection)
            .await
            .map_err(failed("read the accounts"))?;
        for row in &accounts {
            self.report.accounts = self.report.accounts.saturating_add(1);
            match rows::account(row) {
                Ok((account, counters)) => self.compare(account, counters),
                Err(error) => self.finding(error.to_string()),
            }
        }
        for account in std::mem::take(&mut self.sums).into_keys() {
            self.finding(format!("{account} has transfers and does not exist"));
        }
        if self.report.sum != 0 {
            self.finding(format!("the accounts add up to {}", self.report.sum));
        }
        for (owner, rest) in std::mem::take(&mut self.unmatured) {
            if rest != 0 {
                self.finding(format!(
                    "what matured for {owner:?} is {rest} off what he had earned"
                ));
            }
        }
        Ok(())
    }

    fn compare(&mut self, account: AccountKey, counters: Counters) {
        let kept = [
            counters.debits_pending(),
            counters.debits_posted(),
            counters.credits_pending(),
            counters.credits_posted(),
        ]
        .map(|counter| i128::from(counter.as_nano()));
        let summed = self.sums.remove(&account).unwrap_or_default();
        if kept != summed {
            self.finding(format!("{account} keeps {kept:?}, its transfers make {summed:?}"));
        }
        if !account.kind().may_owe() && kept[3] < kept[1] + kept[0] {
            self.finding(format!("{account} owes"));
        }
        let balance = counters.balance();
        self.report.sum += i128::from(balance.as_nano());
        match account {
            AccountKey::Fees => self.report.fees = balance,
            AccountKey::Pool => self.report.pool = balance,
            AccountKey::Reserved(owner, shard) if balance != Credits::ZERO => {
                self.report.reserved.push((owner.id(), shard, balance));
            }
            AccountKey::Available(_)
            | AccountKey::Reserved(..)
            | AccountKey::Pending(_)
            | AccountKey::Grants
            | AccountKey::Payouts => {}
        }
    }

    async fn check_cursors(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let cursors = sqlx::query(statements::ALL_CURSORS)
            .fetch_all(connection)
            .await
            .map_err(failed("read the cursors"))?;
        for row in &cursors {
            let shard: i64 = row.try_get(0).map_err(failed("read the cursors"))?;
            if rows::shard(row, 0).is_err() || rows::unsigned(row, 1).is_err() {
                self.finding(format!("the cursor of shard {shard} makes no sense"));
            }
        }
        Ok(())
    }

    fn finish(self) -> AuditReport {
        self.report
    }
}
