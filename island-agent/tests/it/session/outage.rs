//! Exchanges that go, come back, or do not want this Island.

use std::time::Duration;

use island_agent::start_with;
use island_agent::status::Phase;
use proto::agent::v1::FinishReason;
use proto::agent::v1::session_request::Message as Heard;
use proto::agent::v1::session_response::Message as Said;
use runner::scripted::Script;
use service::secret::Secret;
use service::shutdown::Shutdown;

use super::fake::{FakeExchange, Port, assign, goodbye};
use super::{API_KEY, config, island, prepared};

#[tokio::test]
async fn an_island_waits_for_an_exchange_that_is_not_there_yet() {
    let port = Port::reserve();
    let mut island = island(port.address, Script::default());
    let mut status = island.running.status();
    status
        .wait_for(|status| status.phase == Phase::BackingOff)
        .await
        .unwrap();
    let mut exchange = FakeExchange::start_on(port).await;
    let _session = exchange.quoting().await;
    island.running.quoting().await.unwrap();
}

#[tokio::test]
async fn an_exchange_that_dies_in_mid_job_finds_the_island_with_free_slots() {
    let mut exchange = FakeExchange::start().await;
    let script = Script {
        token_interval: Duration::from_millis(5),
        slots: 1,
        ..Script::default()
    };
    let island = island(exchange.address, script);
    let mut status = island.running.status();
    let mut session = exchange.quoting().await;
    session.say(Said::Assign(assign(1, 4_000))).await;
    session.acknowledged("lse_1").await;
    assert!(matches!(session.next().await, Some(Heard::Output(_))));
    let port = exchange.die().await;
    status
        .wait_for(|status| status.phase != Phase::Quoting)
        .await
        .unwrap();
    drop(session);

    let mut exchange = FakeExchange::start_on(port).await;
    let mut session = exchange.quoting().await;
    // A journal that began anew counts its leases from the start.
    let job = assign(1, 5);
    session.say(Said::Assign(job.clone())).await;
    session.acknowledged("lse_1").await;
    let record = session.finish(&job).await;
    assert_eq!(record.finished.reason(), FinishReason::Length);
    let enrolments = exchange.enrolments.lock().unwrap();
    assert_eq!(enrolments[0].public_key, session.key.to_bytes());
}

#[tokio::test]
async fn a_goodbye_with_a_time_is_a_pause_and_one_without_is_the_end() {
    let mut exchange = FakeExchange::start().await;
    let island = island(exchange.address, Script::default());
    let session = exchange.quoting().await;
    session.say(goodbye(1)).await;
    let session = exchange.quoting().await;
    session.say(goodbye(0)).await;
    let error = island.running.finished().await.unwrap_err().to_string();
    assert!(error.contains("maintenance"), "{error}");
}

#[tokio::test]
async fn a_wrong_key_ends_the_program_with_a_reason_that_does_not_show_it() {
    let exchange = FakeExchange::start().await;
    let data = tempfile::tempdir().unwrap();
    let mut config = config(exchange.address, data.path(), 4);
    config.api_key = Secret::new("atoll_sk_wrong");
    let offers = vec![prepared(&Script::default())];
    let running = start_with(config, offers, Shutdown::manual());
    let error = format!("{:?}", running.finished().await.unwrap_err());
    assert!(error.contains("this key is not known"), "{error}");
    assert!(
        !error.contains("atoll_sk_wrong") && !error.contains(API_KEY),
        "{error}"
    );
}

#[tokio::test]
async fn one_data_folder_serves_one_island() {
    let mut exchange = FakeExchange::start().await;
    let island = island(exchange.address, Script::default());
    let _session = exchange.quoting().await;
    let config = config(exchange.address, island.data.path(), 4);
    let second = start_with(config, vec![prepared(&Script::default())], Shutdown::manual());
    let error = second.finished().await.unwrap_err().to_string();
    assert!(error.contains("another Island runs on"), "{error}");
}

#[tokio::test]
async fn a_stop_while_the_exchange_is_away_needs_no_exchange() {
    let port = Port::reserve();
    let island = island(port.address, Script::default());
    let mut status = island.running.status();
    status
        .wait_for(|status| status.phase == Phase::BackingOff)
        .await
        .unwrap();
    island.shutdown.trigger();
    island.running.finished().await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_never_answered_does_not_stop_a_stop() {
    let mut exchange = FakeExchange::start().await;
    let island = island(exchange.address, Script::default());
    let mut session = exchange.session().await;
    session.hello().await;
    island.shutdown.trigger();
    island.running.finished().await.unwrap();
    assert_eq!(session.next().await, None);
}
