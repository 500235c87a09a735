//! Buying power comes in chunks, once, whatever happens on the way; and goes back.

use domain::{AccountId, Credits};
use exchange::billing_client::ATTEMPTS_MAX;
use exchange::buying_power::{EnsureError, IdleWatch, TOP_UP_CHUNK, WAITING_PER_ACCOUNT_MAX};
use exchange::sequencer::SequencerClosed;
use futures::future::join_all;
use tonic::Code;

use super::billing::{Billing, Fault, client_of};
use super::market::{CONSUMER, Market, OTHER};

const CHUNK: i64 = TOP_UP_CHUNK.as_nano();

fn nano(amount: i64) -> Credits {
    Credits::from_nano(amount)
}

#[tokio::test]
async fn a_top_up_brings_a_chunk_or_what_is_needed_or_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, 5 * CHUNK);

    power.ensure(CONSUMER, nano(10)).await.unwrap();
    assert_eq!(market.power(CONSUMER).await, TOP_UP_CHUNK);
    power.ensure(CONSUMER, nano(3 * CHUNK)).await.unwrap();
    assert_eq!(market.power(CONSUMER).await, nano(4 * CHUNK));
    power.ensure(CONSUMER, nano(CHUNK - 1)).await.unwrap();
    assert_eq!(market.power(CONSUMER).await, nano(5 * CHUNK));
    let needed = nano(1);
    assert_eq!(
        power.ensure(CONSUMER, needed).await,
        Err(EnsureError::NoCredits { needed })
    );
    assert_eq!(billing.reserved_of(CONSUMER), 5 * CHUNK);

    billing.give(OTHER, 7);
    power.ensure(OTHER, nano(5)).await.unwrap();
    assert_eq!(market.power(OTHER).await, nano(7));
    assert_eq!(power.ensure(OTHER, Credits::ZERO).await, Ok(()));
    assert_eq!(billing.calls("reserve"), 5);
}

#[tokio::test]
async fn many_who_need_credits_at_once_share_one_top_up() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, 100 * CHUNK);
    billing.fault("reserve", Fault::Held);

    let tenth = nano(CHUNK.div_euclid(10));
    let first = tokio::spawn({
        let power = power.clone();
        async move { power.ensure(CONSUMER, tenth).await }
    });
    billing.wait_calls("reserve", 1).await;
    let rest = join_all((0..14).map(|_| power.ensure(CONSUMER, tenth)));
    billing.release(1);
    let rest = rest.await;
    assert!(rest.iter().all(Result::is_ok) && first.await.unwrap().is_ok());
    // Fifteen tenths are two chunks.
    assert_eq!(billing.calls("reserve"), 2);
    assert_eq!(market.power(CONSUMER).await, nano(2 * CHUNK));
}

#[tokio::test]
async fn a_lost_answer_costs_nothing_and_reserves_once() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, 10 * CHUNK);
    for _ in 0..ATTEMPTS_MAX {
        billing.fault("reserve", Fault::Lost);
    }
    let answer = power.ensure(CONSUMER, nano(5)).await;
    assert!(matches!(answer, Err(EnsureError::Billing(_))), "{answer:?}");
    assert_eq!(
        (billing.reserved_of(CONSUMER), market.power(CONSUMER).await),
        (CHUNK, Credits::ZERO)
    );
    // The next one finds what was reserved.
    power.ensure(CONSUMER, nano(5)).await.unwrap();
    assert_eq!(
        (billing.reserved_of(CONSUMER), market.power(CONSUMER).await),
        (CHUNK, TOP_UP_CHUNK)
    );
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, 10 * CHUNK);
    billing.fault("reserve", Fault::Silent);
    let gone = tokio::spawn({
        let power = power.clone();
        async move { power.ensure(CONSUMER, nano(5)).await }
    });
    billing.wait_calls("reserve", 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    power.ensure(CONSUMER, nano(5)).await.unwrap();
    assert_eq!(
        (billing.reserved_of(CONSUMER), market.power(CONSUMER).await),
        (CHUNK, TOP_UP_CHUNK)
    );
}

#[tokio::test]
async fn a_refusal_that_is_not_about_credits_is_told_and_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, CHUNK);
    billing.fault("reserve", Fault::Before(Code::PermissionDenied));
    let answer = power.ensure(CONSUMER, nano(5)).await;
    assert!(matches!(answer, Err(EnsureError::Billing(_))), "{answer:?}");
    power.ensure(CONSUMER, nano(5)).await.unwrap();
    assert_eq!(billing.reserved_of(CONSUMER), CHUNK);
}

