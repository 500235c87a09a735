//! `SubmitJob` with real parts behind it.

use proto::agent::v1::FinishReason;
use proto::exchange::v1 as wire;
use proto::exchange::v1::submit_job_response::Event;
use proto::types::v1 as types;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::island::{Island, Quote, ids};
use crate::support::whole::{Client, Whole};

pub(super) fn hello() -> wire::SubmitJobRequest {
    let message = wire::ChatMessage {
        role: "user".to_owned(),
        content: "hello".to_owned(),
    };
    wire::SubmitJobRequest {
        model: "tiny-chat".to_owned(),
        inputs: vec![wire::JobInput {
            messages: vec![message],
            max_tokens: 20,
            ..wire::JobInput::default()
        }],
        ..wire::SubmitJobRequest::default()
    }
}

pub(crate) fn with(change: impl FnOnce(&mut wire::SubmitJobRequest)) -> wire::SubmitJobRequest {
    let mut request = hello();
    change(&mut request);
    request
}

fn with_terms(change: impl FnOnce(&mut wire::BidTerms)) -> wire::SubmitJobRequest {
    with(|request| change(request.terms.get_or_insert_default()))
}

/// `CODE reason`, and `@field` where there is one.
pub(crate) fn complaint(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| {
        assert_eq!(info.domain, "atoll.exchange");
        info.reason
    });
    let field = status
        .get_details_bad_request()
        .map(|request| format!("@{}", request.field_violations[0].field));
    format!(
        "{:?} {}{}",
        status.code(),
        reason.unwrap_or_default(),
        field.unwrap_or_default()
    )
}

/// Every event of a job, to its end.
pub(super) async fn all(client: &mut Client, request: wire::SubmitJobRequest) -> Vec<Event> {
    let mut stream = client.submit_job(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        events.push(response.event.unwrap());
    }
    events
}

