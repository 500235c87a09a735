//! The two books agree at the start, or somebody is told.

use std::collections::BTreeMap;

use domain::{Credits, TransferId};
use exchange::billing_client::{BillingClient, Reserve};
use exchange::buying_power::TOP_UP_CHUNK;
use exchange::outbox::Outbox;
use exchange::reconcile::{Mismatch, ReconcileCounts, ReconcileParts, ReconcileWatch, Reconciled, reconcile};
use matcher::{Command, Fund};
use tonic::Code;

use super::billing::{Billing, Fault, SHARD, client_of};
use super::market::{CONSUMER, Market, OTHER};

const CHUNK: i64 = TOP_UP_CHUNK.as_nano();

async fn compare(market: &mut Market, client: &BillingClient) -> Reconciled {
    let outbox = market.outbox(client);
    reconcile(SHARD, &market.sequencer, client, &outbox.handle())
        .await
        .unwrap()
}

/// A reservation that the engine was never told of.
async fn orphan(client: &BillingClient, number: u128, amount: i64) {
    let amount = Credits::from_nano(amount);
    let reserve = Reserve {
        transfer: TransferId::new(number),
        account: CONSUMER,
        shard: SHARD,
        minimum: amount,
        wanted: amount,
    };
    client.reserve(reserve).await.unwrap();
}

#[tokio::test]
async fn books_that_agree_are_left_alone_without_reading_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, 2 * CHUNK);
    let mut market = Market::start(folder.path()).await;
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 3).await;
    drop(outbox);
    market.stop().await;

    let mut market = Market::start(folder.path()).await;
    assert_eq!(compare(&mut market, &client).await, Reconciled::default());
    assert_eq!(billing.calls("list_reservations"), 0);
}

#[tokio::test]
async fn a_fund_that_a_crash_swallowed_is_issued_again_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, 100 * CHUNK);
    billing.books().page_size = 2;
    let mut market = Market::start(folder.path()).await;
    let power = market.buying_power(&client);
    for _ in 0..5 {
        power.ensure(CONSUMER, TOP_UP_CHUNK).await.unwrap();
    }
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 7).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    orphan(&client, 12_345, 77).await;
    drop(outbox);
    market.stop().await;

    let mut market = Market::start(folder.path()).await;
    billing.fault("list_reserved_balances", Fault::Before(Code::Unavailable));
    billing.fault("list_reservations", Fault::Lost);
    let reconciled = compare(&mut market, &client).await;
    assert_eq!(
        reconciled.funded,
        BTreeMap::from([(CONSUMER, Credits::from_nano(77))])
    );
    assert_eq!(reconciled.mismatches, BTreeMap::new());
    assert_eq!(
        market.power(CONSUMER).await.as_nano(),
        billing.reserved_of(CONSUMER)
    );
    market.stop().await;

    let mut market = Market::start(folder.path()).await;
    assert_eq!(compare(&mut market, &client).await, Reconciled::default());
}

#[tokio::test]
async fn more_at_the_engine_than_at_billing_is_a_mismatch_with_both_figures() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    let amount = Credits::from_nano(5);
    let transfer = TransferId::new(1);
    market
        .apply(Command::Fund(Fund {
            transfer,
            account: OTHER,
            amount,
        }))
        .await;
    let reconciled = compare(&mut market, &client).await;
    let mismatch = Mismatch {
        engine: amount,
        billing: Credits::ZERO,
    };
    assert_eq!(reconciled.mismatches, BTreeMap::from([(OTHER, mismatch)]));
}

#[tokio::test]
async fn never_more_is_funded_than_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, CHUNK);
    let mut market = Market::start(folder.path()).await;
    orphan(&client, 1, 100).await;
    // Credits went somewhere that no transfer tells of: which reservation is the missing one cannot be known.
    *billing.books().reserved.get_mut(&CONSUMER).unwrap() = 60;
    let reconciled = compare(&mut market, &client).await;
    assert_eq!(reconciled.funded, BTreeMap::new());
    let mismatch = Mismatch {
        engine: Credits::ZERO,
        billing: Credits::from_nano(60),
    };
    assert_eq!(reconciled.mismatches, BTreeMap::from([(CONSUMER, mismatch)]));
}

