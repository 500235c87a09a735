//! The calls that answer at once.

use proto::exchange::v1 as wire;
use proto::exchange::v1::submit_job_response::Event;
use proto::types::v1 as types;

use super::jobs::{complaint, hello, with};
use crate::support::island::{Island, Quote};
use crate::support::whole::{OPERATOR_TOKEN, OWNER, Whole};

#[tokio::test]
async fn a_caller_without_a_good_key_is_told_which_way_it_is_not_good() {
    let exchange = Whole::start().await;
    for (key, expected) in [
        ("", "Unauthenticated MISSING_API_KEY"),
        ("sk-1", "Unauthenticated MALFORMED_API_KEY"),
        ("atoll_sk_nobody", "Unauthenticated INVALID_API_KEY"),
        (exchange.island_key.as_str(), "PermissionDenied WRONG_KEY_SCOPE"),
    ] {
        let mut client = exchange.grpc_as(key).await;
        let status = client.submit_job(hello()).await.unwrap_err();
        assert_eq!(complaint(&status), expected);
        let status = client.get_balance(wire::GetBalanceRequest {}).await.unwrap_err();
        assert_eq!(complaint(&status), expected);
    }
    exchange.stop().await;
}

#[tokio::test]
async fn status_is_the_operator_s() {
    let exchange = Whole::start().await;
    let island = Island::quoting(&exchange, 1, Quote::default()).await;
    for key in [exchange.key.as_str(), "operator-tokem", "x"] {
        let mut client = exchange.grpc_as(key).await;
        let status = client.get_status(wire::GetStatusRequest {}).await.unwrap_err();
        assert_eq!(complaint(&status), "PermissionDenied OPERATOR_ONLY");
    }
    let status = exchange.status().await;
    assert_eq!(status.state_hash.len(), 32);
    assert_eq!(status.islands.len(), 1);
    let shown = &status.islands[0];
    assert_eq!(
        (shown.island_id.as_str(), shown.slots),
        (island.id.to_string().as_str(), 4)
    );
    assert_eq!((shown.quotes[0].price, shown.quotes[0].jobs), (1_000_000, 100));
    let mut operator = exchange.grpc_as(OPERATOR_TOKEN).await;
    let refused = operator
        .list_orders(wire::ListOrdersRequest {})
        .await
        .unwrap_err();
    assert_eq!(complaint(&refused), "Unauthenticated MALFORMED_API_KEY");
    exchange.stop().await;
}

#[tokio::test]
async fn without_an_operator_token_nobody_is_the_operator() {
    let exchange = Whole::start_with(|config| config.operator_token = None).await;
    for key in [OPERATOR_TOKEN, "***", exchange.key.as_str()] {
        let mut client = exchange.grpc_as(key).await;
        let status = client.get_status(wire::GetStatusRequest {}).await.unwrap_err();
        assert_eq!(complaint(&status), "PermissionDenied OPERATOR_ONLY");
    }
    exchange.stop().await;
}

fn patient(jobs: usize) -> wire::SubmitJobRequest {
    with(|request| {
        request.inputs = vec![request.inputs[0].clone(); jobs];
        let terms = request.terms.get_or_insert_default();
        terms.limit = Some(1_000);
        let kind = types::TimeInForceKind::Gtc.into();
        terms.time_in_force = Some(types::TimeInForce {
            kind,
            expires_in_ms: 0,
        });
    })
}

