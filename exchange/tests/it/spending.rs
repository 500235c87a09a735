//! Spending limits with real parts behind them: what is refused, what is bound, what is told to billing, what a restart
//! remembers.

use proto::agent::v1::FinishReason;
use proto::billing::v1::{KeyScope, SpendingLimit};
use proto::exchange::v1::SetSpendingLimitRequest;
use proto::exchange::v1::wallet_service_client::WalletServiceClient;
use serde_json::{Value, json};
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::grpc::{complaint, with};
use crate::http::hello_with;
use crate::money::billing::Fault;
use crate::support::http::{Answer, Http};
use crate::support::island::{Island, Quote};
use crate::support::whole::{CONSUMER, Whole};

/// A key of the account with ten credits, with limits in nano-credits; 0 is none.
fn limited(exchange: &Whole, name: &str, key: i64, user: i64) -> String {
    let secret = exchange.bank.key(name, CONSUMER, KeyScope::Full);
    exchange.bank.limit(&secret, key, user);
    secret
}

/// Sets a key's limit as its owner does, in nano-credits.
pub(crate) async fn limit_at_the_door(exchange: &Whole, key: &str, nano_per_day: i64) {
    let mut wallet = WalletServiceClient::new(exchange.channel().await);
    let mut request = Request::new(SetSpendingLimitRequest {
        key_id: exchange.bank.id(key).to_string(),
        spending_limit: Some(SpendingLimit {
            key_nano_per_day: nano_per_day,
            user_nano_per_day: 0,
        }),
    });
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    wallet.set_spending_limit(request).await.unwrap();
}

fn http(exchange: &Whole, key: &str) -> Http {
    Http::to(exchange.address).key(key)
}

fn ask(user: &str) -> Value {
    hello_with(json!({"max_tokens": 20, "user": user}))
}

/// An answer that the Island gives.
async fn answered(http: &Http, body: &Value, island: &mut Island, text: &str) -> Answer {
    let (answer, _) = tokio::join!(http.chat(body), island.answer(text));
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer
}

/// What was told to billing, without the end users' names: in all, and by end user.
fn told(exchange: &Whole) -> (Vec<i64>, Vec<i64>) {
    let books = exchange.bank.billing.books();
    let of = |whole: bool| {
        let totals = books.spending.iter();
        let fitting = totals.filter(move |((_, _, user), _)| user.is_empty() == whole);
        fitting.map(|(_, spent)| *spent).collect()
    };
    (of(true), of(false))
}

/// What an answer cost, in nano-credits.
fn total(answer: &Value) -> i64 {
    let credits: rust_decimal::Decimal = answer["atoll"]["total"].as_str().unwrap().parse().unwrap();
    let nano = credits * rust_decimal::Decimal::from(domain::NANO_PER_CREDIT);
    nano.normalize().to_string().parse().unwrap()
}

