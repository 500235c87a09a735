//! Closing a day: the root over its settlements.

use domain::Timestamp;
use sqlx::PgConnection;
use tokio_stream::StreamExt;

use super::{begin_writing, failed, statements};
use crate::store::merkle::{Day, Tree, leaf};
use crate::store::{ClosedDay, StoreError, rows};

pub(super) async fn close(
    connection: &mut PgConnection,
    day: Day,
    now: Timestamp,
) -> Result<ClosedDay, StoreError> {
    let mut transaction = begin_writing(connection).await?;
    let number = i64::from(day.get());
    let closed = sqlx::query(statements::CLOSED_DAY)
        .bind(number)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed("look for a closed day"))?;
    if let Some(row) = closed {
        return rows::closed_day(&row);
    }
    let mut tree = Tree::default();
    {
        let mut settlements = sqlx::query(statements::SETTLEMENTS_OF_DAY)
            .bind(rows::stored(day.start().as_micros()))
            .bind(rows::stored(day.end().as_micros()))
            .fetch(&mut *transaction);
        while let Some(row) = settlements.next().await {
            let row = row.map_err(failed("read a day's settlements"))?;
            let (settlement, refusal) = rows::settlement(&row)?;
            tree.add(&leaf(&settlement, refusal.as_ref()));
        }
    }
    let closed = ClosedDay {
        day,
        settlements: tree.leaves(),
        root: tree.root(),
    };
    let insert = sqlx::query(statements::CLOSE_DAY)
        .bind(number)
        .bind(rows::stored(closed.settlements))
        .bind(closed.root)
        .bind(rows::stored(now.as_micros()));
    insert
        .execute(&mut *transaction)
        .await
        .map_err(failed("close a day"))?;
    transaction.commit().await.map_err(failed("commit"))?;
    Ok(closed)
}