#[tokio::test]
async fn what_is_still_to_be_settled_is_settled_before_books_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let address = server.address;
    let client = client_of(address);
    billing.give(CONSUMER, CHUNK);
    let mut market = Market::start(folder.path()).await;
    let power = market.buying_power(&client);
    power.ensure(CONSUMER, TOP_UP_CHUNK).await.unwrap();
    market.work(CONSUMER, 3).await;
    power.release_idle(CONSUMER).await.unwrap();
    market.stop().await;
    server.stop().await;

    let mut market = Market::start(folder.path()).await;
    let (reconciled, _server) = tokio::join!(compare(&mut market, &client), billing.serve_on(address));
    assert_eq!(reconciled, Reconciled::default());
    assert_eq!(billing.reserved_of(CONSUMER), 0);
}

#[tokio::test]
async fn a_refusal_by_billing_is_an_error_and_not_endless() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    let outbox = market.outbox(&client);
    billing.fault("list_reserved_balances", Fault::Before(Code::PermissionDenied));
    assert!(
        reconcile(SHARD, &market.sequencer, &client, &outbox.handle())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn many_accounts_are_compared_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, CHUNK);
    billing.give(OTHER, CHUNK);
    billing.books().page_size = 1;
    let mut market = Market::start(folder.path()).await;
    let power = market.buying_power(&client);
    for account in [CONSUMER, OTHER] {
        power.ensure(account, TOP_UP_CHUNK).await.unwrap();
    }
    assert_eq!(compare(&mut market, &client).await, Reconciled::default());
    assert_eq!(billing.calls("list_reserved_balances"), 2);
    assert_eq!(billing.calls("audit"), 0);
}

/// A watch over a market that trades, and what it counts.
fn watch(market: &mut Market, client: &BillingClient, outbox: &Outbox) -> (ReconcileWatch, ReconcileCounts) {
    let counts = ReconcileCounts::default();
    let parts = ReconcileParts {
        shard: SHARD,
        sequencer: market.sequencer.clone(),
        billing: client.clone(),
        outbox: outbox.handle(),
        buying_power: market.buying_power(client),
    };
    (ReconcileWatch::new(parts, counts.clone()), counts)
}

#[tokio::test]
async fn a_fund_that_goes_missing_while_the_exchange_trades_is_issued_after_three_looks() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, 100 * CHUNK);
    let mut market = Market::start(folder.path()).await;
    let outbox = market.outbox(&client);
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();
    let (mut watch, counts) = watch(&mut market, &client, &outbox);
    assert_eq!(watch.look().await.unwrap(), Reconciled::default());
    orphan(&client, 12_345, 77).await;
    for _ in 0..2 {
        assert_eq!(watch.look().await.unwrap(), Reconciled::default());
    }
    // The account trades: what is on its way is no difference, and the looks begin anew.
    market.work(CONSUMER, 1).await;
    for _ in 0..2 {
        assert_eq!(watch.look().await.unwrap(), Reconciled::default());
    }
    let funded = BTreeMap::from([(CONSUMER, Credits::from_nano(77))]);
    assert_eq!(watch.look().await.unwrap().funded, funded);
    assert_eq!(
        market.power(CONSUMER).await.as_nano(),
        billing.reserved_of(CONSUMER)
    );
    assert_eq!(watch.look().await.unwrap(), Reconciled::default());
    assert_eq!((counts.looks(), counts.funded(), counts.mismatched()), (7, 1, 0));
}

#[tokio::test]
async fn an_account_whose_books_come_apart_while_it_trades_buys_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, 100 * CHUNK);
    let mut market = Market::start(folder.path()).await;
    let outbox = market.outbox(&client);
    let power = market.buying_power(&client);
    power.ensure(CONSUMER, TOP_UP_CHUNK).await.unwrap();
    let counts = ReconcileCounts::default();
    let parts = ReconcileParts {
        shard: SHARD,
        sequencer: market.sequencer.clone(),
        billing: client.clone(),
        outbox: outbox.handle(),
        buying_power: power.clone(),
    };
    let mut watch = ReconcileWatch::new(parts, counts.clone());
    *billing.books().reserved.get_mut(&CONSUMER).unwrap() -= 5;
    for _ in 0..2 {
        assert_eq!(watch.look().await.unwrap(), Reconciled::default());
        power.check(CONSUMER).unwrap();
    }
    let mismatches = watch.look().await.unwrap().mismatches;
    assert_eq!(mismatches.keys().copied().collect::<Vec<_>>(), [CONSUMER]);
    assert!(power.check(CONSUMER).is_err());
    // It was told once.
    assert_eq!(watch.look().await.unwrap(), Reconciled::default());
    assert_eq!((counts.looks(), counts.mismatched()), (4, 1));
}