#[tokio::test]
async fn a_bid_that_could_cost_more_than_is_left_is_refused_in_the_shape_of_a_quota_and_nothing_is_bound() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let key = limited(&exchange, "small", 1_000, 0);
    let refused = http(&exchange, &key).chat(&ask("ada")).await;
    assert_eq!(refused.complaint(), "429 key_spending_limit");
    let body = refused.json();
    assert_eq!(body["error"]["type"], "insufficient_quota");
    let message = body["error"]["message"].as_str().unwrap();
    for part in ["0.000001 credits a day", "are spent", "00:00 UTC"] {
        assert!(message.contains(part), "{message}");
    }
    // It costs more than a whole day's limit: no waiting helps.
    assert_eq!(
        (refused.header("retry-after"), refused.header("x-should-retry")),
        ("", "false")
    );
    let mut client = exchange.grpc_as(&key).await;
    let refused = client.submit_job(with(|_| {})).await.unwrap_err();
    assert_eq!(complaint(&refused), "ResourceExhausted KEY_SPENDING_LIMIT");
    assert!(refused.get_details_retry_info().is_none());
    // A giant's worst case is as much too much.
    let giant = with(|request| {
        let terms = request.terms.get_or_insert_default();
        terms.limit = Some(domain::Price::MAX.get());
    });
    let refused = client.submit_job(giant).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(exchange.bank.billing.calls("reserve"), 0);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn each_end_user_has_a_limit_of_his_own_and_requests_without_one_share_theirs() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(
        &exchange,
        1,
        Quote {
            slots: 4,
            ..Quote::default()
        },
    )
    .await;
    // Enough for one bid of twenty tokens at the protection price, and not for two.
    let key = limited(&exchange, "app", 0, 90_000);
    let http = http(&exchange, &key);
    let (ada, bob, nobody) = (ask("ada"), ask("bob"), ask(""));
    let ada_asks = tokio::spawn({
        let (http, ada) = (http.clone(), ada.clone());
        async move { http.chat(&ada).await }
    });
    let mut work = island.job().await;
    // While ada's job runs, what it may cost is bound: its end makes room, not midnight.
    let refused = http.chat(&ada).await;
    assert_eq!(refused.complaint(), "429 user_spending_limit");
    assert_eq!(
        (refused.header("retry-after"), refused.header("x-should-retry")),
        ("1", "true")
    );
    answered(&http, &bob, &mut island, "for bob").await;
    answered(&http, &nobody, &mut island, "hm").await;
    island.write(&mut work, "for ada").await;
    island.finish(&work, FinishReason::Stop).await;
    let first = ada_asks.await.unwrap().json();
    exchange.nothing_leaked().await;
    // Now she has spent what it did cost, and there is room for one more.
    let answer = answered(&http, &ada, &mut island, "again").await;
    let second = total(&answer.json());
    let (bank, spent) = (exchange.bank.clone(), total(&first) + second);
    exchange.stop().await;
    let books = bank.billing.books();
    let users: Vec<i64> = books
        .spending
        .iter()
        .filter(|((_, _, user), _)| !user.is_empty())
        .map(|(_, spent)| *spent)
        .collect();
    assert_eq!(users.len(), 3, "{users:?}");
    assert!(users.contains(&spent), "{users:?} without {spent}");
    // Nobody's name is anywhere.
    assert!(!format!("{:?}", books.spending).contains("ada"));
}

#[tokio::test]
async fn what_was_spent_is_told_at_the_stop_and_remembered_by_the_next_start() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let key = limited(&exchange, "daily", 100_000, 0);
    let client = http(&exchange, &key);
    let answer = answered(&client, &ask("ada"), &mut island, "hello there").await;
    let spent = total(&answer.json());
    let exchange = exchange.restart().await;
    assert_eq!(told(&exchange), (vec![spent], vec![]));
    // Another key's day has just begun; this one's goes on.
    let _island = Island::quoting(&exchange, 2, Quote::default()).await;
    exchange.bank.limit(&key, spent + 1, 0);
    let refused = http(&exchange, &key).chat(&ask("ada")).await;
    assert_eq!(refused.complaint(), "429 key_spending_limit");
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    let words = format!("{} are spent", domain::Credits::from_nano(spent));
    assert!(message.contains(&words), "{message}");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_client_who_goes_away_is_metered_all_the_same() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let key = limited(&exchange, "hasty", 100_000, 0);
    let mut events = http(&exchange, &key)
        .stream(&hello_with(json!({"max_tokens": 20, "stream": true})))
        .await;
    let mut work = island.job().await;
    island.write(&mut work, "some words").await;
    // Words have arrived, and nobody reads on.
    while let Some(data) = events.data().await {
        if data["choices"][0]["delta"]["content"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
        {
            break;
        }
    }
    drop(events);
    island.revoked(&work).await;
    island.finish(&work, FinishReason::Cancelled).await;
    exchange.nothing_leaked().await;
    let bank = exchange.bank.clone();
    exchange.stop().await;
    let books = bank.billing.books();
    let charged: i64 = books
        .settled
        .values()
        .map(|settled| settled.charge_nano + settled.fee_nano)
        .sum();
    let spent: Vec<i64> = books.spending.values().copied().collect();
    assert!(charged > 0);
    assert_eq!(spent, [charged]);
}

