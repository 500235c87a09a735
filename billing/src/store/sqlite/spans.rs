//! What was booked and settled in a span of time, for statements.

use domain::{AccountId, Credits, IslandId, Timestamp};
use ledger::Owner;

use super::{SqliteStore, failed, statements};
use crate::store::{BookedTransfer, Settled, Span, StoreError, rows};

impl SqliteStore {
    pub(super) async fn find_booked(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Option<(Credits, Vec<BookedTransfer>)>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        if !self.owner_exists(owner).await? {
            return Ok(None);
        }
        let worth = sqlx::query(statements::WORTH_BEFORE)
            .bind(rows::stored(owner.id().get()))
            .bind(rows::stored(span.from.as_micros()))
            .fetch_one(&self.readers)
            .await
            .map_err(failed("add up transfers"))?;
        let transfers = sqlx::query(statements::BOOKED_BETWEEN)
            .bind(rows::stored(owner.id().get()))
            .bind(rows::stored(span.from.as_micros()))
            .bind(rows::stored(span.until.as_micros()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list transfers"))?;
        let transfers = transfers.iter().map(rows::transfer).collect::<Result<_, _>>()?;
        Ok(Some((Credits::from_nano(rows::int(&worth, 0)?), transfers)))
    }

    pub(super) async fn find_settled(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Settled>, StoreError> {
        let settled = sqlx::query(statements::SETTLED_BETWEEN)
            .bind(rows::stored(span.from.as_micros()))
            .bind(rows::stored(span.until.as_micros()))
            .bind(owner.get().to_be_bytes().to_vec())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list settlements"))?;
        settled.iter().map(rows::settled).collect()
    }

    pub(super) async fn sum_earned(
        &self,
        owner: AccountId,
        island: IslandId,
        until: Timestamp,
    ) -> Result<Credits, StoreError> {
        let earned = sqlx::query(statements::EARNED_BEFORE)
            .bind(island.get().to_be_bytes().to_vec())
            .bind(owner.get().to_be_bytes().to_vec())
            .bind(rows::stored(until.as_micros()))
            .fetch_one(&self.readers)
            .await
            .map_err(failed("add up earnings"))?;
        Ok(Credits::from_nano(rows::int(&earned, 0)?))
    }
}
