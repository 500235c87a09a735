//! Closing a day: the root over its settlements.
//!
//! The day is fenced first: from then on nothing can be booked in it. So it can be read beside the writer, however long
//! that takes, and the writer is held for two short transactions only. A crash in between leaves the fence, and the day is
//! closed later with the same root.

use domain::Timestamp;

use super::merkle::{Day, Tree, leaf};
use super::rows::{self, stored};
use super::session::{self, Backend, Session, Value};
use super::{ClosedDay, StoreError, statements};

pub(super) async fn close<B: Backend>(store: &B, day: Day, now: Timestamp) -> Result<ClosedDay, StoreError> {
    if let Some(closed) = closed(&mut *store.reader().await?, day).await? {
        return Ok(closed);
    }
    fence(&mut *store.writer().await?, day).await?;
    let tree = read(&mut *store.reader().await?, day).await?;
    keep(&mut *store.writer().await?, day, &tree, now).await?;
    let kept = closed(&mut *store.reader().await?, day).await?;
    kept.ok_or_else(|| StoreError::Damaged {
        what: format!("day {} was closed and is not", day.get()),
    })
}

async fn closed<S: Session>(session: &mut S, day: Day) -> Result<Option<ClosedDay>, StoreError> {
    let rows = session
        .rows(statements::CLOSED_DAY, number(day), "look for a closed day")
        .await?;
    rows.first().map(rows::closed_day).transpose()
}

fn number(day: Day) -> Vec<Value> {
    vec![i64::from(day.get()).into()]
}

async fn fence<S: Session>(session: &mut S, day: Day) -> Result<(), StoreError> {
    let mut transaction = session.begin_writing().await?;
    transaction
        .execute(statements::FENCE_DAY, number(day), "fence a day")
        .await?;
    session::commit::<S>(transaction).await
}

async fn read<S: Session>(session: &mut S, day: Day) -> Result<Tree, StoreError> {
    let span = vec![
        stored(day.start().as_micros()).into(),
        stored(day.end().as_micros()).into(),
    ];
    let mut tree = Tree::default();
    let mut unreadable = None;
    let take = |row: &S::Row| match rows::settlement(row) {
        Ok((settlement, refusal)) => tree.add(&leaf(&settlement, refusal.as_ref())),
        Err(error) => unreadable = Some(error),
    };
    let doing = "read a day's settlements";
    session
        .each(statements::SETTLEMENTS_OF_DAY, span, doing, take)
        .await?;
    unreadable.map_or(Ok(tree), Err)
}

async fn keep<S: Session>(session: &mut S, day: Day, tree: &Tree, now: Timestamp) -> Result<(), StoreError> {
    let mut transaction = session.begin_writing().await?;
    // Another billing may have closed it meanwhile: with the same root, for the day was fenced.
    if closed(&mut *transaction, day).await?.is_none() {
        let values = vec![
            i64::from(day.get()).into(),
            stored(tree.leaves()).into(),
            tree.root().as_slice().into(),
            stored(now.as_micros()).into(),
        ];
        transaction
            .execute(statements::CLOSE_DAY, values, "close a day")
            .await?;
    }
    session::commit::<S>(transaction).await
}
