//! Random scripts, the same on three stores: whatever is asked, they answer alike, codes included, and keep alike books.
//!
//! A round is 20,000 operations in batches of 64, all drawn from one seed. `cargo xtask test --long billing-scripts` runs a
//! hundred; a round that fails names its seed, and the campaign goes on from any.

mod script;

use billing::store::merkle::Day;
use billing::store::reset::OwnerReset;
use billing::store::{Change, Durability, LedgerStore};
use domain::{AccountId, Standing, Timestamp};
use script::{Known, Script};

use crate::support::{SHARD, postgres, pure, sqlite};

const OPERATIONS: usize = 20_000;
const BATCH: usize = 64;
/// How many batches lie between two comparisons of everything that can be asked.
const COMPARE_EVERY: usize = 40;
/// How often the script is told what may mature and whose turn has come; meanwhile it asks for what was done already.
const TOLD_EVERY: usize = 8;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What a store answers when it is asked for everything.
#[derive(Debug, PartialEq)]
struct Answers(Vec<String>);

async fn ask(store: &impl LedgerStore, owners: u64, now: Timestamp) -> Answers {
    let mut answers = Vec::new();
    for number in 1..=owners {
        let owner = AccountId::new(number);
        answers.push(format!("{number}: {:?}", store.balances(owner).await.unwrap()));
        answers.push(format!("{:?}", store.history(owner, None, 7).await.unwrap()));
        answers.push(walked_history(store, owner, 50 + u32::try_from(number).unwrap()).await);
        answers.push(format!("{:?}", store.keys_of(owner).await.unwrap()));
    }
    answers.push(format!(
        "{:?}",
        store.reserved_balances(SHARD, None, 1_000).await.unwrap()
    ));
    answers.push(walked_balances(store).await);
    answers.push(format!("{:?}", store.reservations(SHARD, 50, 20).await.unwrap()));
    answers.push(walked_reservations(store, 97).await);
    answers.push(format!("{:?}", store.cursor(SHARD).await.unwrap()));
    for standing in Standing::ALL {
        answers.push(format!("{:?}", store.due(standing, now, None, 5).await.unwrap()));
    }
    let reset = store.open_reset().await.unwrap();
    if let Some(reset) = &reset {
        let owners = store.owners_to_reset(reset.number, None, u32::MAX).await;
        answers.push(format!("{:?}", owners.unwrap()));
    }
    answers.push(format!("{reset:?}"));
    answers.push(format!("{:?}", store.first_open_day().await.unwrap()));
    answers.push(format!("{:?}", store.closed_days(None, 10).await.unwrap()));
    Answers(answers)
}

/// A history page by page is the history at once: nothing twice, nothing left out.
async fn walked_history(store: &impl LedgerStore, owner: AccountId, page: u32) -> String {
    let Some(whole) = store.history(owner, None, u32::MAX).await.unwrap() else {
        return "nobody".to_owned();
    };
    let mut walked = Vec::new();
    let mut before = None;
    loop {
        let next = store.history(owner, before, page).await.unwrap().unwrap();
        let Some(last) = next.last() else { break };
        before = Some(last.number);
        walked.extend(next);
    }
    assert_eq!(walked, whole);
    format!("{} transfers, the first {:?}", whole.len(), whole.last())
}

async fn walked_reservations(store: &impl LedgerStore, page: u32) -> String {
    let whole = store.reservations(SHARD, 0, u32::MAX).await.unwrap();
    let mut walked = Vec::new();
    let mut after = 0;
    loop {
        let next = store.reservations(SHARD, after, page).await.unwrap();
        let Some(last) = next.last() else { break };
        after = last.number;
        walked.extend(next);
    }
    assert_eq!(walked, whole);
    format!("{} reservations, the last {:?}", whole.len(), whole.last())
}

