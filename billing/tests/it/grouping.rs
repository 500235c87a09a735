//! The writer: groups, bisection, order, back-pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use billing::limits::QUEUE_MAX;
use billing::store::key::KeyRecord;
use billing::store::merkle::Day;
use billing::store::payout::{Payable, Payout, PayoutFilter};
use billing::store::refund::Refund;
use billing::store::reset::{Participation, Reset};
use billing::store::usage::{UsageQuestion, UsageSum};
use billing::store::{
    AuditReport, Balances, BookedTransfer, Change, ClosedDay, Durability, LedgerStore, Maturing, Outcome,
    ReservationRecord, Settled, Span, StoreError,
};
use billing::writer::{self, WriteError, WriterHandle};
use domain::{
    AccountId, Credits, IslandId, JobId, KeyId, LeaseId, Sequence, ShardId, Standing, Timestamp, TransferId,
};
use ledger::Owner;
use service::shutdown::Shutdown;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::support::{SHARD, at, books, grant, postgres, settle, settlement};
use crate::syncs;
use proto::convert::billing::SpendingTotal;

/// A store that counts its commits and waits for leave before each.
struct Gated<S> {
    inner: Arc<S>,
    gate: Semaphore,
    entered: AtomicUsize,
    commits: AtomicUsize,
}

impl<S> Gated<S> {
    fn new(inner: Arc<S>, open: usize) -> Arc<Self> {
        Arc::new(Self {
            inner,
            gate: Semaphore::new(open),
            entered: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
        })
    }

    fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }
}

impl<S: LedgerStore> LedgerStore for Gated<S> {
    async fn commit(&self, changes: &[Change], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(changes, now).await
    }

    async fn key_by_hash(&self, secret_sha256: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.key_by_hash(secret_sha256).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.key(id).await
    }

    async fn spending(
        &self,
        line: KeyId,
        day: u32,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, SpendingTotal)>, StoreError> {
        self.inner.spending(line, day, after, limit).await
    }

    async fn keys_of(&self, owner: AccountId) -> Result<Option<Vec<KeyRecord>>, StoreError> {
        self.inner.keys_of(owner).await
    }

    async fn balances(&self, owner: AccountId) -> Result<Option<Balances>, StoreError> {
        self.inner.balances(owner).await
    }

