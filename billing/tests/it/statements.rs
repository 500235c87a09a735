//! Statements add up: after a random week, for every account, to the nano-credit.

use billing::store::{Change, Durability, LedgerStore, Settled};
use domain::{AccountId, IslandId, Standing, Timestamp};
use fastrand::Rng;
use ledger::{AccountKey, Mode, TransferKind};
use proto::billing::v1 as pb;
use tempfile::TempDir;
use tonic::Code;

use crate::support::{
    Client, SHARD, assert_clean, balances, grant, open_owner, owner, payout, reason, reserve, serve_in,
    settle, settlement, sqlite, transfer,
};

const QUARTER: u64 = 900_000_000;
const HOUR: u64 = 4 * QUARTER;
/// 2026-01-05, a Monday.
const MONDAY: u64 = 20_458 * 24 * HOUR;
const OWNERS: u64 = 5;
/// Chosen once; a failure prints it.
const SEED: u64 = 0x5eed;

/// One random change at a time, about a week long: what is refused is part of it.
async fn a_week() -> TempDir {
    let books = sqlite(Durability::Lost).await;
    let mut rng = Rng::with_seed(SEED);
    for number in 1..=OWNERS {
        books.take(open_owner(&format!("owner-{number}"))).await;
    }
    let (mut sequence, mut settled) = (0, Vec::new());
    for hour in 0..7 * 24 {
        for place in 0..4 {
            let step = u128::from(hour * 4 + place + 1);
            let now = Timestamp::from_micros(MONDAY + hour * HOUR + place * QUARTER);
            let who = rng.u64(1..=OWNERS);
            let change = match rng.u32(0..10) {
                0 => grant(step, who, rng.i64(1..50_000_000_000)),
                1 | 2 => reserve(step, who, 1, rng.i64(1..20_000_000_000)),
                3 => {
                    let (debit, credit) = (
                        AccountKey::Reserved(owner(who), SHARD),
                        AccountKey::Available(owner(who)),
                    );
                    let amount = rng.i64(1..5_000_000_000);
                    Change::Book(vec![transfer(step, TransferKind::Return, debit, credit, amount)])
                }
                4 => payout(step, who, rng.i64(1..1_000_000_000), Mode::Pending),
                _ => {
                    sequence += 1;
                    let mut claim =
                        settlement(sequence, sequence, who, rng.u64(1..=OWNERS), rng.u64(1..9_000));
                    claim.island = IslandId::new(claim.island_owner.get() * 10 + rng.u64(0..2));
                    claim.model = ["smollm2", "qwen"][rng.usize(0..2)].to_owned();
                    settled.push(claim.clone());
                    settle(claim)
                }
            };
            books.store.commit(&[change], now).await.unwrap();
        }
        let cutoff = Timestamp::from_micros((MONDAY + hour * HOUR).saturating_sub(24 * HOUR));
        for maturing in books
            .store
            .due(Standing::Established, cutoff, None, 100)
            .await
            .unwrap()
        {
            let now = Timestamp::from_micros(MONDAY + hour * HOUR + 3 * QUARTER);
            books
                .store
                .commit(&[Change::Mature(maturing)], now)
                .await
                .unwrap();
        }
    }
    assert!(settled.len() > 200);
    // Nothing is left for the service's own timer to move.
    for maturing in books
        .store
        .due(Standing::Established, Timestamp::MAX, None, 100)
        .await
        .unwrap()
    {
        let sunday = Timestamp::from_micros(MONDAY + 7 * 24 * HOUR);
        books
            .store
            .commit(&[Change::Mature(maturing)], sunday)
            .await
            .unwrap();
    }
    books.assert_clean().await;
    books.store.close().await.unwrap();
    books.folder
}

async fn statement(client: &mut Client, request: pb::GetStatementRequest) -> pb::GetStatementResponse {
    client.get_statement(request).await.unwrap().into_inner()
}

fn of(account: u64, from_us: u64, until_us: u64) -> pb::GetStatementRequest {
    pb::GetStatementRequest {
        account_id: AccountId::new(account).to_string(),
        from_us,
        until_us,
        island_id: String::new(),
    }
}

#[tokio::test]
async fn statements_of_a_random_week_add_up_for_every_account_and_island() {
    let folder = a_week().await;
    let mut served = serve_in(folder, billing::Maturity::default()).await;
    let client = &mut served.client;
    for account in 1..=OWNERS {
        let whole = statement(client, of(account, 0, 0)).await;
        assert_eq!(whole.opening_nano, 0);
        assert!(whole.notice.contains("no cash value"));
        assert!(whole.lines.len() > 50, "{}", whole.lines.len());
        // Day by day, each begins where the one before ended.
        let (mut balance, mut lines, mut usage) = (0, Vec::new(), Vec::new());
        for day in 0..8 {
            let from = MONDAY + day * 24 * HOUR;
            let part = statement(client, of(account, from, from + 24 * HOUR)).await;
            assert_eq!(
                part.opening_nano, balance,
                "seed {SEED}, account {account}, day {day}"
            );
            let net: i64 = part
                .lines
                .iter()
                .map(|line| line.transfer.as_ref().unwrap().net_nano)
                .sum();
            assert_eq!(part.opening_nano + net, part.closing_nano);
            balance = part.closing_nano;
            lines.extend(part.lines);
            usage.extend(part.usage);
        }
        assert!(lines == whole.lines, "seed {SEED}, account {account}");
        assert_eq!(balance, whole.closing_nano, "seed {SEED}, account {account}");
        assert_eq!(usage, whole.usage, "seed {SEED}");
        // What is shown is what is there, with what payouts hold.
        let held: i64 = lines
            .iter()
            .filter_map(|line| line.transfer.as_ref())
            .filter(|transfer| transfer.kind == "payout")
            .map(|transfer| transfer.amount_nano)
            .sum();
        let there: i64 = balances(client, &whole.account_id).await.iter().sum();
        assert_eq!(there + held, whole.closing_nano, "seed {SEED}, account {account}");
        check_islands(client, account, &whole).await;
        check_history(client, &whole).await;
    }
    assert_clean(client).await;
    served.stop().await;
}

