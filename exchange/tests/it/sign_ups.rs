//! Sign-up over both wires: who gets an account, who does not, and what a flood meets.

use proto::exchange::v1 as wire;
use proto::exchange::v1::sign_up_service_client::SignUpServiceClient;
use serde_json::json;
use tonic::Code;

use crate::grpc::complaint;
use crate::money::billing::Fault;
use crate::support::http::Http;
use crate::support::whole::Whole;

fn ask(request_id: &str, name: &str) -> wire::SignUpRequest {
    wire::SignUpRequest {
        request_id: request_id.into(),
        display_name: name.into(),
    }
}

#[tokio::test]
async fn a_stranger_gets_a_key_that_is_shown_once() {
    let exchange = Whole::start().await;
    let mut client = SignUpServiceClient::new(exchange.channel().await);
    let made = client.sign_up(ask("mine", "ada")).await.unwrap().into_inner();
    assert!(made.api_key.starts_with("atoll_sk_") && !made.made_before && made.granted_nano > 0);
    let again = client.sign_up(ask("mine", "ada")).await.unwrap().into_inner();
    assert_eq!(
        (again.account_id, again.api_key.as_str(), again.made_before),
        (made.account_id.clone(), "", true)
    );
    // Without a key, over HTTP, and without a word on who it is.
    let http = Http::to(exchange.address);
    let answer = http.post("/v1/sign-up", &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let body = answer.json();
    assert!(body["api_key"].as_str().unwrap().starts_with("atoll_sk_"));
    assert_ne!(body["account"], made.account_id);
    assert!(body["notice"].as_str().unwrap().contains("no cash value"));
    assert_eq!(
        http.get("/v1/sign-up").await.complaint(),
        "405 method_not_allowed"
    );
    exchange.stop().await;
}

#[tokio::test]
async fn hostile_sign_ups_name_their_field_and_cost_billing_nothing() {
    let exchange = Whole::start().await;
    let mut client = SignUpServiceClient::new(exchange.channel().await);
    for (request, field) in [
        (ask(&"x".repeat(65), "ada"), "request_id"),
        (ask("a\nb", "ada"), "request_id"),
        (ask("a", &"x".repeat(101)), "display_name"),
        (ask("a", "\u{1b}[2J"), "display_name"),
    ] {
        let refused = client.sign_up(request).await.unwrap_err();
        assert_eq!(
            complaint(&refused),
            format!("InvalidArgument INVALID_ARGUMENT@{field}")
        );
    }
    let http = Http::to(exchange.address);
    for broken in [json!([]), json!("name"), json!({"name": 5}), json!(null)] {
        let refused = http.post("/v1/sign-up", &broken).await;
        assert_eq!(refused.complaint(), "400 malformed_json", "{broken}");
    }
    let large = http
        .post("/v1/sign-up", &json!({"name": "x".repeat(5_000)}))
        .await;
    assert_eq!(large.complaint(), "413 body_too_large");
    assert_eq!(exchange.bank.billing.calls("sign_up"), 0);
    exchange.stop().await;
}

#[tokio::test]
async fn a_flood_from_one_address_is_turned_away_whatever_it_says_about_itself() {
    let most = 3;
    let exchange = Whole::start_with(|config| {
        config.limits.sign_ups_per_hour = most.try_into().unwrap();
    })
    .await;
    let mut made = 0;
    for number in 0..10 {
        let from = format!("198.51.100.{number}");
        let http = Http::to(exchange.address).header("x-forwarded-for", &from);
        let answer = http.post("/v1/sign-up", &json!({"name": "flood"})).await;
        if answer.status == 200 {
            made += 1;
            continue;
        }
        assert_eq!(answer.complaint(), "429 sign_ups_from_address");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=3_600).contains(&wait), "{wait}");
    }
    assert_eq!(made, most);
    // Both wires count together.
    let mut client = SignUpServiceClient::new(exchange.channel().await);
    let refused = client.sign_up(ask("", "")).await.unwrap_err();
    assert_eq!(complaint(&refused), "ResourceExhausted SIGN_UPS_FROM_ADDRESS");
    assert_eq!(exchange.bank.billing.calls("sign_up"), 3);
    exchange.stop().await;
}

#[tokio::test]
async fn what_billing_says_of_a_sign_up_is_said_on() {
    let exchange = Whole::start().await;
    let http = Http::to(exchange.address);
    exchange
        .bank
        .billing
        .fault("sign_up", Fault::Before(Code::Unavailable));
    let refused = http.post("/v1/sign-up", &json!({})).await;
    assert_eq!(refused.complaint(), "503 billing_unavailable");
    // An answer that was lost is asked for again by whoever chose the request id.
    exchange.bank.billing.fault("sign_up", Fault::Lost);
    let request = json!({"request_id": "mine"});
    let refused = http.post("/v1/sign-up", &request).await;
    assert_eq!(refused.complaint(), "503 billing_unavailable");
    let again = http.post("/v1/sign-up", &request).await.json();
    assert_eq!(
        (&again["made_before"], &again["api_key"]),
        (&json!(true), &json!(null))
    );
    exchange.stop().await;
}
