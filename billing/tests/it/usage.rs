//! Usage by day and model: alike on every store, equal to the statement to the nano-credit, and attacked.

use billing::store::merkle::Day;
use billing::store::usage::{UsageQuestion, UsageSide, UsageSum};
use billing::store::{LedgerStore, Span};
use domain::{AccountId, JobId, Liquidity, Timestamp, fee_on};
use fastrand::Rng;
use proto::billing::v1 as pb;
use proto::convert::billing::Settlement;
use tonic::Code;

use crate::support::{
    Books, account, at, batch, field, nano, on_every_store, open_owner, reason, reserve, reserve_request,
    served, settle, settlement,
};

const MICROS_PER_DAY: u64 = 86_400_000_000;
const DAYS: u64 = 7;
/// A day that is long over.
const FIRST: u64 = 20_000;

/// What a random settlement is, at a random moment of a week. The consumer is often the Island's owner himself.
fn claim(rng: &mut Rng, lease: u64) -> Settlement {
    let mut claim = settlement(lease, lease, rng.u64(1..=2), rng.u64(1..=2), rng.u64(1..3_000));
    claim.model = ["smollm2", "whisper", "magika"][rng.usize(0..3)].to_owned();
    // Some jobs have segments on both sides of midnight.
    claim.job = JobId::new(u128::from(rng.u64(1..60)));
    if rng.bool() {
        claim.bill.bid_liquidity = Liquidity::Maker;
    }
    if rng.u32(0..5) == 0 {
        claim.bill.pool_subsidy = nano(rng.i64(1..50));
    }
    claim
}

async fn a_random_week(books: &Books<impl LedgerStore>, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    books.fund().await;
    for (id, owner) in [(900, 1), (901, 2)] {
        let grant = crate::support::grant(id, owner, 1_000_000_000_000);
        books
            .store
            .commit(&[grant, reserve(id + 10, owner, 1, 500_000_000_000)], at(2))
            .await
            .unwrap();
    }
    let mut moments: Vec<u64> = (0..150).map(|_| rng.u64(0..DAYS * MICROS_PER_DAY)).collect();
    // The edges: the first and the last moment of a day.
    moments.extend([0, MICROS_PER_DAY - 1, MICROS_PER_DAY, 2 * MICROS_PER_DAY - 1]);
    moments.sort_unstable();
    for (lease, moment) in (1..).zip(moments) {
        let change = settle(claim(&mut rng, lease));
        let now = at(FIRST * MICROS_PER_DAY + moment);
        books.store.commit(&[change], now).await.unwrap();
    }
    books.assert_clean().await;
}

fn week() -> UsageQuestion {
    UsageQuestion {
        span: Span {
            from: at(FIRST * MICROS_PER_DAY),
            until: at((FIRST + DAYS) * MICROS_PER_DAY),
        },
        model: None,
        side: None,
    }
}

async fn ask(books: &Books<impl LedgerStore>, question: &UsageQuestion) -> Vec<UsageSum> {
    let owner = AccountId::new(1);
    books
        .store
        .usage(owner, question, 0, 1_000)
        .await
        .unwrap()
        .unwrap()
}

/// What an account's own transfers of the week come to: everything but what only changed its place.
async fn worth_of(books: &Books<impl LedgerStore>, span: Span) -> i64 {
    let owner = AccountId::new(1);
    let (_, booked) = books
        .store
        .booked_between(owner, span, 10_000)
        .await
        .unwrap()
        .unwrap();
    let mine = |account: ledger::AccountKey| account.owner().is_some_and(|found| found.id() == owner);
    let net = |transfer: &ledger::Transfer| match (mine(transfer.debit), mine(transfer.credit)) {
        (true, false) => -transfer.amount.as_nano(),
        (false, true) => transfer.amount.as_nano(),
        (true, true) | (false, false) => 0,
    };
    booked.iter().map(|booked| net(&booked.transfer)).sum()
}

