//! The first bid of accounts that the exchange has never seen, beside each account's second: what it costs that a key is
//! looked up and credits are reserved at billing before it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto::exchange::v1 as wire;
use proto::exchange::v1::exchange_service_client::ExchangeServiceClient;
use proto::exchange::v1::submit_job_response::Event;
use serde_json::{Value, json};
use tonic::Request;
use tonic::transport::Channel;

use super::session::{Driver, Side};
use super::stage::{MODEL, Stage, bearer};
use super::unary::spread;

/// Accounts that bid, one after the other.
const ACCOUNTS: u32 = 1_000;

/// So far below the asks that it rests.
const LIMIT_NANO: u64 = 1_000;

/// Times two bids of each account until they are durably on the book.
pub(super) async fn measure(stage: &Stage) -> Result<Value> {
    // Its asks: a bid that nobody could ever take is refused.
    let mut seller = Driver::open(stage, Side::Asks).await?;
    seller.round(1, 16).await?;
    let mut client = ExchangeServiceClient::new(stage.connect().await?);
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    for number in 0..ACCOUNTS {
        let key = stage.fresh_account(&format!("first-{number}")).await?;
        firsts.push(bid(&mut client, &key).await?);
        seconds.push(bid(&mut client, &key).await?);
    }
    Ok(json!({
        "accounts": ACCOUNTS,
        "first_us": spread(firsts),
        "second_us": spread(seconds),
    }))
}

/// One bid, from the call to its acceptance.
async fn bid(client: &mut ExchangeServiceClient<Channel>, key: &str) -> Result<Duration> {
    let message = wire::ChatMessage {
        role: "user".to_owned(),
        content: "hello".to_owned(),
    };
    let input = wire::JobInput {
        messages: vec![message],
        max_tokens: 20,
        ..wire::JobInput::default()
    };
    let terms = wire::BidTerms {
        limit: Some(LIMIT_NANO),
        ..wire::BidTerms::default()
    };
    let mut request = Request::new(wire::SubmitJobRequest {
        model: MODEL.to_owned(),
        inputs: vec![input],
        terms: Some(terms),
        ..wire::SubmitJobRequest::default()
    });
    request.metadata_mut().insert("authorization", bearer(key)?);
    let begun = Instant::now();
    let mut stream = client
        .submit_job(request)
        .await
        .context("a bid was refused")?
        .into_inner();
    let first = stream.message().await?.and_then(|response| response.event);
    let took = begun.elapsed();
    ensure!(
        matches!(first, Some(Event::Accepted(_))),
        "a bid was answered with {first:?}"
    );
    Ok(took)
}