/// The statements of an owner's Islands add up to his earnings.
async fn check_islands(client: &mut Client, account: u64, whole: &pb::GetStatementResponse) {
    let mut earned = 0;
    for island in [account * 10, account * 10 + 1] {
        let mut request = of(account, 0, 0);
        request.island_id = IslandId::new(island).to_string();
        let all = statement(client, request.clone()).await;
        request.from_us = MONDAY + 80 * HOUR;
        let later = statement(client, request).await;
        assert_eq!(later.closing_nano, all.closing_nano);
        assert!(later.opening_nano > 0 && later.opening_nano < all.closing_nano);
        earned += all.closing_nano;
    }
    let used: i64 = whole.usage.iter().map(|line| line.earned_nano).sum();
    assert_eq!(earned, used, "seed {SEED}, account {account}");
}

/// The history, by pages and filters, has the lines of the statement.
async fn check_history(client: &mut Client, whole: &pb::GetStatementResponse) {
    let from = MONDAY + 50 * HOUR;
    let filter = format!("kind = \"charge\" AND at_us >= {from}");
    let mut request = pb::ListTransfersRequest {
        account_id: whole.account_id.clone(),
        page_size: 7,
        page_token: String::new(),
        filter,
    };
    let mut listed = Vec::new();
    loop {
        let page = client.list_transfers(request.clone()).await.unwrap().into_inner();
        assert!(page.transfers.len() <= 7);
        listed.extend(page.transfers);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let fits = |transfer: &&pb::Transfer| transfer.kind == "charge" && transfer.at_us >= from;
    let transfers = whole.lines.iter().rev().filter_map(|line| line.transfer.as_ref());
    let expected: Vec<pb::Transfer> = transfers.filter(fits).cloned().collect();
    assert!(expected.len() > 7, "{}", expected.len());
    assert!(
        listed == expected,
        "seed {SEED}: {} and {}",
        listed.len(),
        expected.len()
    );
    request.filter = "kind = \"grant\"".to_owned();
    if !request.page_token.is_empty() {
        let refused = client.list_transfers(request).await.unwrap_err();
        assert_eq!(crate::support::field(&refused), "page_token");
    }
}

#[tokio::test]
async fn a_statement_of_nobody_or_of_the_future_is_refused() {
    let mut served = crate::support::served().await;
    let client = &mut served.client;
    let refused = client.get_statement(of(9, 0, 0)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "UNKNOWN_ACCOUNT".into()));
    for (from, until, name) in [
        (0, u64::MAX, "until_us"),
        (2, 1, "from_us"),
        (u64::MAX, 0, "from_us"),
    ] {
        let refused = client.get_statement(of(1, from, until)).await.unwrap_err();
        assert_eq!(crate::support::field(&refused), name);
    }
    served.stop().await;
}

async fn a_span_has_what_was_booked_in_it(books: crate::support::Books<impl LedgerStore>) {
    use crate::support::{at, nano};
    use billing::store::Span;
    books.fund().await;
    let change = settle(settlement(1, 1, 1, 2, 1_000));
    books.store.commit(&[change], at(50)).await.unwrap();
    let (one, two) = (AccountId::new(1), AccountId::new(2));
    let span = |from, until| Span {
        from: at(from),
        until: at(until),
    };
    let found = books
        .store
        .booked_between(one, span(2, 51), 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.0, found.1.len()), (nano(1_000_000_000_000), 3));
    let none = books
        .store
        .booked_between(one, span(2, 50), 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(none.1, []);
    let nobody = books.store.booked_between(AccountId::new(9), span(0, 9), 10);
    assert_eq!(nobody.await.unwrap(), None);
    for who in [one, two] {
        let settled: Vec<Settled> = books.store.settled_between(who, span(0, 51), 10).await.unwrap();
        assert_eq!((settled.len(), settled[0].at), (1, at(50)));
    }
    let island = IslandId::new(1);
    let earned = |until| books.store.earned_before(two, island, at(until));
    assert_eq!(
        (earned(50).await.unwrap(), earned(51).await.unwrap()),
        (nano(0), nano(100_000_000))
    );
    books.assert_clean().await;
}

crate::support::on_every_store!(a_span_has_what_was_booked_in_it,);
