//! Clients that are slow on purpose: nobody holds a place for nothing.

use std::time::Duration;

use proto::exchange::v1 as wire;
use proto::exchange::v1::exchange_service_client::ExchangeServiceClient;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Request;

use super::hello_with;
use crate::support::island::{Island, Quote};
use crate::support::whole::Whole;

async fn impatient() -> Whole {
    Whole::start_with(|config| {
        config.limits.request_read_timeout = Duration::from_secs(1);
        config.limits.stream_stall_timeout = Duration::from_secs(1);
    })
    .await
}

/// What the exchange says until it ends the connection.
async fn last_words(mut stream: TcpStream) -> String {
    let mut words = Vec::new();
    // A connection that is reset has ended too.
    drop(stream.read_to_end(&mut words).await);
    String::from_utf8(words).unwrap()
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_not_waited_for() {
    let exchange = impatient().await;
    let silent = TcpStream::connect(exchange.address).await.unwrap();
    assert_eq!(last_words(silent).await, "");
    exchange.stop().await;
}

#[tokio::test]
async fn a_head_that_drips_is_given_up() {
    let exchange = impatient().await;
    let mut drip = TcpStream::connect(exchange.address).await.unwrap();
    drip.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .unwrap();
    let words = last_words(drip).await;
    assert!(words.is_empty() || words.starts_with("HTTP/1.1 408"), "{words}");
    exchange.stop().await;
}

#[tokio::test]
async fn a_body_that_drips_is_refused_in_openai_s_shape() {
    let exchange = impatient().await;
    let mut drip = TcpStream::connect(exchange.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 900\r\n\r\n{{",
        exchange.key
    );
    drip.write_all(head.as_bytes()).await.unwrap();
    let words = last_words(drip).await;
    assert!(words.starts_with("HTTP/1.1 408"), "{words}");
    assert!(words.contains(r#""code":"request_timeout""#), "{words}");
    exchange.stop().await;
}

#[tokio::test]
async fn what_is_no_http_at_all_ends_its_connection_and_nothing_else() {
    let exchange = impatient().await;
    for noise in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(exchange.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        last_words(stream).await;
    }
    assert_eq!(exchange.http().get("/healthz").await.status, 200);
    exchange.stop().await;
}

#[tokio::test]
async fn who_leaves_his_stream_unread_is_dropped_and_his_job_cancelled() {
    let exchange = impatient().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    // A window of a few bytes stands for a client that reads no more.
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", exchange.address))
        .unwrap()
        .initial_stream_window_size(64)
        .connect()
        .await
        .unwrap();
    let mut request = Request::new(crate::grpc::with(|request| request.inputs[0].max_tokens = 400));
    request.metadata_mut().insert(
        "authorization",
        format!("Bearer {}", exchange.key).parse().unwrap(),
    );
    let mut client = ExchangeServiceClient::new(channel);
    let (stream, mut work) = tokio::join!(client.submit_job(request), island.job());
    let stream: tonic::Streaming<wire::SubmitJobResponse> = stream.unwrap().into_inner();
    // Each piece is on its way before the next, so they are not joined into one.
    let mut jobs = exchange.grpc().await;
    for piece in 1..=40u32 {
        island.write(&mut work, "word ").await;
        loop {
            let list = wire::ListJobsRequest { page_size: 1 };
            let listed = jobs.list_jobs(list).await.unwrap().into_inner().jobs;
            if listed[0].usage.unwrap().output_tokens >= piece * 5 || listed[0].state != "running" {
                break;
            }
        }
    }
    island.revoked(&work).await;
    drop(stream);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_client_of_http_that_reads_late_loses_nothing() {
    let exchange = Whole::start().await;
    let mut island = Island::quoting(&exchange, 1, Quote::default()).await;
    let http = exchange.http();
    let body = hello_with(json!({"stream": true, "max_tokens": 400}));
    let answer = "word ".repeat(70);
    let (mut events, _) = tokio::join!(http.stream(&body), island.answer(&answer));
    exchange
        .until("the end of the job", |status| status.open_leases == 0)
        .await;
    let chunks = events.rest().await;
    assert_eq!(chunks.last(), Some(&json!("[DONE]")));
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, answer);
    exchange.nothing_leaked().await;
    exchange.stop().await;
}