#[tokio::test]
async fn a_job_is_accepted_matched_written_and_completed() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let named = with(|request| request.client_order_id = "mine".to_owned());
    let (events, work) = tokio::join!(all(&mut client, named), island.answer("fine, thanks"));
    let Event::Accepted(accepted) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(accepted.client_order_id, "mine");
    assert_eq!(accepted.limit, 2_000_000, "twice the best ask");
    let read = u32::try_from(work.assign.prompt_ids.len()).unwrap();
    assert_eq!(accepted.prompt_tokens, [read]);
    assert_eq!(accepted.units_max, u64::from(read.div_ceil(4)) + 20);
    let terms = accepted.terms.as_ref().unwrap();
    assert_eq!((terms.home_region.as_str(), terms.regions.len()), ("eu-west", 8));
    let time_in_force = terms.time_in_force.unwrap();
    assert_eq!(
        (time_in_force.kind(), time_in_force.expires_in_ms),
        (types::TimeInForceKind::Gtd, 2_000)
    );
    let Event::Matched(matched) = &events[1] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (matched.island_id.as_str(), matched.price),
        (island.id.to_string().as_str(), 1_000_000)
    );
    let (mut text, mut emitted) = (String::new(), Vec::new());
    for event in &events[2..events.len() - 1] {
        let Event::Output(output) = event else {
            panic!("{event:?}")
        };
        text.push_str(&output.text);
        emitted.extend_from_slice(&output.token_ids);
    }
    assert_eq!((text.as_str(), emitted), ("fine, thanks", ids("fine, thanks")));
    let Some(Event::Completed(completed)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(completed.outcome(), types::JobOutcome::Stopped);
    let bill = completed.bill.as_ref().unwrap();
    assert_eq!(
        bill.segments
            .iter()
            .map(|segment| segment.charge_nano)
            .sum::<i64>(),
        bill.charge_nano
    );
    assert_eq!(
        bill.charge_nano,
        i64::try_from(completed.usage.unwrap().units).unwrap() * 1_000
    );
    assert_eq!(bill.fee_nano, bill.charge_nano / 50);
    assert_eq!(completed.receipts.len(), 1);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_bid_of_several_jobs_gets_each_its_own_answer() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let three = with(|request| request.inputs = vec![request.inputs[0].clone(); 3]);
    let writing = async {
        for text in ["a", "b", "c"] {
            island.answer(text).await;
        }
    };
    let (events, ()) = tokio::join!(all(&mut client, three), writing);
    let mut texts = vec![String::new(); 3];
    let mut completed = Vec::new();
    for event in events {
        match event {
            Event::Output(output) => texts[usize::try_from(output.index).unwrap()].push_str(&output.text),
            Event::Completed(done) => completed.push(done.index),
            Event::Accepted(_) | Event::Matched(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, ["a", "b", "c"]);
    completed.sort_unstable();
    assert_eq!(completed, [0, 1, 2]);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named_in_rich_details() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(
        &exchange,
        1,
        Quote {
            region: "us-east",
            ..Quote::default()
        },
    )
    .await;
    let mut client = exchange.grpc().await;
    for (request, expected) in [
        (
            with(|r| r.model = "gpt-5".to_owned()),
            "NotFound MODEL_NOT_FOUND@model",
        ),
        (
            with(|r| r.model.clear()),
            "InvalidArgument INVALID_ARGUMENT@model",
        ),
        (
            with(|r| r.inputs.clear()),
            "InvalidArgument INVALID_ARGUMENT@inputs",
        ),
        (
            with(|r| r.inputs = vec![r.inputs[0].clone(); 17]),
            "InvalidArgument INVALID_ARGUMENT@inputs",
        ),
        (
            with(|r| r.inputs[0].messages.clear()),
            "InvalidArgument EMPTY_PROMPT@inputs[0].messages",
        ),
        (
            with(|r| r.inputs[0].messages[0].content = "x".repeat(5_000)),
            "InvalidArgument CONTEXT_LENGTH_EXCEEDED@inputs[0].messages",
        ),
        (
            with(|r| r.inputs[0].max_tokens = u32::MAX),
            "InvalidArgument CONTEXT_LENGTH_EXCEEDED@inputs[0].max_tokens",
        ),
        (
            with(|r| r.inputs[0].temperature = f32::NAN),
            "InvalidArgument INVALID_ARGUMENT@inputs[0].temperature",
        ),
        (
            with(|r| r.inputs[0].stop = vec![String::new()]),
            "InvalidArgument INVALID_ARGUMENT@inputs[0].stop",
        ),
        (
            with_terms(|t| t.limit = Some(0)),
            "InvalidArgument INVALID_ARGUMENT@terms.limit",
        ),
        (
            with_terms(|t| t.limit = Some(1 << 63)),
            "InvalidArgument INVALID_ARGUMENT@terms.limit",
        ),
        (
            with_terms(|t| t.home_region = "moon".to_owned()),
            "InvalidArgument INVALID_ARGUMENT@terms.home_region",
        ),
        (with_terms(|t| t.max_rtt_ms = 50), "FailedPrecondition UNSERVABLE"),
        (
            with_terms(|t| t.min_tier = types::Tier::Server.into()),
            "FailedPrecondition UNSERVABLE",
        ),
    ] {
        let status = client.submit_job(request.clone()).await.unwrap_err();
        assert_eq!(complaint(&status), expected, "{request:?}");
    }
    let status = client
        .submit_job(with_terms(|t| t.max_rtt_ms = 50))
        .await
        .unwrap_err();
    let metadata = status.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["alternative_region"], "us-east");
    assert_eq!(metadata["alternative_price"], "1000000");
    let mut poor = exchange.grpc_as(&exchange.poor_key).await;
    let status = poor.submit_job(hello()).await.unwrap_err();
    assert_eq!(complaint(&status), "FailedPrecondition INSUFFICIENT_CREDITS");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_bid_that_nobody_fills_ends_with_its_reason() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let cheap = with_terms(|terms| {
        terms.limit = Some(1_000);
        let kind = types::TimeInForceKind::Gtd.into();
        terms.time_in_force = Some(types::TimeInForce {
            kind,
            expires_in_ms: 500,
        });
    });
    let events = all(&mut client, cheap).await;
    let Some(Event::Ended(ended)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!((ended.jobs, ended.code.as_str()), (1, "EXPIRED"));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_stream_that_its_client_drops_cancels_order_and_job() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(
        &exchange,
        1,
        Quote {
            slots: 1,
            ..Quote::default()
        },
    )
    .await;
    let mut client = exchange.grpc().await;
    let two = with(|request| {
        request.inputs = vec![request.inputs[0].clone(); 2];
        let kind = types::TimeInForceKind::Gtc.into();
        request.terms.get_or_insert_default().time_in_force = Some(types::TimeInForce {
            kind,
            expires_in_ms: 0,
        });
    });
    let (stream, work) = tokio::join!(client.submit_job(two), island.job());
    let waiting = exchange
        .until("a rest that waits", |status| status.resting_orders == 2)
        .await;
    assert_eq!(waiting.open_leases, 1);
    drop(stream);
    island.revoked(&work).await;
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn an_island_that_is_lost_is_reported_with_its_code() {
    let exchange = Whole::start().await;
    let mut first = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut second = Island::quoting(
        &exchange,
        2,
        Quote {
            price: 1_500,
            ..Quote::default()
        },
    )
    .await;
    let mut client = exchange.grpc().await;
    let working = async {
        let mut work = first.job().await;
        first.write(&mut work, "on").await;
        let id = first.id;
        first.vanish();
        let mut rest = second.job().await;
        let before = rest.assign.emitted_ids.len();
        second.write(&mut rest, &"one two"[before..]).await;
        second.finish(&rest, FinishReason::Stop).await;
        id
    };
    let (events, lost) = tokio::join!(all(&mut client, hello()), working);
    let failed = events.iter().find_map(|event| {
        let Event::FailedOver(failed) = event else {
            return None;
        };
        Some(failed)
    });
    assert_eq!(failed.unwrap().island_id, lost.to_string());
    assert_eq!(failed.unwrap().code, "ISLAND_SESSION_LOST");
    let text: String = events
        .iter()
        .filter_map(|event| {
            if let Event::Output(output) = event {
                Some(output.text.as_str())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(text, "one two");
    let Some(Event::Completed(completed)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(completed.failovers, 1);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn an_order_that_is_repeated_is_told_its_outcome_and_not_run_again() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let named = with(|request| request.client_order_id = "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned());
    let (events, _) = tokio::join!(all(&mut client, named.clone()), island.answer("once"));
    let Event::Accepted(first) = &events[0] else {
        panic!("{events:?}")
    };
    let again = all(&mut client, named.clone()).await;
    let Event::Accepted(accepted) = &again[0] else {
        panic!("{again:?}")
    };
    assert!(accepted.repeated_order);
    assert_eq!(accepted.order_id, first.order_id);
    let Some(Event::Completed(completed)) = again.last() else {
        panic!("{again:?}")
    };
    assert_eq!(completed.usage.unwrap().output_tokens, 4);
    assert_eq!(again.len(), 2, "{again:?}");
    let mut longer = named.clone();
    longer.inputs[0].max_tokens = 21;
    let mut reworded = named;
    reworded.inputs[0].messages[0].content.replace_range(..1, "H");
    for other in [longer, reworded] {
        let status = client.submit_job(other).await.unwrap_err();
        assert_eq!(complaint(&status), "AlreadyExists DUPLICATE_CLIENT_ORDER_ID");
        assert_eq!(status.code(), Code::AlreadyExists);
    }
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn jobs_that_run_when_the_exchange_stops_may_finish() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let (stream, mut work) = tokio::join!(client.submit_job(hello()), island.job());
    let mut stream = stream.unwrap().into_inner();
    let mut late = exchange.grpc().await;
    let closing = exchange.begin_stop();
    // A stopping exchange says so to those who are connected, and finishes what runs.
    let status = loop {
        match late.submit_job(hello()).await {
            Err(status) => break status,
            Ok(_) => continue,
        }
    };
    assert_eq!(complaint(&status), "Unavailable STOPPING");
    island.write(&mut work, "done").await;
    island.finish(&work, FinishReason::Stop).await;
    let mut last = None;
    while let Some(response) = stream.message().await.unwrap() {
        last = response.event;
    }
    let Some(Event::Completed(completed)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(completed.outcome(), types::JobOutcome::Stopped);
    drop((late, client));
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn jobs_that_outlast_the_drain_end_with_a_report_and_cost_nothing() {
    let exchange =
        Whole::start_with(|config| config.limits.drain_timeout = std::time::Duration::from_millis(50)).await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let (stream, mut work) = tokio::join!(client.submit_job(hello()), island.job());
    let mut stream = stream.unwrap().into_inner();
    island.write(&mut work, "slow").await;
    let bank = exchange.bank.clone();
    let closing = exchange.begin_stop();
    let mut completed = None;
    let end = loop {
        match stream.message().await {
            Ok(Some(response)) => {
                if let Some(Event::Completed(done)) = response.event {
                    completed = Some(done);
                }
            }
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    match completed {
        Some(completed) => {
            assert_ne!(completed.outcome(), types::JobOutcome::Stopped);
            assert_eq!(completed.bill.unwrap().charge_nano, 0);
        }
        None => assert_eq!(end.unwrap().code(), Code::Unavailable),
    }
    drop(client);
    closing.await.unwrap().unwrap();
    let books = bank.billing.books();
    assert!(
        books
            .settled
            .values()
            .all(|settlement| settlement.charge_nano == 0),
        "{:?}",
        books.settled
    );
}

#[tokio::test]
async fn a_bid_whose_buying_power_is_there_asks_billing_nothing() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let mut client = exchange.grpc().await;
    let mut streams = Vec::new();
    let mut after_the_first = 0;
    for number in 0..32 {
        // Far below the ask: it rests, so that no job is settled meanwhile.
        let bid = with_terms(|terms| terms.limit = Some(1_000));
        let mut stream = client.submit_job(bid).await.unwrap().into_inner();
        let event = stream.message().await.unwrap().unwrap().event.unwrap();
        assert!(matches!(event, Event::Accepted(_)), "{event:?}");
        streams.push(stream);
        if number == 0 {
            after_the_first = exchange.bank.calls();
            assert!(
                after_the_first > 0,
                "the first bid's key and credits come from billing"
            );
        }
    }
    assert_eq!(exchange.bank.calls(), after_the_first);
    drop(streams);
    exchange.stop().await;
}
