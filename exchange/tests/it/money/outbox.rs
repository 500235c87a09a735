//! Every ended lease is settled once, in order, whatever billing does meanwhile.

use std::time::Duration;

use exchange::billing_client::BillingError;
use exchange::buying_power::TOP_UP_CHUNK;
use exchange::outbox::{BATCH_MAX, OutboxError};
use tonic::Code;

use super::billing::{Billing, Fault, client_of, client_with};
use super::market::{CONSUMER, JOB_COSTS, JOB_EARNS, Market, OTHER, OWNER};

const CHUNK: i64 = TOP_UP_CHUNK.as_nano();

fn spent(billing: &Billing) -> i64 {
    CHUNK - billing.reserved_of(CONSUMER)
}

fn earned(billing: &Billing) -> i64 {
    billing.books().available.get(&OWNER).copied().unwrap_or(0)
}

#[tokio::test]
async fn what_was_done_is_paid_for() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    let outbox = market.outbox(&client);
    billing.give(CONSUMER, CHUNK);
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();
    market.work(CONSUMER, 3).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(
        (spent(&billing), earned(&billing)),
        (3 * JOB_COSTS, 3 * JOB_EARNS)
    );
    assert_eq!(
        market.power(CONSUMER).await.as_nano(),
        billing.reserved_of(CONSUMER)
    );
    let settled = billing.books().settled.values().next().unwrap().clone();
    assert_eq!((settled.model.as_str(), settled.units), ("tiny-chat", 1_000));
}

#[tokio::test]
async fn the_cursor_follows_commands_that_move_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let mut market = Market::start(folder.path()).await;
    let outbox = market.outbox(&client_of(server.address));
    let sequence = market.sequence().await;
    outbox.handle().wait_settled(sequence).await.unwrap();
    assert_eq!(billing.books().cursor, sequence.get());
    assert_eq!(outbox.handle().settled_through(), sequence);
    assert!(
        billing.calls("settle_nothing") <= 2,
        "a command that moves nothing costs no call of its own"
    );
}

#[tokio::test]
async fn many_settlements_go_in_few_batches() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    billing.give(CONSUMER, 20 * CHUNK);
    let power = market.buying_power(&client);
    power
        .ensure(CONSUMER, domain::Credits::from_nano(20 * CHUNK))
        .await
        .unwrap();
    // All of it waits in the subscription already when the outbox begins.
    let jobs = 3 * BATCH_MAX;
    market.work(CONSUMER, u32::try_from(jobs).unwrap()).await;
    let outbox = market.outbox(&client);
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    let books = billing.books();
    assert_eq!(books.settled.len(), jobs);
    assert!(
        books.batches.iter().all(|size| *size <= BATCH_MAX),
        "{:?}",
        books.batches
    );
    assert!(
        books.batches.iter().filter(|size| **size > 0).count() <= 12,
        "{:?}",
        books.batches
    );
    let mut sorted = books.order.clone();
    sorted.sort_by_key(|lease| lease.parse::<domain::LeaseId>().unwrap());
    assert_eq!(books.order, sorted);
}

#[tokio::test]
async fn lost_answers_breakdowns_and_silence_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    billing.give(CONSUMER, CHUNK);
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();
    for fault in [
        Fault::Lost,
        Fault::Before(Code::Unavailable),
        Fault::Before(Code::Internal),
        Fault::Lost,
        Fault::Lost,
        // More than one call of the client repeats: the outbox goes on by itself.
        Fault::Before(Code::Aborted),
        // An operator's mistake that he mends.
        Fault::Before(Code::Unauthenticated),
        Fault::Lost,
    ] {
        billing.fault("settle", fault);
    }
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 5).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(
        (spent(&billing), earned(&billing)),
        (5 * JOB_COSTS, 5 * JOB_EARNS)
    );
    assert_eq!(outbox.handle().refused(), 0);
}

#[tokio::test]
async fn billing_may_be_down_at_the_start_and_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let address = server.address;
    let client = client_of(address);
    let mut market = Market::start(folder.path()).await;
    billing.give(CONSUMER, CHUNK);
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();

    server.stop().await;
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 2).await;
    assert_eq!(outbox.handle().settled_through().get(), 0);
    let server = billing.serve_on(address).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(spent(&billing), 2 * JOB_COSTS);

    server.stop().await;
    market.work(CONSUMER, 2).await;
    let _server = billing.serve_on(address).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(
        (spent(&billing), earned(&billing)),
        (4 * JOB_COSTS, 4 * JOB_EARNS)
    );
}

#[tokio::test]
async fn what_does_not_fit_is_read_again_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    billing.give(CONSUMER, CHUNK);
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();
    let outbox = market.outbox_of(&client, 4);
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    let calls = billing.calls("settle");
    billing.fault("settle", Fault::Held);
    let leases = market.lease(CONSUMER, 50).await;
    for (index, lease) in leases.into_iter().enumerate() {
        market.close(lease).await;
        if index == 0 {
            billing.wait_calls("settle", calls + 1).await;
        }
    }
    assert!(outbox.handle().waiting() <= 4);
    billing.release(1);
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(
        (spent(&billing), earned(&billing)),
        (50 * JOB_COSTS, 50 * JOB_EARNS)
    );
    // And it goes on as before.
    market.work(CONSUMER, 1).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(spent(&billing), 51 * JOB_COSTS);
}

