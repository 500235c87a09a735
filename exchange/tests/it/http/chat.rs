//! A chat over HTTP with real parts behind it: streamed and not, failed over, cut, dropped, repeated.

use proto::agent::v1::FinishReason;
use serde_json::{Value, json};

use super::{hello, hello_with};
use crate::support::island::{Island, Quote};
use crate::support::whole::Whole;

/// The pieces of text in a stream's chunks, put together.
fn text_of(chunks: &[Value]) -> String {
    chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect()
}

#[tokio::test]
async fn an_answer_in_one_piece_says_what_the_market_did() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let http = exchange.http();
    let body = hello_with(json!({"max_tokens": 20}));
    let (answer, work) = tokio::join!(http.chat(&body), island.answer("Hello, world"));
    assert_eq!(answer.status, 200, "{}", answer.json());
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "tiny-chat");
    let choice = &body["choices"][0];
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "Hello, world", "refusal": null})
    );
    assert_eq!(choice["finish_reason"], "stop");
    let read = work.assign.prompt_ids.len();
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": read, "completion_tokens": 12, "total_tokens": read + 12})
    );
    let atoll = &body["atoll"];
    assert_eq!(atoll["island"], island.id.to_string());
    assert_eq!(
        (&atoll["region"], &atoll["tier"]),
        (&json!("eu-west"), &json!("laptop"))
    );
    assert_eq!(
        (&atoll["price"], &atoll["limit"]),
        (&json!("0.001"), &json!("0.002"))
    );
    assert_eq!(atoll["failovers"], 0);
    let units = read.div_ceil(4) + 12;
    assert_eq!(atoll["units"], units);
    assert_eq!(atoll["segments"][0]["units"], units);
    assert_eq!(atoll["receipts"][0]["output_tokens"], 12);
    assert!(atoll["receipts"][0]["exchange_signature"].is_string());
    // 1,000 nano-credits a unit, and 2 % for the taker.
    let charge = i64::try_from(units).unwrap() * 1_000;
    let credits = |nano: i64| domain::Credits::from_nano(nano).to_string();
    assert_eq!(atoll["charge"], credits(charge));
    assert_eq!(atoll["total"], credits(charge + charge / 50));
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_stream_keeps_to_the_rules_that_clients_know() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let body =
        hello_with(json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 20}));
    let http = exchange.http();
    let (mut events, _) = tokio::join!(http.stream(&body), island.answer("héllo"));
    assert_eq!(events.status, 200);
    assert!(
        events.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/event-stream")
    );
    assert!(events.headers.contains_key("x-request-id"));
    let mut chunks = events.rest().await;
    assert_eq!(chunks.pop(), Some(json!("[DONE]")));
    let usage = chunks.pop().unwrap();
    assert_eq!(usage["choices"], json!([]));
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert!(usage["usage"][count].is_u64(), "{usage}");
    }
    let last = chunks.pop().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["atoll"]["island"], island.id.to_string());
    let first = &chunks[0];
    assert_eq!(
        first["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert_eq!(first["atoll"]["island"], island.id.to_string());
    for chunk in &chunks {
        assert_eq!(chunk["id"], usage["id"]);
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(chunk.get("usage"), Some(&Value::Null));
    }
    assert_eq!(text_of(&chunks), "héllo");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_before_it_and_stops_the_island() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let http = exchange.http();
    let body = hello_with(json!({"stop": ["END", "nothing"], "max_tokens": 100}));
    let writing = async {
        let mut work = island.job().await;
        island.write(&mut work, "one two EN").await;
        island.write(&mut work, "D three").await;
        island.revoked(&work).await;
    };
    let (answer, ()) = tokio::join!(http.chat(&body), writing);
    let body = answer.json();
    assert_eq!(body["choices"][0]["message"]["content"], "one two ");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_stream_whose_island_vanishes_goes_on_at_the_next_one() {
    let exchange = Whole::start().await;
    let mut near = Island::quoting(
        &exchange,
        1,
        Quote {
            price: 1_000,
            ..Quote::default()
        },
    )
    .await;
    let mut far = Island::quoting(
        &exchange,
        2,
        Quote {
            price: 1_500,
            region: "us-east",
            ..Quote::default()
        },
    )
    .await;
    let body = hello_with(json!({"stream": true, "max_tokens": 30, "temperature": 0}));
    let http = exchange.http();
    let (mut events, mut work) = tokio::join!(http.stream(&body), near.job());
    near.write(&mut work, "one two ").await;
    let mut chunks = Vec::new();
    while text_of(&chunks) != "one two " {
        chunks.push(events.data().await.unwrap());
    }
    near.vanish();
    let mut rest = far.job().await;
    assert_eq!(rest.assign.emitted_ids, work.emitted);
    far.write(&mut rest, "three").await;
    far.finish(&rest, FinishReason::Stop).await;
    chunks.extend(events.rest().await);
    assert_eq!(chunks.pop(), Some(json!("[DONE]")));
    assert_eq!(text_of(&chunks), "one two three");
    let atoll = &chunks.last().unwrap()["atoll"];
    assert_eq!(atoll["failovers"], 1);
    assert_eq!(atoll["island"], far.id.to_string());
    assert_eq!(atoll["segments"].as_array().unwrap().len(), 2);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_finishes_never_looks_whole() {
    let exchange = Whole::start().await;
    let http = exchange.http();
    for stream in [false, true] {
        let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
        let body = hello_with(json!({"stream": stream, "max_tokens": 30}));
        if stream {
            let (mut events, mut work) = tokio::join!(http.stream(&body), island.job());
            island.write(&mut work, "half an ans").await;
            let mut chunks = Vec::new();
            while text_of(&chunks) != "half an ans" {
                chunks.push(events.data().await.unwrap());
            }
            island.vanish();
            let rest = events.rest().await;
            assert_ne!(rest.last(), Some(&json!("[DONE]")));
            let error = &rest.last().unwrap()["error"];
            assert_eq!(error["code"], "incomplete", "{rest:?}");
            assert_eq!(error["atoll"]["outcome"], "incomplete");
        } else {
            let writing = async {
                let mut work = island.job().await;
                island.write(&mut work, "half an ans").await;
                let running = exchange
                    .until("the tokens", |status| status.open_leases == 1)
                    .await;
                assert_eq!(running.open_leases, 1);
                work
            };
            let chat = tokio::spawn({
                let (http, body) = (http.clone(), body.clone());
                async move { http.chat(&body).await }
            });
            writing.await;
            // The last message was sent before the stream ends, so it is handled before the end is seen.
            let mut jobs = exchange.grpc().await;
            loop {
                let request = proto::exchange::v1::ListJobsRequest { page_size: 1 };
                let listed = jobs.list_jobs(request).await.unwrap().into_inner().jobs;
                if listed[0].usage.unwrap().output_tokens == 11 {
                    break;
                }
            }
            island.vanish();
            let answer = chat.await.unwrap();
            assert_eq!(answer.complaint(), "502 incomplete");
            assert_eq!(answer.header("x-should-retry"), "false");
            assert_eq!(answer.json()["error"]["atoll"]["partial"], "half an ans");
        }
    }
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_client_that_drops_its_stream_cancels_its_job() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let body = hello_with(json!({"stream": true, "max_tokens": 100}));
    let http = exchange.http();
    let (events, mut work) = tokio::join!(http.stream(&body), island.job());
    island.write(&mut work, "some").await;
    drop(events);
    island.revoked(&work).await;
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_before_its_answer_cancels_its_job() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let http = exchange.http();
    let chat = tokio::spawn(async move { http.chat(&hello()).await });
    let work = island.job().await;
    chat.abort();
    island.revoked(&work).await;
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn who_has_no_credits_is_told_so_and_not_to_try_again() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let poor = crate::support::http::Http::to(exchange.address).key(&exchange.poor_key);
    let sent = poor.chat(&hello()).await;
    assert_eq!(sent.complaint(), "402 insufficient_credits");
    assert_eq!(sent.header("x-should-retry"), "false");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_bid_that_can_never_be_filled_is_shown_the_nearest_that_could() {
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
    let sent = exchange
        .http()
        .chat(&hello_with(json!({"atoll": {"max_rtt_ms": 50}})))
        .await;
    assert_eq!(sent.complaint(), "422 unservable");
    let alternative = &sent.json()["error"]["atoll"]["alternative"];
    assert_eq!(
        (&alternative["region"], &alternative["price"]),
        (&json!("us-east"), &json!("0.001"))
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_bid_that_is_only_too_cheap_expires_by_its_time() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let http = exchange.http();
    for stream in [false, true] {
        let cheap = hello_with(json!({"stream": stream, "atoll": {"limit": "0.0001", "max_wait_ms": 50}}));
        assert_eq!(http.chat(&cheap).await.complaint(), "422 expired");
        let now = hello_with(json!({"stream": stream, "atoll": {"limit": "0.0001", "max_wait_ms": 0}}));
        assert_eq!(http.chat(&now).await.complaint(), "422 not_filled");
    }
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn one_who_waits_long_gets_his_head_and_comments_and_then_an_error_in_the_stream() {
    let exchange = Whole::start().await;
    let _island = Island::quoting(&exchange, 1, Quote::default()).await;
    let patient = hello_with(json!({"stream": true, "atoll": {"limit": "0.0001", "max_wait_ms": 3_000}}));
    let mut events = exchange.http().stream(&patient).await;
    assert_eq!(events.status, 200);
    assert!(events.next().await.unwrap().starts_with(':'));
    let rest = events.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0]["error"]["code"], "expired");
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_request_that_is_repeated_by_its_key_is_not_bid_twice() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let http = exchange.http().header("idempotency-key", "once");
    let (body, other) = (
        hello_with(json!({"max_tokens": 20})),
        hello_with(json!({"max_tokens": 21})),
    );
    let (answer, _) = tokio::join!(http.chat(&body), island.answer("hi"));
    assert_eq!(answer.status, 200);
    assert_eq!(http.chat(&body).await.complaint(), "422 repeated_order");
    assert_eq!(
        http.chat(&other).await.complaint(),
        "422 duplicate_client_order_id"
    );
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