async fn walked_balances(store: &impl LedgerStore) -> String {
    let whole = store.reserved_balances(SHARD, None, u32::MAX).await.unwrap();
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let next = store.reserved_balances(SHARD, after, 3).await.unwrap();
        let Some((last, _)) = next.last() else { break };
        after = Some(*last);
        walked.extend(next);
    }
    assert_eq!(walked, whole);
    format!("{whole:?}")
}

/// Everything the books come to.
async fn audited(store: &impl LedgerStore) -> String {
    let report = store.audit().await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    format!("{report:?}")
}

async fn round(seed: u64) {
    let (pure, sqlite, postgres) = (
        pure(),
        sqlite(Durability::Lost).await,
        postgres(Durability::Lost).await,
    );
    let mut script = Script::new(seed);
    let mut applied = 0;
    let mut known = Known::default();
    for batch in 0..OPERATIONS.div_ceil(BATCH) {
        let now = script.now();
        if batch % TOLD_EVERY == 0 {
            known = told(&*pure.store, now).await;
        }
        let changes: Vec<Change> = (0..BATCH).map(|_| script.change(&known)).collect();
        let expected = pure.store.commit(&changes, now).await.unwrap();
        let at = || format!("seed {seed}, batch {batch}");
        assert_eq!(
            sqlite.store.commit(&changes, now).await.unwrap(),
            expected,
            "SQLite, {}",
            at()
        );
        assert_eq!(
            postgres.store.commit(&changes, now).await.unwrap(),
            expected,
            "PostgreSQL, {}",
            at()
        );
        applied += script.learn(&changes, &expected);
        if batch % COMPARE_EVERY == COMPARE_EVERY - 1 {
            let closed = script.close_a_day();
            if let Some(day) = closed {
                close(day, now, (&*pure.store, &*sqlite.store, &*postgres.store)).await;
            }
            let owners = script.owners() + 1;
            let expected = ask(&*pure.store, owners, now).await;
            assert_eq!(
                ask(&*sqlite.store, owners, now).await,
                expected,
                "SQLite, {}",
                at()
            );
            assert_eq!(
                ask(&*postgres.store, owners, now).await,
                expected,
                "PostgreSQL, {}",
                at()
            );
        }
    }
    let expected = audited(&*pure.store).await;
    assert_eq!(audited(&*sqlite.store).await, expected, "SQLite, seed {seed}");
    assert_eq!(
        audited(&*postgres.store).await,
        expected,
        "PostgreSQL, seed {seed}"
    );
    // A script of refusals alone would compare nothing.
    let third = OPERATIONS.div_euclid(3);
    assert!(
        applied > third,
        "only {applied} operations of {OPERATIONS} did anything, seed {seed}"
    );
    println!("seed {seed}: {OPERATIONS} operations, {applied} did something, no difference");
}

async fn told(store: &impl LedgerStore, now: Timestamp) -> Known {
    let mut known = Known::default();
    for standing in Standing::ALL {
        known
            .due
            .extend(store.due(standing, now, None, 20).await.unwrap());
    }
    let Some(reset) = store.open_reset().await.unwrap() else {
        return known;
    };
    known.reset = Some(reset.number);
    if reset.announced.at <= now {
        let owners = store.owners_to_reset(reset.number, None, 20).await.unwrap();
        let turn = |(owner, participation)| OwnerReset {
            reset: reset.number,
            owner,
            participation,
        };
        known.turns.extend(owners.into_iter().map(turn));
    }
    known
}

async fn close<A, B, C>(day: Day, now: Timestamp, (pure, sqlite, postgres): (&A, &B, &C))
where
    A: LedgerStore,
    B: LedgerStore,
    C: LedgerStore,
{
    let expected = pure.close_day(day, now).await.unwrap();
    assert_eq!(sqlite.close_day(day, now).await.unwrap(), expected);
    assert_eq!(postgres.close_day(day, now).await.unwrap(), expected);
}

#[tokio::test]
async fn stores_do_what_the_pure_ledger_does() {
    let first = number("ATOLL_LONG_SEED", 1);
    for seed in first..first + number("ATOLL_LONG_COUNT", 1) {
        round(seed).await;
    }
}