async fn the_sums_of_a_random_week_are_those_of_the_books(books: Books<impl LedgerStore>) {
    a_random_week(&books, 7).await;
    let sums = ask(&books, &week()).await;
    let paid = |sum: &UsageSum| match sum.side {
        UsageSide::Consumer => -(sum.charge.as_nano() + sum.fee.as_nano()),
        UsageSide::IslandOwner => {
            sum.charge.as_nano() - sum.fee.as_nano() + sum.pool_subsidy.as_nano() + sum.compensation.as_nano()
        }
    };
    let net: i64 = sums.iter().map(paid).sum();
    assert_eq!(net, worth_of(&books, week().span).await);
    // In order, each place once, and each job once a day.
    let places = sums.iter().map(|sum| (sum.day, sum.model.as_str(), sum.side));
    assert!(places.is_sorted_by(|one, next| one < next));
    assert!(sums.iter().all(|sum| sum.jobs >= 1 && sum.jobs <= sum.segments));
    assert!(sums.iter().any(|sum| sum.jobs < sum.segments));
    let settled = books
        .store
        .settled_between(AccountId::new(1), week().span, 10_000)
        .await
        .unwrap();
    let segments: u64 = sums.iter().map(|sum| sum.segments).sum();
    let both = settled.iter().filter(|settled| {
        let claim = &settled.settlement.settlement;
        claim.consumer == claim.island_owner
    });
    assert_eq!(segments, u64::try_from(settled.len() + both.count()).unwrap());
}

async fn spans_sides_models_and_pages_cut_the_same_sums(books: Books<impl LedgerStore>) {
    a_random_week(&books, 8).await;
    let whole = ask(&books, &week()).await;
    let one_side = UsageQuestion {
        model: Some("whisper".into()),
        side: Some(UsageSide::IslandOwner),
        ..week()
    };
    let expected: Vec<UsageSum> = whole
        .iter()
        .filter(|sum| sum.model == "whisper" && sum.side == UsageSide::IslandOwner)
        .cloned()
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(ask(&books, &one_side).await, expected);
    // A day begins with its first moment and ends before the next one's.
    let second = UsageQuestion {
        span: Span {
            from: at((FIRST + 1) * MICROS_PER_DAY),
            until: at((FIRST + 2) * MICROS_PER_DAY),
        },
        ..week()
    };
    let day = Day::of(second.span.from);
    let expected: Vec<UsageSum> = whole.iter().filter(|sum| sum.day == day).cloned().collect();
    assert_eq!(ask(&books, &second).await, expected);
    let mut paged = Vec::new();
    loop {
        let offset = u64::try_from(paged.len()).unwrap();
        let page = books
            .store
            .usage(AccountId::new(1), &week(), offset, 4)
            .await
            .unwrap()
            .unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, whole);
    let nobody = books
        .store
        .usage(AccountId::new(99), &week(), 0, 4)
        .await
        .unwrap();
    assert_eq!(nobody, None);
    let before = UsageQuestion {
        span: Span {
            from: Timestamp::from_micros(0),
            until: week().span.from,
        },
        ..week()
    };
    assert_eq!(ask(&books, &before).await, []);
}

async fn what_was_refused_is_not_summed_up(books: Books<impl LedgerStore>) {
    books.take(open_owner("a")).await;
    // Nothing is reserved.
    books.take(settle(settlement(5, 1, 1, 1, 1_000))).await;
    let all = UsageQuestion {
        span: Span {
            from: at(0),
            until: at(10),
        },
        ..week()
    };
    assert_eq!(ask(&books, &all).await, []);
}

on_every_store!(
    the_sums_of_a_random_week_are_those_of_the_books,
    spans_sides_models_and_pages_cut_the_same_sums,
    what_was_refused_is_not_summed_up,
);

