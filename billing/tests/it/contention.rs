//! Thirty-two writers at once, on both databases, at the same few accounts: nothing breaks, and what must happen once
//! happens once. Some write through stores of their own, as several billings would; some write SQL past all of them.

use std::sync::Arc;

use billing::store::sqlite::SqliteStore;
use billing::store::{Change, Durability, LedgerStore, Outcome};
use domain::{AccountId, TransferId};
use ledger::{AccountKey, Applied, Mode};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::task::JoinSet;

use crate::support::{Books, at, grant, nano, open_owner, owner, payout, postgres, reserve, sqlite};

const WRITERS: u128 = 32;
const ROUNDS: u128 = 12;

/// What each writer asks in each round: the same ids as all the others, at accounts that cannot pay for all of it.
fn attack(writer: u128, round: u128) -> Vec<Change> {
    let base = 1_000 + round * 100;
    let (held, resolution) = (base + 1, base + 10 + writer);
    let resolve = if writer.is_multiple_of(2) {
        Mode::Post(TransferId::new(held))
    } else {
        Mode::Void(TransferId::new(held))
    };
    vec![
        // A duplicate of everybody's, and one under the same id that is another's.
        grant(base, 1, 100),
        payout(held, 1, 10, Mode::Pending),
        payout(resolution, 1, 10, resolve),
        // 32 writers, each under an id of his own, of an account that has enough for seven.
        reserve(base + 50_000 + writer, 2, 13, 13),
    ]
}

fn codes(outcomes: &[Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .map(|outcome| {
            let Outcome::Rejected(rejection) = outcome else {
                return format!("{outcome:?}");
            };
            rejection.code().to_owned()
        })
        .collect()
}

/// The stores are of one database.
async fn contend<S: LedgerStore>(books: &Books<S>, stores: Vec<Arc<S>>) {
    books.take(open_owner("a")).await;
    books.take(open_owner("b")).await;
    books.take(grant(1, 1, 1_000)).await;
    books.take(grant(2, 2, 100)).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&stores[usize::try_from(writer).unwrap() % stores.len()]);
        writers.spawn(async move {
            let mut all = Vec::new();
            for round in 0..ROUNDS {
                let outcomes = store.commit(&attack(writer, round), at(1)).await.unwrap();
                all.push(codes(&outcomes));
            }
            all
        });
    }
    let answers = writers.join_all().await;
    let booked = format!("{:?}", Outcome::Booked(Applied::Booked));
    for round in 0..usize::try_from(ROUNDS).unwrap() {
        let times = |place: usize| answers.iter().filter(|all| all[round][place] == booked).count();
        assert_eq!(
            [times(0), times(1), times(2)],
            [1, 1, 1],
            "round {round}: {answers:?}"
        );
        for answer in &answers {
            let resolved = &answer[round][2];
            let allowed = [booked.as_str(), "ALREADY_POSTED", "ALREADY_VOIDED"];
            assert!(allowed.contains(&resolved.as_str()), "round {round}: {resolved}");
        }
    }
    // A hundred pay for seven thirteens.
    let reserved = format!("{:?}", Outcome::Reserved(nano(13)));
    let reservations = answers
        .iter()
        .flatten()
        .filter(|codes| codes[3] == reserved)
        .count();
    assert_eq!(reservations, 7);
    let balances = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!((balances.available, balances.reserved), (nano(9), nano(91)));
    books.assert_clean().await;
}

#[tokio::test]
async fn thirty_two_writers_of_one_sqlite_break_nothing() {
    let books = sqlite(Durability::Synced).await;
    // Four of one file, as a service and its tools would have it.
    let mut stores = vec![Arc::clone(&books.store)];
    let path = books.folder.path().join("billing.sqlite");
    for _ in 1..4 {
        let store = SqliteStore::open(&path, Durability::Synced).await.unwrap();
        stores.push(Arc::new(store));
    }
    contend(&books, stores).await;
}

#[tokio::test]
async fn thirty_two_writers_of_one_postgresql_break_nothing() {
    let books = postgres(Durability::Synced).await;
    let mut stores = vec![Arc::clone(&books.store)];
    for _ in 1..4 {
        let store = books.database.as_ref().unwrap().open(Durability::Synced).await;
        stores.push(Arc::new(store));
    }
    contend(&books, stores).await;
}

/// Numbers that billing will not come to in a test.
fn raw(number: u64, kind: &str, debit: AccountKey, credit: AccountKey, amount: u64) -> String {
    format!(
        "INSERT INTO transfers (number, id, kind, mode, debit, credit, amount, memo, created_at) VALUES ({number}, decode(lpad(to_hex({number}), 32, 'f'), 'hex'), '{kind}', 0, {}, {}, {amount}, '', 1)",
        debit.number(),
        credit.number()
    )
}

#[tokio::test]
async fn sql_past_billing_cannot_overdraw_whatever_runs_beside_it() {
    let books = postgres(Durability::Synced).await;
    books.take(open_owner("a")).await;
    books.take(open_owner("b")).await;
    books.take(grant(1, 1, 500)).await;
    books.take(reserve(2, 1, 100, 100)).await;
    let database = books.database.as_ref().unwrap();
    let (available, reserved) = (
        AccountKey::Available(owner(1)),
        AccountKey::Reserved(owner(1), crate::support::SHARD),
    );
    let mut writers = JoinSet::new();
    for writer in 0..32u64 {
        let mut db = database.direct().await;
        writers.spawn(async move {
            let mut accepted = [0u64, 0];
            for round in 0..10u64 {
                let number = 1_000_000 + writer * 1_000 + round;
                // Both ways at once: whoever locked in another order would wait in a circle.
                let (kind, from, to) = if writer.is_multiple_of(2) {
                    ("reserve", available, reserved)
                } else {
                    ("return", reserved, available)
                };
                let way = usize::from(!writer.is_multiple_of(2));
                match db.execute(AssertSqlSafe(raw(number, kind, from, to, 70))).await {
                    Ok(_) => accepted[way] += 1,
                    Err(error) => {
                        let message = error.to_string();
                        assert!(message.contains("no_overdraft"), "{message}");
                    }
                }
            }
            db.close().await.unwrap();
            accepted
        });
    }
    let accepted = writers.join_all().await;
    let [out, back] = [0, 1].map(|way| accepted.iter().map(|ways| ways[way]).sum::<u64>());
    let balances = books.store.balances(AccountId::new(1)).await.unwrap().unwrap();
    let moved = i64::try_from(out).unwrap() * 70 - i64::try_from(back).unwrap() * 70;
    assert_eq!(balances.available, nano(400 - moved));
    assert_eq!(balances.reserved, nano(100 + moved));
    assert!(balances.available >= nano(0) && balances.reserved >= nano(0));
}
