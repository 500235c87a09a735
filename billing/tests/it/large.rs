//! Large books: the balance and the first page of a history must not cost more for what lies below them.
//!
//! The normal tests fill a little and check the answers; `cargo xtask test --long billing-large` fills ten million transfers
//! and prints how long the answers took beside those at ten thousand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use billing::store::{Change, Durability, LedgerStore};
use domain::AccountId;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection};

use crate::support::{Books, at, grant, open_owner, postgres, reserve, sqlite};

/// Owners whose transfers these are.
const OWNERS: u64 = 100;
const SMALL: u64 = 10_000;
/// How often each question is asked.
const ASKED: u32 = 200;
/// The page that people see first.
const PAGE: u32 = 50;

fn long_count() -> u64 {
    std::env::var("ATOLL_LONG_COUNT").map_or(SMALL + 2_000, |text| text.parse().unwrap())
}

/// Owners with credits, half of them reserved: the first 200 transfers.
async fn open_accounts<S: LedgerStore>(books: &Books<S>) {
    let changes: Vec<Change> = (1..=OWNERS)
        .flat_map(|number| {
            let id = u128::from(number);
            [
                open_owner(&format!("owner-{number}")),
                grant(id, number, 1_000_000),
                reserve(1_000 + id, number, 500_000, 500_000),
            ]
        })
        .collect();
    books.store.commit(&changes, at(1)).await.unwrap();
}

/// Transfers of one credit, to and fro by turns, for one owner after the other.
fn filling(from: u64, through: u64, numbers: &str, id: &str) -> String {
    format!(
        "INSERT INTO transfers (number, id, kind, mode, debit, credit, amount, memo, created_at)
        SELECT n, {id},
            CASE (n / {OWNERS}) % 2 WHEN 0 THEN 'reserve' ELSE 'return' END, 0,
            ((1 + n % {OWNERS}) << 20) | CASE (n / {OWNERS}) % 2 WHEN 0 THEN 1 ELSE 2 END,
            ((1 + n % {OWNERS}) << 20) | CASE (n / {OWNERS}) % 2 WHEN 0 THEN 2 ELSE 1 END,
            1, '', n
        FROM ({numbers}) AS numbers WHERE n BETWEEN {from} AND {through}"
    )
}

fn sqlite_filling(from: u64, through: u64) -> String {
    let numbers = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM numbers WHERE n < {through}) SELECT n FROM numbers"
    );
    filling(from, through, &numbers, "unhex(format('%032X', n + 1000000))")
}

fn postgres_filling(from: u64, through: u64) -> String {
    let numbers = format!("SELECT n FROM generate_series({from}::BIGINT, {through}::BIGINT) AS series (n)");
    filling(
        from,
        through,
        &numbers,
        "decode(lpad(to_hex(n + 1000000), 32, '0'), 'hex')",
    )
}

/// The median time of a balance, and of a first page.
async fn ask<S: LedgerStore>(books: &Books<S>, transfers: u64) -> [Duration; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..u64::from(ASKED) {
        let owner = AccountId::new(1 + (turn * 37) % OWNERS);
        let started = Instant::now();
        let balances = books.store.balances(owner).await.unwrap().unwrap();
        times[0].push(started.elapsed());
        let started = Instant::now();
        let page = books.store.history(owner, None, PAGE).await.unwrap().unwrap();
        times[1].push(started.elapsed());
        // What was filled in goes to and fro: the answers are the same whatever lies below.
        let whole = balances.available.as_nano() + balances.reserved.as_nano();
        assert_eq!(whole, 1_000_000);
        assert_eq!(page.len(), usize::try_from(PAGE).unwrap());
        assert!(page.is_sorted_by(|newer, older| newer.number > older.number));
        assert!(page[0].number > transfers - OWNERS, "the newest comes first");
    }
    times.map(|mut times| {
        times.sort();
        times[times.len() >> 1]
    })
}

/// How many rows of the transfers PostgreSQL has read so far, for whomever; known once the readers have gone.
async fn rows_read(db: &mut PgConnection) -> i64 {
    let others =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'";
    loop {
        let left: i64 = sqlx::query_scalar(others).fetch_one(&mut *db).await.unwrap();
        if left == 0 {
            break;
        }
    }
    db.execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
    let read = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'transfers'";
    sqlx::query_scalar(read).fetch_one(db).await.unwrap()
}

fn report(database: &str, transfers: u64, small: [Duration; 2], large: [Duration; 2]) {
    let figures = |place: usize| {
        let (small, large) = (small[place].as_micros(), large[place].as_micros());
        json!({ "small_us": small, "large_us": large, "within_twice": large <= 2 * small })
    };
    let figures = json!({
        "billing-large": {
            "database": database,
            "transfers": transfers,
            "beside": SMALL,
            "balance": figures(0),
            "first_page": figures(1),
        }
    });
    println!("{figures}");
}

/// How many transfers go in at once.
const FILLED_AT_ONCE: u64 = 500_000;

fn steps(from: u64, through: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut next = from;
    std::iter::from_fn(move || {
        let first = next;
        (first <= through).then(|| {
            let last = through.min(first + FILLED_AT_ONCE - 1);
            next = last + 1;
            (first, last)
        })
    })
}

#[tokio::test]
async fn sqlite_answers_as_fast_with_ten_million_transfers_below() {
    let books = sqlite(Durability::Lost).await;
    open_accounts(&books).await;
    let mut db = SqliteConnectOptions::new()
        .filename(books.folder.path().join("billing.sqlite"))
        .pragma("synchronous", "OFF")
        .connect()
        .await
        .unwrap();
    let mut fill = async |from, through| {
        for (first, last) in steps(from, through) {
            db.execute(AssertSqlSafe(sqlite_filling(first, last)))
                .await
                .unwrap();
        }
    };
    fill(2 * OWNERS + 1, SMALL).await;
    let small = ask(&books, SMALL).await;
    let transfers = long_count();
    fill(SMALL + 1, transfers).await;
    report("sqlite", transfers, small, ask(&books, transfers).await);
}

#[tokio::test]
async fn postgresql_answers_as_fast_with_ten_million_transfers_below() {
    let books = postgres(Durability::Lost).await;
    open_accounts(&books).await;
    let mut db = books.database.as_ref().unwrap().direct().await;
    db.execute("SET synchronous_commit = off").await.unwrap();
    let mut fill = async |from, through| {
        for (first, last) in steps(from, through) {
            db.execute(AssertSqlSafe(postgres_filling(first, last)))
                .await
                .unwrap();
        }
        db.execute("ANALYZE").await.unwrap();
    };
    fill(2 * OWNERS + 1, SMALL).await;
    let small = ask(&books, SMALL).await;
    let transfers = long_count();
    fill(SMALL + 1, transfers).await;
    report("postgres", transfers, small, ask(&books, transfers).await);
    // Whatever the clock says: a page reads a page of either side, and no more.
    books.store.close().await.unwrap();
    let before = rows_read(&mut db).await;
    let Books { database, folder, .. } = books;
    let store = Arc::new(database.as_ref().unwrap().open(Durability::Lost).await);
    let again = Books {
        folder,
        database,
        store,
    };
    ask(&again, transfers).await;
    again.store.close().await.unwrap();
    let read = rows_read(&mut db).await - before;
    let most = i64::from(ASKED * 3 * PAGE);
    assert!(
        read > 0 && read <= most,
        "{read} rows were read for {ASKED} pages of {PAGE}"
    );
}
