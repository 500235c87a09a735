//! An exchange that is started again goes on where it stopped.

use std::time::Duration;

use proto::exchange::v1 as wire;
use proto::exchange::v1::submit_job_response::Event;
use proto::market_data::v1 as market_data;
use proto::market_data::v1::market_data_service_client::MarketDataServiceClient;
use proto::types::v1 as types;

use super::jobs::{all, with};
use crate::support::island::{Island, Quote};
use crate::support::whole::{Client, Whole};

#[tokio::test]
async fn what_was_bought_and_settled_is_there_after_a_restart() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let named = with(|request| request.client_order_id = "mine".to_owned());
    let (events, _) = tokio::join!(all(&mut client, named.clone()), island.answer("once"));
    let Some(Event::Completed(completed)) = events.last() else {
        panic!("{events:?}")
    };
    let before = client
        .get_balance(wire::GetBalanceRequest {})
        .await
        .unwrap()
        .into_inner();
    let stopped_at = exchange.status().await.sequence;
    let island_id = island.id;
    drop((client, island));

    let exchange = exchange.restart().await;
    let status = exchange.status().await;
    assert!(status.sequence > stopped_at);
    assert!(status.islands.is_empty(), "sessions do not outlive the exchange");
    let mut client = exchange.grpc().await;
    let after = client
        .get_balance(wire::GetBalanceRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(before.buying_power_nano > 0);
    assert_eq!(
        (after.buying_power_nano, after.bound_nano, after.reserved_nano),
        (0, 0, 0),
        "billing has settled what was charged, and the rest went back"
    );
    let bill = completed.bill.as_ref().unwrap();
    let paid = bill.charge_nano + bill.fee_nano;
    assert_eq!(after.available_nano, 10_000_000_000 - paid);

    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    assert_eq!(island.id, island_id, "an Island is its key");
    // The name is remembered, and so the job is not run again; its text never was.
    let again = all(&mut client, named).await;
    let Event::Accepted(accepted) = &again[0] else {
        panic!("{again:?}")
    };
    assert!(accepted.repeated_order);
    let fresh = with(|request| request.client_order_id = "another".to_owned());
    let (events, _) = tokio::join!(all(&mut client, fresh), island.answer("twice"));
    assert!(matches!(events.last(), Some(Event::Completed(_))), "{events:?}");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

/// What a job's end is told to be, without what only the process that ran it knew.
fn outcome(completed: &wire::Completed) -> String {
    let bill = completed.bill.as_ref().unwrap();
    format!(
        "{}: {:?} {} units, charge {} fee {} ",
        completed.job_id,
        completed.outcome(),
        completed.usage.unwrap().units,
        bill.charge_nano,
        bill.fee_nano,
    ) + &completed.code
}

async fn repeat(client: &mut Client, request: wire::SubmitJobRequest) -> Vec<String> {
    let events = all(client, request).await;
    let Some((Event::Accepted(accepted), rest)) = events.split_first() else {
        panic!("{events:?}")
    };
    assert!(accepted.repeated_order);
    rest.iter()
        .map(|event| match event {
            Event::Completed(completed) => outcome(completed),
            Event::Ended(ended) => format!("{} ended by {}", ended.jobs, ended.code),
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn listed(client: &mut Client) -> Vec<wire::Job> {
    let request = wire::ListJobsRequest { page_size: 0 };
    client.list_jobs(request).await.unwrap().into_inner().jobs
}

#[tokio::test]
async fn how_jobs_ended_and_what_they_cost_is_told_after_any_number_of_restarts() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let done = with(|request| request.client_order_id = "done".to_owned());
    let (events, _) = tokio::join!(all(&mut client, done.clone()), island.answer("once"));
    let Some(Event::Completed(first)) = events.last() else {
        panic!("{events:?}")
    };
    let before = listed(&mut client).await;
    drop(client);

    let exchange = exchange.restart().await;
    let mut client = exchange.grpc().await;
    assert_eq!(repeat(&mut client, done.clone()).await, [outcome(first)]);
    let after = listed(&mut client).await;
    assert_eq!(after.len(), 1);
    let cost = |job: &wire::Job| {
        let bill = job.bill.as_ref().unwrap();
        (
            job.job_id.clone(),
            job.state.clone(),
            bill.charge_nano,
            bill.fee_nano,
        )
    };
    assert_eq!(cost(&after[0]), cost(&before[0]));
    assert_eq!(
        after[0].ended_at_us.abs_diff(before[0].ended_at_us) / 1_000_000,
        0
    );
    assert_eq!(after[0].model, before[0].model);
    drop(client);

    let exchange = exchange.restart_without_snapshots().await;
    let mut client = exchange.grpc().await;
    assert_eq!(repeat(&mut client, done).await, [outcome(first)]);
    assert_eq!(cost(&listed(&mut client).await[0]), cost(&before[0]));
    exchange.stop().await;
}

#[tokio::test]
async fn jobs_that_a_restart_ended_say_so_to_who_comes_back() {
    let exchange = Whole::start_with(|config| config.limits.drain_timeout = Duration::ZERO).await;
    let one_slot = Quote {
        slots: 1,
        ..Quote::default()
    };
    let mut island = Island::quoting(&exchange, 1, one_slot).await;
    let mut client = exchange.grpc().await;
    let mut two = with(|request| request.client_order_id = "two".to_owned());
    two.inputs.push(two.inputs[0].clone());
    two.terms.get_or_insert_default().time_in_force = Some(types::TimeInForce {
        kind: types::TimeInForceKind::Gtc.into(),
        ..types::TimeInForce::default()
    });
    let stream = client.submit_job(two.clone()).await.unwrap().into_inner();
    let work = island.job().await;
    let running = work.assign.job_id.clone();
    let waiting = format!("{}1", running.strip_suffix('0').unwrap());

    let exchange = exchange.restart().await;
    drop((stream, client));
    let mut client = exchange.grpc().await;
    assert_eq!(
        repeat(&mut client, two).await,
        [
            format!("{running}: Failed 0 units, charge 0 fee 0 SESSION_LOST"),
            String::from("1 ended by SESSION_LOST"),
        ]
    );
    let jobs = listed(&mut client).await;
    let codes: Vec<_> = jobs
        .iter()
        .map(|job| (job.job_id.clone(), job.state.as_str(), job.code.as_str()))
        .collect();
    assert_eq!(
        codes,
        [
            (waiting, "failed", "SESSION_LOST"),
            (running, "failed", "SESSION_LOST")
        ]
    );
    exchange.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_folder_in_use_are_said_to_be() {
    let exchange = Whole::start().await;
    let mut config = exchange::config::Config::new(
        exchange.data.path(),
        &crate::registry::fixture::folder(),
        service::secret::Secret::new("x"),
    );
    config.listen = exchange.address;
    let shutdown = service::shutdown::Shutdown::manual();
    let refused = exchange::start(config.clone(), shutdown.clone())
        .await
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("could not listen on"),
        "{refused:#}"
    );
    config.listen = "127.0.0.1:0".parse().unwrap();
    let refused = exchange::start(config.clone(), shutdown.clone())
        .await
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("could not use the journal"),
        "{refused:#}"
    );
    config.models_dir = exchange.data.path().to_owned();
    let refused = exchange::start(config, shutdown).await.unwrap_err();
    assert!(
        format!("{refused:#}").contains("no model is installed in"),
        "{refused:#}"
    );
    exchange.stop().await;
}

#[tokio::test]
async fn an_exchange_without_billing_waits_for_it_and_can_be_told_to_stop() {
    let data = tempfile::tempdir().unwrap();
    let folder = crate::registry::fixture::folder();
    let mut config = exchange::config::Config::new(data.path(), &folder, service::secret::Secret::new("x"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    // A port that was free a moment ago, where nobody listens.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    config.billing_url = format!("http://{free}");
    let shutdown = service::shutdown::Shutdown::manual();
    let starting = tokio::spawn(exchange::start(config, shutdown.clone()));
    tokio::task::yield_now().await;
    shutdown.trigger();
    let refused = starting.await.unwrap().unwrap_err();
    assert!(format!("{refused:#}").contains("told to stop"), "{refused:#}");
}

#[tokio::test]
async fn the_trades_of_before_a_restart_are_listed_after_it() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    for text in ["one", "two"] {
        tokio::join!(all(&mut client, with(|_| {})), island.answer(text));
    }
    let before = trades(&exchange).await;
    assert_eq!(before.len(), 2);
    drop((client, island));
    let exchange = exchange.restart().await;
    let mut after = trades(&exchange).await;
    while after.is_empty() {
        // They are looked for while the exchange serves already.
        tokio::task::yield_now().await;
        after = trades(&exchange).await;
    }
    assert_eq!(after, before);
    exchange.stop().await;
}

/// The latest trades over all models.
async fn trades(exchange: &Whole) -> Vec<market_data::Trade> {
    let mut client = MarketDataServiceClient::new(exchange.channel().await);
    let request = market_data::ListTradesRequest::default();
    client.list_trades(request).await.unwrap().into_inner().trades
}