#[tokio::test]
async fn orders_are_listed_lowered_and_cancelled_by_their_owner_alone() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let mut stream = client.submit_job(patient(3)).await.unwrap().into_inner();
    let Some(Event::Accepted(accepted)) = stream.message().await.unwrap().unwrap().event else {
        panic!("not accepted")
    };
    let order_id = accepted.order_id;
    let orders = client
        .list_orders(wire::ListOrdersRequest {})
        .await
        .unwrap()
        .into_inner()
        .orders;
    assert_eq!(orders.len(), 1);
    assert_eq!(
        (orders[0].order_id.as_str(), orders[0].leaves_quantity),
        (order_id.as_str(), 3)
    );
    assert_eq!(orders[0].reserved_nano, accepted.reserved_nano);

    let mut other = exchange.grpc_as(&exchange.poor_key).await;
    assert!(
        other
            .list_orders(wire::ListOrdersRequest {})
            .await
            .unwrap()
            .into_inner()
            .orders
            .is_empty()
    );
    let cancel = |order_id: &str| wire::CancelOrderRequest {
        order_id: order_id.to_owned(),
    };
    let amend = |order_id: &str, leaves| wire::AmendOrderRequest {
        order_id: order_id.to_owned(),
        leaves,
    };
    let refused = other.cancel_order(cancel(&order_id)).await.unwrap_err();
    assert_eq!(complaint(&refused), "NotFound UNKNOWN_ORDER@order_id");
    let refused = other.amend_order(amend(&order_id, 1)).await.unwrap_err();
    assert_eq!(complaint(&refused), "NotFound UNKNOWN_ORDER");

    let refused = client.amend_order(amend(&order_id, 3)).await.unwrap_err();
    assert_eq!(complaint(&refused), "FailedPrecondition NOT_LESS");
    let refused = client.amend_order(amend(&order_id, 0)).await.unwrap_err();
    assert_eq!(complaint(&refused), "InvalidArgument INVALID_ARGUMENT@leaves");
    assert_eq!(
        client
            .amend_order(amend(&order_id, 2))
            .await
            .unwrap()
            .into_inner()
            .leaves,
        2
    );
    let refused = client.cancel_order(cancel("lse_1")).await.unwrap_err();
    assert_eq!(complaint(&refused), "InvalidArgument INVALID_ARGUMENT@order_id");
    let cancelled = client.cancel_order(cancel(&order_id)).await.unwrap().into_inner();
    assert_eq!((cancelled.cancelled_jobs, cancelled.stopping_jobs), (2, 0));
    let refused = client.cancel_order(cancel(&order_id)).await.unwrap_err();
    assert_eq!(complaint(&refused), "NotFound UNKNOWN_ORDER@order_id");
    let mut ended = 0;
    while let Some(response) = stream.message().await.unwrap() {
        let Some(Event::Ended(end)) = response.event else {
            panic!("{response:?}")
        };
        assert_eq!(end.code, "CANCELLED");
        ended += end.jobs;
    }
    assert_eq!(
        ended, 3,
        "the one that was taken away by the amend, and the two that were cancelled"
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn an_order_that_was_lowered_ends_when_the_rest_is_done() {
    let exchange = Whole::start().await;
    let quote = Quote {
        slots: 1,
        ..Quote::default()
    };
    let mut island = Island::quoting(&exchange, 1, quote).await;
    let mut client = exchange.grpc().await;
    let mut three = patient(3);
    three.terms.as_mut().unwrap().limit = None;
    let mut stream = client.submit_job(three).await.unwrap().into_inner();
    let Some(Event::Accepted(accepted)) = stream.message().await.unwrap().unwrap().event else {
        panic!("not accepted")
    };
    let amend = wire::AmendOrderRequest {
        order_id: accepted.order_id,
        leaves: 1,
    };
    assert_eq!(client.amend_order(amend).await.unwrap().into_inner().leaves, 1);
    island.answer("a").await;
    island.answer("b").await;
    let (mut completed, mut ended) = (0, 0);
    while let Some(response) = stream.message().await.unwrap() {
        match response.event.unwrap() {
            Event::Completed(_) => completed += 1,
            Event::Ended(end) => ended += end.jobs,
            Event::Accepted(_) | Event::Matched(_) | Event::Output(_) | Event::FailedOver(_) => {}
        }
    }
    assert_eq!((completed, ended), (2, 1));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_mass_cancel_ends_the_caller_s_orders_and_no_others() {
    let exchange = Whole::start().await;
    let island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let first = client.submit_job(patient(1)).await.unwrap();
    let second = client.submit_job(patient(2)).await.unwrap();
    let all = |model: &str| wire::CancelAllOrdersRequest {
        model: model.to_owned(),
    };
    let refused = client.cancel_all_orders(all("gpt-5")).await.unwrap_err();
    assert_eq!(complaint(&refused), "NotFound MODEL_NOT_FOUND@model");
    assert_eq!(
        client
            .cancel_all_orders(all("tiny-chat"))
            .await
            .unwrap()
            .into_inner()
            .orders,
        2
    );
    assert_eq!(
        client
            .cancel_all_orders(all(""))
            .await
            .unwrap()
            .into_inner()
            .orders,
        0
    );
    drop((first, second));
    exchange.nothing_leaked().await;
    let status = exchange.status().await;
    assert_eq!(status.islands[0].island_id, island.id.to_string());
    assert_eq!(status.resting_orders, 1, "the Island's ask");
    exchange.stop().await;
}

#[tokio::test]
async fn models_balances_and_jobs_are_told() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let models = client
        .list_models(wire::ListModelsRequest {})
        .await
        .unwrap()
        .into_inner()
        .models;
    assert_eq!(
        (models[0].model.as_str(), models[0].best_ask),
        ("tiny-chat", Some(1_000_000))
    );
    assert_eq!(models[0].task(), types::Task::Chat);

    let mut stream = client.submit_job(hello()).await.unwrap().into_inner();
    let work = island.job().await;
    let balance = client
        .get_balance(wire::GetBalanceRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(balance.bound_nano > 0, "{balance:?}");
    assert_eq!(
        balance.reserved_nano,
        balance.buying_power_nano + balance.bound_nano
    );
    assert_eq!(balance.available_nano + balance.reserved_nano, 10_000_000_000);
    let list = wire::ListJobsRequest { page_size: 5_000 };
    let running = client.list_jobs(list).await.unwrap().into_inner().jobs;
    assert_eq!(
        (running[0].state.as_str(), running[0].island_id.as_str()),
        ("running", island.id.to_string().as_str())
    );
    island.finish(&work, proto::agent::v1::FinishReason::Stop).await;
    while stream.message().await.unwrap().is_some() {}
    let ended = client.list_jobs(list).await.unwrap().into_inner().jobs;
    assert_eq!((ended.len(), ended[0].state.as_str()), (1, "stopped"));
    let mut other = exchange.grpc_as(&exchange.poor_key).await;
    assert!(other.list_jobs(list).await.unwrap().into_inner().jobs.is_empty());
    exchange.nothing_leaked().await;

    // What billing has settled is what was shown.
    let status = exchange.status().await;
    exchange
        .until("settlement", |now| now.settled_through >= status.sequence)
        .await;
    let earned = exchange.bank.billing.books().available[&OWNER];
    assert_eq!(earned, ended[0].bill.as_ref().unwrap().charge_nano);
    exchange.stop().await;
}

#[tokio::test]
async fn one_account_may_not_take_all_the_room() {
    let exchange = Whole::start_with(|config| config.limits.jobs_per_account_max = 2).await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let held = client.submit_job(patient(2)).await.unwrap();
    let status = client.submit_job(patient(1)).await.unwrap_err();
    assert_eq!(complaint(&status), "ResourceExhausted TOO_MANY_JOBS");
    let sent = exchange.http().chat(&crate::http::hello()).await;
    assert_eq!(sent.complaint(), "429 too_many_jobs");
    assert_eq!(
        (sent.header("x-should-retry"), sent.header("retry-after")),
        ("true", "1")
    );
    drop(held);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