#[tokio::test]
async fn usage_over_the_wire_equals_the_statement() {
    let mut served = served().await;
    let client = &mut served.client;
    let ada = account(client, "ada", 1_000_000_000_000).await;
    account(client, "bob", 0).await;
    client
        .reserve(reserve_request(1, &ada, 1, 900_000_000_000))
        .await
        .unwrap();
    let mut taken = settlement(5, 1, 1, 2, 1_500);
    let mut made = settlement(6, 2, 1, 2, 2_500);
    made.bill.bid_liquidity = Liquidity::Maker;
    made.bill.fee = fee_on(made.bill.charge);
    taken.model = "whisper".into();
    client.settle(batch(6, vec![taken, made])).await.unwrap();
    for account_id in ["acc_1", "acc_2"] {
        let statement = pb::GetStatementRequest {
            account_id: account_id.into(),
            ..Default::default()
        };
        let statement = client.get_statement(statement).await.unwrap().into_inner();
        let list = pb::ListUsageRequest {
            account_id: account_id.into(),
            from_us: statement.until_us - 60_000_000,
            page_size: 1,
            ..Default::default()
        };
        let first = client.list_usage(list.clone()).await.unwrap().into_inner();
        let next = pb::ListUsageRequest {
            page_token: first.next_page_token,
            ..list.clone()
        };
        let second = client.list_usage(next.clone()).await.unwrap().into_inner();
        let sums: Vec<pb::Usage> = first.usage.into_iter().chain(second.usage).collect();
        assert_eq!(sums.len(), 2, "{sums:?}");
        for line in &statement.usage {
            let sum = sums.iter().find(|sum| sum.model == line.model).unwrap();
            let earned = sum.charge_nano - sum.fee_nano;
            let expected = match sum.side() {
                pb::UsageSide::Consumer => (sum.charge_nano + sum.fee_nano, 0),
                pb::UsageSide::IslandOwner | pb::UsageSide::Unspecified => (0, earned),
            };
            assert_eq!((line.paid_nano, line.earned_nano), expected);
            assert_eq!((line.units, line.segments), (sum.units, sum.segments));
        }
        // A statement's usage comes to what its lines come to.
        let settled = statement.lines.iter().filter_map(|line| line.transfer.as_ref());
        let settled = settled.filter(|transfer| !transfer.job_id.is_empty());
        let lines: i64 = settled.map(|transfer| transfer.net_nano).sum();
        let usage: i64 = statement
            .usage
            .iter()
            .map(|line| line.earned_nano - line.paid_nano)
            .sum();
        assert_eq!(usage, lines);
        let other = pb::ListUsageRequest {
            side: pb::UsageSide::Consumer.into(),
            ..next
        };
        assert_eq!(field(&client.list_usage(other).await.unwrap_err()), "page_token");
    }
    served.stop().await;
}

#[tokio::test]
async fn hostile_questions_about_usage_are_refused_by_field() {
    let mut served = served().await;
    let client = &mut served.client;
    let account_id = account(client, "ada", 0).await;
    let ask = |change: fn(&mut pb::ListUsageRequest)| {
        let mut request = pb::ListUsageRequest {
            account_id: account_id.clone(),
            from_us: service::clock::unix_micros() - 1_000,
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let long = |request: &mut pb::ListUsageRequest| request.model = "m".repeat(201);
    for (wrong, expected) in [
        (ask(|request| request.from_us = u64::MAX), "from_us"),
        (ask(|request| request.until_us = u64::MAX), "until_us"),
        (ask(|request| request.from_us = 0), "until_us"),
        (ask(|request| request.side = 9), "side"),
        (ask(long), "model"),
        (ask(|request| request.model = "a\u{0}b".into()), "model"),
        (ask(|request| request.page_token = "made-up".into()), "page_token"),
        (ask(|request| request.account_id = "acc_".into()), "account_id"),
    ] {
        assert_eq!(field(&client.list_usage(wrong).await.unwrap_err()), expected);
    }
    let nobody = ask(|request| request.account_id = "acc_9".into());
    let refused = client.list_usage(nobody).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "UNKNOWN_ACCOUNT".into()));
    // Words of SQL are words.
    let words = ask(|request| request.model = "' OR 1=1 --".into());
    assert_eq!(client.list_usage(words).await.unwrap().into_inner().usage, []);
    served.stop().await;
}
