//! Payouts: what a batch needs of them, what it writes, and what is asked about them.

use domain::{AccountId, Timestamp, TransferId};
use sqlx::PgConnection;

use super::commit::{fetch, id_bytes};
use super::{PostgresStore, failed, statements};
use crate::limits::PAYOUT_MIN;
use crate::store::merkle::Day;
use crate::store::payout::{Payable, Payout, PayoutFilter};
use crate::store::plan::{Needs, Rows, Working};
use crate::store::{StoreError, rows};

/// Loads the payouts and what their owners were paid, and notes which accounts are needed with them.
pub(super) async fn load(
    connection: &mut PgConnection,
    needs: &mut Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    let ids: Vec<[u8; 16]> = needs.payouts.iter().copied().map(id_bytes).collect();
    for row in fetch(connection, statements::PAYOUTS_BY_ID, ids).await? {
        let (_, payout) = rows::payout(&row)?;
        working.payouts.insert(payout.transfer, payout);
    }
    needs.add_payees(working.payouts.values().map(|payout| payout.owner));
    let payees: Vec<i64> = needs
        .payees
        .iter()
        .map(|owner| rows::stored(owner.id().get()))
        .collect();
    for row in fetch(connection, statements::PAID_OUT, payees).await? {
        let (owner, paid_out) = rows::paid_out(&row)?;
        working.paid_out.insert(owner, paid_out);
    }
    Ok(())
}

/// Writes payouts as they are now, behind their transfers.
pub(super) async fn write(connection: &mut PgConnection, rows: &Rows) -> Result<(), StoreError> {
    for payout in rows.payouts.values() {
        let save = sqlx::query(statements::SAVE_PAYOUT)
            .bind(id_bytes(payout.transfer))
            .bind(rows::stored(payout.owner.id().get()))
            .bind(&payout.destination)
            .bind(payout.amount.as_nano())
            .bind(payout.cause.name())
            .bind(i64::from(payout.day.get()))
            .bind(payout.state.name())
            .bind(&payout.approved_by)
            .bind(i64::from(payout.attempts))
            .bind(rows::stored(payout.retry_at.as_micros()))
            .bind(&payout.note);
        save.execute(&mut *connection)
            .await
            .map_err(failed("keep a payout"))?;
    }
    for (owner, destination) in &rows.destinations {
        let save = sqlx::query(statements::SAVE_DESTINATION)
            .bind(rows::stored(owner.id().get()))
            .bind(destination);
        save.execute(&mut *connection)
            .await
            .map_err(failed("keep a destination"))?;
    }
    Ok(())
}

impl PostgresStore {
    pub(super) async fn find_payout(&self, id: TransferId) -> Result<Option<Payout>, StoreError> {
        let id = vec![id_bytes(id)];
        let row = sqlx::query(statements::PAYOUTS_BY_ID)
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("look for a payout"))?;
        row.as_ref()
            .map(|row| rows::payout(row).map(|(_, payout)| payout))
            .transpose()
    }

    pub(super) async fn list_payouts(
        &self,
        filter: PayoutFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Payout)>, StoreError> {
        let owner = filter.owner.map(|owner| rows::stored(owner.get()));
        let state = filter.state.map(|state| state.name());
        let before = before.map_or(i64::MAX, rows::stored);
        let limit = i64::from(limit);
        let ask = |statement| sqlx::query(statement).bind(before).bind(limit);
        let query = match (owner, state) {
            (None, None) => ask(statements::PAYOUTS),
            (Some(owner), None) => ask(statements::PAYOUTS_OF_OWNER).bind(owner),
            (None, Some(state)) => ask(statements::PAYOUTS_IN_STATE).bind(state),
            (Some(owner), Some(state)) => ask(statements::PAYOUTS_OF_OWNER_IN_STATE).bind(owner).bind(state),
        };
        let payouts = query
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list payouts"))?;
        payouts.iter().map(rows::payout).collect()
    }

    pub(super) async fn find_payouts_to_send(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Payout>, StoreError> {
        let payouts = sqlx::query(statements::PAYOUTS_TO_SEND)
            .bind(rows::stored(now.as_micros()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("look for payouts to send"))?;
        payouts
            .iter()
            .map(|row| rows::payout(row).map(|(_, payout)| payout))
            .collect()
    }

    pub(super) async fn find_weekly_payable(
        &self,
        since: Day,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Payable>, StoreError> {
        let payable = sqlx::query(statements::WEEKLY_PAYABLE)
            .bind(after.map_or(0, |after| rows::stored(after.get())))
            .bind(i64::from(since.get()))
            .bind(PAYOUT_MIN.as_nano())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("look for earnings to pay out"))?;
        payable.iter().map(rows::payable).collect()
    }
}