#[tokio::test]
async fn while_billing_cannot_say_what_was_spent_nothing_is_bought_with_a_limited_key() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let key = limited(&exchange, "dark", 100_000, 0);
    // As often as it is asked within a call.
    for _ in 0..4 {
        exchange
            .bank
            .billing
            .fault("list_spending", Fault::Before(Code::Unavailable));
    }
    let refused = http(&exchange, &key).chat(&ask("ada")).await;
    assert_eq!(refused.complaint(), "503 billing_unavailable");
    let client = http(&exchange, &key);
    answered(&client, &ask("ada"), &mut island, "light").await;
    // A key without a limit is not asked about at all.
    let asked = exchange.bank.billing.calls("list_spending");
    let client = exchange.http();
    answered(&client, &ask("ada"), &mut island, "free").await;
    assert_eq!(exchange.bank.billing.calls("list_spending"), asked);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn what_a_refused_or_expired_bid_had_bound_is_free_again() {
    let exchange = Whole::start().await;
    let key = limited(&exchange, "again", 90_000, 0);
    let client = http(&exchange, &key);
    // Nobody quotes.
    assert_eq!(client.chat(&ask("a")).await.complaint(), "422 unservable");
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    // Each binds a third of what there is, and ends unfilled at once.
    for _ in 0..3 {
        let low = hello_with(json!({
            "max_tokens": 20, "atoll": {"limit": "0.00099", "max_wait_ms": 0}
        }));
        assert_eq!(client.chat(&low).await.complaint(), "422 not_filled");
    }
    answered(&client, &ask("a"), &mut island, "at last").await;
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_retry_of_a_placed_bid_is_told_so_however_little_is_left() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    // Enough for one bid, and not for two.
    let key = limited(&exchange, "retries", 90_000, 0);
    let once = http(&exchange, &key).header("idempotency-key", "once");
    let twice = http(&exchange, &key).header("idempotency-key", "twice");
    let body = ask("ada");
    let placed = tokio::spawn({
        let (once, body) = (once.clone(), body.clone());
        async move { once.chat(&body).await }
    });
    let mut work = island.job().await;
    assert_eq!(once.chat(&body).await.complaint(), "422 repeated_order");
    assert_eq!(twice.chat(&body).await.complaint(), "429 key_spending_limit");
    island.write(&mut work, "yes").await;
    island.finish(&work, FinishReason::Stop).await;
    assert_eq!(placed.await.unwrap().status, 200);
    exchange.nothing_leaked().await;
    // Now the key has spent more than it may.
    limit_at_the_door(&exchange, &key, 1).await;
    assert_eq!(once.chat(&body).await.complaint(), "422 repeated_order");
    assert_eq!(twice.chat(&body).await.complaint(), "429 key_spending_limit");
    // Under a name that is taken another order is another order still.
    let other = hello_with(json!({"max_tokens": 21, "user": "ada"}));
    assert_eq!(
        once.chat(&other).await.complaint(),
        "422 duplicate_client_order_id"
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_line_that_billing_does_not_know_keeps_nobody_elses_spending_from_it() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let gone = limited(&exchange, "gone", 200_000, 100_000);
    let good = limited(&exchange, "good", 200_000, 100_000);
    let unknown = exchange.bank.id(&gone).to_string();
    exchange.bank.billing.books().unknown_lines.push(unknown);
    answered(&http(&exchange, &gone), &ask("ada"), &mut island, "lost").await;
    let answer = answered(&http(&exchange, &good), &ask("bob"), &mut island, "kept").await;
    let spent = total(&answer.json());
    exchange.nothing_leaked().await;
    let exchange = exchange.restart().await;
    assert_eq!(told(&exchange), (vec![spent], vec![spent]));
    exchange.stop().await;
}

#[tokio::test]
async fn a_line_whose_totals_are_slow_to_come_keeps_no_other_waiting_and_is_asked_about_once() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let slow = http(&exchange, &limited(&exchange, "slow", 1_000, 0));
    let quick = http(&exchange, &limited(&exchange, "quick", 200_000, 0));
    exchange.bank.billing.fault("list_spending", Fault::Held);
    let asks = || {
        let slow = slow.clone();
        tokio::spawn(async move { slow.chat(&ask("ada")).await })
    };
    let first = asks();
    exchange.bank.billing.wait_calls("list_spending", 1).await;
    let second = asks();
    answered(&quick, &ask("bob"), &mut island, "at once").await;
    assert_eq!(exchange.bank.billing.calls("list_spending"), 2);
    exchange.bank.billing.release(1);
    for held in [first, second] {
        assert_eq!(held.await.unwrap().complaint(), "429 key_spending_limit");
    }
    assert_eq!(exchange.bank.billing.calls("list_spending"), 2);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