#[tokio::test]
async fn one_command_that_ends_more_leases_than_fit_is_settled_whole() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    billing.give(CONSUMER, 10 * CHUNK);
    let power = market.buying_power(&client);
    power
        .ensure(CONSUMER, domain::Credits::from_nano(10 * CHUNK))
        .await
        .unwrap();
    let outbox = market.outbox_of(&client, 16);
    let jobs = 600;
    let leases = market.lease(CONSUMER, jobs).await;
    for lease in leases {
        let units = domain::Units::new(500);
        market
            .apply(matcher::Command::Checkpoint(matcher::Checkpoint { lease, units }))
            .await;
    }
    market
        .apply(matcher::Command::LoseSessions(matcher::LoseSessions::All))
        .await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    // The consumer pays nothing, the exchange pays what was signed for.
    assert_eq!(billing.reserved_of(CONSUMER), 10 * CHUNK);
    assert_eq!(earned(&billing), i64::from(jobs).div_euclid(2) * JOB_EARNS);
    assert_eq!(billing.books().settled.len(), 600);
}

#[tokio::test]
async fn a_refused_settlement_is_counted_and_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    billing.give(CONSUMER, CHUNK);
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();
    let outbox = market.outbox(&client);
    let leases = market.lease(CONSUMER, 3).await;
    billing.books().refuse.push(leases[1].to_string());
    for lease in leases {
        market.close(lease).await;
    }
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(outbox.handle().refused(), 1);
    assert_eq!(billing.books().settled.len(), 2);
}

#[tokio::test]
async fn a_refused_return_is_counted_and_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    billing.give(CONSUMER, CHUNK);
    let power = market.buying_power(&client);
    power.ensure(CONSUMER, TOP_UP_CHUNK).await.unwrap();
    let outbox = market.outbox(&client);
    billing.fault("return_reserved", Fault::Before(Code::FailedPrecondition));
    power.release_idle(CONSUMER).await.unwrap();
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(outbox.handle().refused(), 1);
    assert_eq!(billing.reserved_of(CONSUMER), CHUNK);
}

#[tokio::test]
async fn a_restart_settles_what_was_not_settled_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let address = server.address;
    let client = client_of(address);
    billing.give(CONSUMER, CHUNK);
    billing.give(OTHER, CHUNK);

    let mut market = Market::start(folder.path()).await;
    let power = market.buying_power(&client);
    power.ensure(CONSUMER, TOP_UP_CHUNK).await.unwrap();
    power.ensure(OTHER, TOP_UP_CHUNK).await.unwrap();
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 2).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    // Booked, but the answer never comes; then the process dies with more to say.
    let calls = billing.calls("settle");
    billing.fault("settle", Fault::Silent);
    market.work(CONSUMER, 1).await;
    billing.wait_calls("settle", calls + 1).await;
    market.work(CONSUMER, 2).await;
    power.release_idle(OTHER).await.unwrap();
    drop(outbox);
    market.stop().await;
    assert_eq!(spent(&billing), 3 * JOB_COSTS);
    assert_eq!(billing.reserved_of(OTHER), CHUNK);

    let mut market = Market::start(folder.path()).await;
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 1).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(
        (spent(&billing), earned(&billing)),
        (6 * JOB_COSTS, 6 * JOB_EARNS)
    );
    assert_eq!(billing.reserved_of(OTHER), 0);
    assert_eq!(
        market.power(CONSUMER).await.as_nano(),
        billing.reserved_of(CONSUMER)
    );
}

#[tokio::test]
async fn a_journal_that_is_shorter_than_what_was_settled_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    billing.books().cursor = 1_000;
    let mut market = Market::start(folder.path()).await;
    let mut outbox = market.outbox(&client_of(server.address));
    let error = outbox.ended().await.unwrap_err();
    assert!(matches!(error, OutboxError::CursorAhead { .. }), "{error}");
    assert!(
        outbox
            .handle()
            .wait_settled(market.sequence().await)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_exchange_that_stops_settles_what_it_can_in_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, CHUNK);
    let mut market = Market::start(folder.path()).await;
    market
        .buying_power(&client)
        .ensure(CONSUMER, TOP_UP_CHUNK)
        .await
        .unwrap();
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 2).await;
    market.stop().await;
    outbox.finish(Duration::from_secs(60)).await.unwrap();
    assert_eq!(spent(&billing), 2 * JOB_COSTS);

    let mut market = Market::start(folder.path()).await;
    let outbox = market.outbox(&client);
    market.work(CONSUMER, 1).await;
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    server.stop().await;
    market.work(CONSUMER, 1).await;
    market.stop().await;
    outbox.finish(Duration::from_millis(1)).await.unwrap();
    assert_eq!(spent(&billing), 3 * JOB_COSTS);
}

#[tokio::test]
async fn a_billing_that_refuses_the_exchange_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_with(server.address, "wrong-token", Duration::from_secs(5));
    let mut market = Market::start(folder.path()).await;
    let error = market.outbox(&client).ended().await.unwrap_err();
    assert!(
        matches!(error, OutboxError::Billing(BillingError::Refused { .. })),
        "{error}"
    );
}