    async fn history(
        &self,
        owner: AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Option<Vec<BookedTransfer>>, StoreError> {
        self.inner.history(owner, before, limit).await
    }

    async fn reservations(
        &self,
        shard: ShardId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ReservationRecord>, StoreError> {
        self.inner.reservations(shard, after, limit).await
    }

    async fn cursor(&self, shard: ShardId) -> Result<Sequence, StoreError> {
        self.inner.cursor(shard).await
    }

    async fn reserved_balances(
        &self,
        shard: ShardId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<(AccountId, Credits)>, StoreError> {
        self.inner.reserved_balances(shard, after, limit).await
    }

    async fn due(
        &self,
        standing: Standing,
        cutoff: Timestamp,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Maturing>, StoreError> {
        self.inner.due(standing, cutoff, after, limit).await
    }

    async fn first_open_day(&self) -> Result<Option<Day>, StoreError> {
        self.inner.first_open_day().await
    }

    async fn close_day(&self, day: Day, now: Timestamp) -> Result<ClosedDay, StoreError> {
        self.inner.close_day(day, now).await
    }

    async fn closed_days(&self, after: Option<Day>, limit: u32) -> Result<Vec<ClosedDay>, StoreError> {
        self.inner.closed_days(after, limit).await
    }

    async fn booked_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Option<(Credits, Vec<BookedTransfer>)>, StoreError> {
        self.inner.booked_between(owner, span, limit).await
    }

    async fn settled_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Settled>, StoreError> {
        self.inner.settled_between(owner, span, limit).await
    }

    async fn usage(
        &self,
        owner: AccountId,
        question: &UsageQuestion,
        offset: u64,
        limit: u32,
    ) -> Result<Option<Vec<UsageSum>>, StoreError> {
        self.inner.usage(owner, question, offset, limit).await
    }

    async fn earned_before(
        &self,
        owner: AccountId,
        island: IslandId,
        until: Timestamp,
    ) -> Result<Credits, StoreError> {
        self.inner.earned_before(owner, island, until).await
    }

    async fn refunds_of_island(
        &self,
        owner: AccountId,
        island: IslandId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Refund>, StoreError> {
        self.inner.refunds_of_island(owner, island, span, limit).await
    }

    async fn leases_of_job(&self, job: JobId) -> Result<Vec<(ShardId, LeaseId)>, StoreError> {
        self.inner.leases_of_job(job).await
    }

    async fn open_reset(&self) -> Result<Option<Reset>, StoreError> {
        self.inner.open_reset().await
    }

    async fn owners_to_reset(
        &self,
        reset: u32,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<(Owner, Participation)>, StoreError> {
        self.inner.owners_to_reset(reset, after, limit).await
    }

    async fn payout(&self, id: TransferId) -> Result<Option<Payout>, StoreError> {
        self.inner.payout(id).await
    }

    async fn payouts(
        &self,
        filter: PayoutFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Payout)>, StoreError> {
        self.inner.payouts(filter, before, limit).await
    }

    async fn payouts_to_send(&self, now: Timestamp, limit: u32) -> Result<Vec<Payout>, StoreError> {
        self.inner.payouts_to_send(now, limit).await
    }

    async fn weekly_payable(
        &self,
        since: Day,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Payable>, StoreError> {
        self.inner.weekly_payable(since, after, limit).await
    }

    async fn audit(&self) -> Result<AuditReport, StoreError> {
        self.inner.audit().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

/// Makes one call, and returns once the writer holds it before the closed gate: what comes next must queue.
async fn occupy<S>(writer: &WriterHandle, gated: &Gated<S>) -> JoinHandle<Result<Outcome, WriteError>> {
    let call = writer.clone();
    let first = tokio::spawn(async move { call.write_one(grant(999, 2, 1)).await });
    while gated.entered.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    first
}

async fn until_queued(writer: &WriterHandle, calls: usize) {
    while writer.queued() < calls {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn calls_that_wait_together_share_one_commit() {
    let books = books().await;
    books.fund().await;
    let gated = Gated::new(Arc::clone(&books.store), 0);
    let (writer, writing) = writer::start(Arc::clone(&gated), || at(1), Shutdown::manual());
    let first = occupy(&writer, &gated).await;
    let calls: Vec<_> = (0..100)
        .map(|id| {
            let writer = writer.clone();
            tokio::spawn(async move { writer.write_one(grant(1_000 + id, 1, 1)).await.unwrap() })
        })
        .collect();
    until_queued(&writer, 100).await;
    gated.gate.add_permits(1_000);
    first.await.unwrap().unwrap();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(gated.commits(), 2);
    drop(writer);
    writing.await.unwrap();
    books.assert_clean().await;
}

#[tokio::test]
async fn a_large_call_is_committed_in_bounded_batches() {
    let books = books().await;
    books.fund().await;
    let gated = Gated::new(Arc::clone(&books.store), 1_000);
    let (writer, _writing) = writer::start(Arc::clone(&gated), || at(1), Shutdown::manual());
    let changes: Vec<Change> = (0..1_000)
        .map(|lease| settle(settlement(5, lease, 1, 2, 10)))
        .collect();
    let outcomes = writer.write(changes).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Settled));
    // Three transfers each, 256 a batch.
    assert_eq!(gated.commits(), 12);
    books.assert_clean().await;
}

/// Makes the database refuse transfers that carry a certain memo or job.
async fn poison(books: &crate::support::Books) {
    let mut db = SqliteConnectOptions::new()
        .filename(books.folder.path().join("billing.sqlite"))
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(
        "CREATE TRIGGER poison BEFORE INSERT ON transfers WHEN NEW.amount = 666 BEGIN SELECT RAISE (ABORT, 'poison'); END;
        CREATE TRIGGER poison_job BEFORE INSERT ON transfers WHEN NEW.job = unhex('0000000000000000000000000000029A') BEGIN SELECT RAISE (ABORT, 'poison'); END",
    )
    .execute(&mut db)
    .await
    .unwrap();
}

#[tokio::test]
async fn one_change_that_the_database_refuses_is_refused_alone() {
    let books = books().await;
    books.fund().await;
    poison(&books).await;
    let (writer, _writing) = writer::start(Arc::clone(&books.store), || at(1), Shutdown::manual());
    let calls: Vec<_> = (0..64)
        .map(|id| {
            let writer = writer.clone();
            let amount = if id == 41 { 666 } else { 1 };
            tokio::spawn(async move { writer.write_one(grant(1_000 + id, 2, amount)).await })
        })
        .collect();
    let mut refused = Vec::new();
    for (id, call) in calls.into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(outcome) => assert_eq!(outcome, Outcome::Booked(ledger::Applied::Booked)),
            Err(WriteError::Store(StoreError::Refused { .. })) => refused.push(id),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, [41]);
    let balances = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(balances.available.as_nano(), 63);
    books.assert_clean().await;
}

#[tokio::test]
async fn a_settlement_that_the_database_refuses_is_kept_and_its_shard_goes_on() {
    let books = books().await;
    books.fund().await;
    poison(&books).await;
    let (writer, _writing) = writer::start(Arc::clone(&books.store), || at(1), Shutdown::manual());
    let mut changes: Vec<Change> = (660..670)
        .map(|lease| settle(settlement(5, lease, 1, 2, 10)))
        .collect();
    changes.push(Change::MoveCursor(SHARD, Sequence::new(5)));
    for _ in 0..2 {
        let outcomes = writer.write(changes.clone()).await.unwrap();
        for (index, outcome) in outcomes[..10].iter().enumerate() {
            if let Outcome::SettlementRefused(refusal) = outcome {
                assert_eq!((index, refusal.code.as_str()), (6, "STORE_REFUSED"));
            } else {
                assert_eq!((*outcome == Outcome::Settled, index == 6), (true, false));
            }
        }
        assert_eq!(outcomes[10], Outcome::Cursor(Sequence::new(5)));
    }
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(island.pending.as_nano(), 9 * 1_000_000);
    books.assert_clean().await;
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let books = books().await;
    books.fund().await;
    let gated = Gated::new(Arc::clone(&books.store), 0);
    let (writer, _writing) = writer::start(Arc::clone(&gated), || at(1), Shutdown::manual());
    let first = occupy(&writer, &gated).await;
    let mut waiting = tokio::task::JoinSet::new();
    for id in 0..QUEUE_MAX {
        let call = writer.clone();
        waiting.spawn(async move {
            call.write_one(grant(10_000 + u128::try_from(id).unwrap(), 1, 1))
                .await
        });
    }
    until_queued(&writer, QUEUE_MAX).await;
    let refused = writer.write_one(grant(9, 1, 1)).await;
    assert!(matches!(refused, Err(WriteError::Busy)), "{refused:?}");
    gated.gate.add_permits(100_000);
    first.await.unwrap().unwrap();
    while let Some(call) = waiting.join_next().await {
        call.unwrap().unwrap();
    }
    books.assert_clean().await;
}

#[tokio::test]
async fn a_writer_that_is_stopped_finishes_its_queue_and_takes_nothing_more() {
    let books = books().await;
    books.fund().await;
    let gated = Gated::new(Arc::clone(&books.store), 0);
    let stop = Shutdown::manual();
    let (writer, writing) = writer::start(Arc::clone(&gated), || at(1), stop.clone());
    let first = occupy(&writer, &gated).await;
    let waits = writer.clone();
    let waiting = tokio::spawn(async move { waits.write_one(grant(1_000, 2, 1)).await });
    until_queued(&writer, 1).await;
    stop.trigger();
    gated.gate.add_permits(1_000);
    writing.await.unwrap();
    first.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    let late = writer.write_one(grant(1_001, 2, 1)).await;
    assert!(matches!(late, Err(WriteError::Stopped)), "{late:?}");
}

#[tokio::test]
async fn a_writer_without_handles_finishes_its_queue() {
    let books = books().await;
    books.fund().await;
    let gated = Gated::new(Arc::clone(&books.store), 0);
    let (writer, writing) = writer::start(Arc::clone(&gated), || at(1), Shutdown::manual());
    let first = occupy(&writer, &gated).await;
    let calls: Vec<_> = (0..10)
        .map(|id| {
            let writer = writer.clone();
            tokio::spawn(async move { writer.write_one(grant(1_000 + id, 2, 1)).await })
        })
        .collect();
    until_queued(&writer, 10).await;
    // The callers go away; what they asked for is written all the same.
    calls.into_iter().chain([first]).for_each(|call| call.abort());
    drop(writer);
    gated.gate.add_permits(1_000);
    writing.await.unwrap();
    let balances = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(balances.available.as_nano(), 11);
}

/// 200 calls that come together, in as few commits as the writer makes of them.
async fn write_together<S: LedgerStore>(gated: &Arc<Gated<S>>) {
    let (writer, _writing) = writer::start(Arc::clone(gated), || at(1), Shutdown::manual());
    let first = occupy(&writer, gated).await;
    let calls: Vec<_> = (0..200)
        .map(|id| {
            let writer = writer.clone();
            let changes = vec![
                grant(2_000 + id, 1, 1),
                settle(settlement(5, 500 + u64::try_from(id).unwrap(), 1, 2, 10)),
            ];
            tokio::spawn(async move { writer.write(changes).await.unwrap() })
        })
        .collect();
    until_queued(&writer, 200).await;
    gated.gate.add_permits(1_000);
    first.await.unwrap().unwrap();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_costs_one_sync_of_the_disk() {
    let books = books().await;
    books.fund().await;
    let gated = Gated::new(Arc::clone(&books.store), 0);
    let before = syncs::of(books.folder.path());
    write_together(&gated).await;
    let syncs = syncs::of(books.folder.path()) - before;
    // 801 transfers, 256 at most in a batch.
    let batches = u64::try_from(gated.commits()).unwrap();
    assert!((4..=6).contains(&batches), "{batches} batches");
    assert_eq!(syncs, batches, "syncs, and batches");
    books.assert_clean().await;
}

#[tokio::test]
async fn a_batch_is_one_transaction_of_postgresql() {
    let books = postgres(Durability::Synced).await;
    books.fund().await;
    let gated = Gated::new(Arc::clone(&books.store), 0);
    // PostgreSQL syncs its log once a commit that wrote something. Each row knows the transaction that wrote it.
    let mut db = books.database.as_ref().unwrap().direct().await;
    let count = "SELECT count(DISTINCT xmin::TEXT) FROM transfers";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&mut db).await.unwrap();
    write_together(&gated).await;
    let after: i64 = sqlx::query_scalar(count).fetch_one(&mut db).await.unwrap();
    let batches = i64::try_from(gated.commits()).unwrap();
    assert!((4..=6).contains(&batches), "{batches} batches");
    assert_eq!(after - before, batches, "transactions, and batches");
    books.assert_clean().await;
}