#[tokio::test]
async fn one_account_does_not_wait_for_another_and_not_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, 10 * CHUNK);
    billing.give(OTHER, 10 * CHUNK);
    billing.fault("reserve", Fault::Held);
    let waiting: Vec<_> = (0..WAITING_PER_ACCOUNT_MAX)
        .map(|_| {
            let power = power.clone();
            tokio::spawn(async move { power.ensure(CONSUMER, nano(1)).await })
        })
        .collect();
    billing.wait_calls("reserve", 1).await;
    power.ensure(OTHER, nano(5)).await.unwrap();
    assert_eq!(power.ensure(CONSUMER, nano(1)).await, Err(EnsureError::Busy));
    billing.release(1);
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
    assert_eq!(power.ensure(CONSUMER, nano(1)).await, Ok(()));
}

#[tokio::test]
async fn transfers_of_two_runs_are_two_even_if_the_journal_was_thrown_away() {
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.give(CONSUMER, 10 * CHUNK);
    for run in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let market = Market::start(folder.path()).await;
        let power = market.buying_power(&client);
        power.ensure(CONSUMER, nano(5)).await.unwrap();
        assert_eq!(billing.reserved_of(CONSUMER), run * CHUNK);
        market.stop().await;
    }
}

#[tokio::test]
async fn idle_credits_go_back_and_those_that_are_set_aside_stay() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    let power = market.buying_power(&client);
    let outbox = market.outbox(&client);
    billing.give(CONSUMER, 3 * CHUNK);
    billing.give(OTHER, CHUNK);
    power.ensure(CONSUMER, nano(1)).await.unwrap();
    power.ensure(OTHER, nano(1)).await.unwrap();
    let lease = market.lease(CONSUMER, 1).await[0];

    billing.fault("return_reserved", Fault::Lost);
    let released = power.release_idle(CONSUMER).await.unwrap();
    assert_eq!(released, nano(CHUNK - super::market::JOB_COSTS));
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(billing.reserved_of(CONSUMER), super::market::JOB_COSTS);
    assert_eq!(power.release_idle(CONSUMER).await, Ok(Credits::ZERO));

    market.close(lease).await;
    assert_eq!(power.release_all_idle().await, Ok(TOP_UP_CHUNK));
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(
        (billing.reserved_of(CONSUMER), billing.reserved_of(OTHER)),
        (0, 0)
    );
    assert_eq!(outbox.handle().refused(), 0);
}

#[tokio::test]
async fn credits_of_an_account_at_rest_go_back_and_those_in_use_stay() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let mut market = Market::start(folder.path()).await;
    let power = market.buying_power(&client);
    let outbox = market.outbox(&client);
    billing.give(CONSUMER, CHUNK);
    billing.give(OTHER, CHUNK);
    power.ensure(CONSUMER, nano(1)).await.unwrap();
    power.ensure(OTHER, nano(1)).await.unwrap();
    let mut watch = IdleWatch::new(power.clone());
    for _ in 0..3 {
        // One who buys between two looks is not at rest, nor is one whose job runs.
        market.work(CONSUMER, 1).await;
        assert_eq!(watch.look().await, Ok(Credits::ZERO));
    }
    let lease = market.lease(CONSUMER, 1).await[0];
    assert_eq!(
        watch.look().await,
        Ok(TOP_UP_CHUNK),
        "the other has rested for three looks"
    );
    for _ in 0..9 {
        assert_eq!(watch.look().await, Ok(Credits::ZERO));
    }
    market.close(lease).await;
    let left = market.power(CONSUMER).await;
    for _ in 0..3 {
        assert_eq!(watch.look().await, Ok(Credits::ZERO));
    }
    assert_eq!(watch.look().await, Ok(left));
    outbox
        .handle()
        .wait_settled(market.sequence().await)
        .await
        .unwrap();
    assert_eq!(
        (billing.reserved_of(CONSUMER), billing.reserved_of(OTHER)),
        (0, 0)
    );
    assert_eq!(outbox.handle().refused(), 0);
}

#[tokio::test]
async fn a_suspended_account_gets_no_buying_power() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, CHUNK);
    power.suspend([CONSUMER]);
    assert_eq!(power.check(CONSUMER), Err(EnsureError::Suspended));
    assert_eq!(power.ensure(CONSUMER, nano(1)).await, Err(EnsureError::Suspended));
    assert_eq!(power.check(AccountId::new(77)), Ok(()));
    assert_eq!(billing.calls("reserve"), 0);
    assert!(power.lift(CONSUMER) && !power.lift(CONSUMER));
    assert_eq!(power.ensure(CONSUMER, nano(1)).await, Ok(()));
    assert_eq!(billing.calls("reserve"), 1);
}

#[tokio::test]
async fn a_stopping_exchange_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let billing = Billing::default();
    let server = billing.serve().await;
    let market = Market::start(folder.path()).await;
    let power = market.buying_power(&client_of(server.address));
    billing.give(CONSUMER, CHUNK);
    market.stop().await;
    assert_eq!(
        power.ensure(CONSUMER, nano(1)).await,
        Err(EnsureError::Closed(SequencerClosed))
    );
}
