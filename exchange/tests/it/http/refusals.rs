//! What HTTP refuses, and how: OpenAI's shape on every path, and nothing left behind.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::{hello, hello_with};
use crate::support::http::Http;
use crate::support::whole::Whole;

#[tokio::test]
async fn a_caller_without_a_good_key_is_told_which_way_it_is_not_good() {
    let exchange = Whole::start().await;
    let complaint = async |http: Http| http.chat(&hello()).await.complaint();
    let http = || Http::to(exchange.address);
    assert_eq!(complaint(http()).await, "401 missing_api_key");
    assert_eq!(
        complaint(http().header("authorization", "Basic x")).await,
        "401 malformed_api_key"
    );
    assert_eq!(complaint(http().key("sk-proj-1")).await, "401 malformed_api_key");
    assert_eq!(
        complaint(http().key("atoll_sk_nobody")).await,
        "401 invalid_api_key"
    );
    assert_eq!(
        complaint(http().key(&exchange.island_key)).await,
        "403 wrong_key_scope"
    );
    assert_eq!(http().get("/v1/models").await.complaint(), "401 missing_api_key");
    exchange.stop().await;
}

#[tokio::test]
async fn http_itself_is_refused_in_openai_s_shape() {
    let exchange = Whole::start().await;
    let http = exchange.http();
    assert_eq!(http.get("/").await.complaint(), "404 unknown_route");
    assert_eq!(
        http.post("/v1/embeddings", &json!({})).await.complaint(),
        "404 unknown_route"
    );
    assert_eq!(
        http.post("/chat/completions", &hello()).await.complaint(),
        "404 unknown_route"
    );
    let wrong_method = http.get("/v1/chat/completions").await;
    assert_eq!(wrong_method.complaint(), "405 method_not_allowed");
    assert_eq!(wrong_method.header("allow"), "POST");
    let form = http
        .clone()
        .header("content-type", "application/x-www-form-urlencoded");
    let sent = form
        .request(Method::POST, "/v1/chat/completions", "model=x")
        .await;
    assert_eq!(sent.complaint(), "415 unsupported_media_type");
    let json = http.clone().header("content-type", "application/json");
    for broken in ["", "{", "[]", "null", "{\"model\": }"] {
        let sent = json.request(Method::POST, "/v1/chat/completions", broken).await;
        assert_eq!(sent.complaint(), "400 malformed_json", "{broken}");
    }
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn ten_mebibytes_of_json_are_read_to_the_end_and_refused() {
    let exchange = Whole::start().await;
    let text = "x".repeat(10 * 1_024 * 1_024);
    let sent = exchange
        .http()
        .chat(&json!({"model": "tiny-chat", "messages": [{"role": "user", "content": text}]}))
        .await;
    assert_eq!(sent.complaint(), "413 body_too_large");
    // The same without saying how long it is.
    let chunks =
        futures::stream::iter((0..160).map(|_| Ok::<_, std::convert::Infallible>("y".repeat(65_536))));
    let http = exchange.http().header("content-type", "application/json");
    let sent = http
        .request(Method::POST, "/v1/chat/completions", Body::from_stream(chunks))
        .await;
    assert_eq!(sent.complaint(), "413 body_too_large");
    exchange.stop().await;
}

#[tokio::test]
async fn a_bomb_of_nested_json_is_refused_and_the_exchange_lives() {
    let exchange = Whole::start().await;
    let http = exchange.http().header("content-type", "application/json");
    let deep = 300_000;
    for bomb in [
        "[".repeat(deep),
        "{\"a\":".repeat(deep),
        format!("{{\"x\":{}1{}}}", "[".repeat(deep), "]".repeat(deep)),
    ] {
        let sent = http.request(Method::POST, "/v1/chat/completions", bomb).await;
        assert_eq!(sent.complaint(), "400 malformed_json");
    }
    assert_eq!(http.get("/healthz").await.status, 200);
    exchange.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let exchange = Whole::start().await;
    let http = exchange.http();
    for (extra, expected) in [
        (json!({"model": "gpt-5"}), "404 model_not_found@model"),
        (json!({"model": "x".repeat(70)}), "400 invalid_argument@model"),
        (json!({"messages": []}), "400 empty_prompt@messages"),
        (
            json!({"messages": [{"role": "user", "content": ""}]}),
            "400 empty_prompt@messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x".repeat(3_000)}]}),
            "400 context_length_exceeded@messages",
        ),
        (
            json!({"max_tokens": 1u64 << 63}),
            "400 invalid_argument@max_tokens",
        ),
        (
            json!({"max_tokens": 5_000}),
            "400 context_length_exceeded@max_tokens",
        ),
        (
            json!({"max_completion_tokens": u32::MAX}),
            "400 context_length_exceeded@max_tokens",
        ),
        (json!({"n": 3}), "400 unsupported_parameter@n"),
        (json!({"stop": [""]}), "400 invalid_argument@stop"),
        (
            json!({"atoll": {"limit": "0"}}),
            "400 invalid_argument@atoll.limit",
        ),
        (
            json!({"atoll": {"limit": 0.5}}),
            "400 invalid_argument@atoll.limit",
        ),
        (
            json!({"atoll": {"limit": "9223372036854775808"}}),
            "400 invalid_argument@atoll.limit",
        ),
        (
            json!({"atoll": {"region": "moon"}}),
            "400 invalid_argument@atoll.region",
        ),
    ] {
        let sent = http.chat(&hello_with(extra.clone())).await;
        assert_eq!(sent.complaint(), expected, "{extra}");
        assert_eq!(sent.header("x-should-retry"), "false");
    }
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn where_nobody_quotes_every_bid_is_unservable_at_once() {
    let exchange = Whole::start().await;
    for stream in [false, true] {
        let sent = exchange.http().chat(&hello_with(json!({"stream": stream}))).await;
        assert_eq!(sent.complaint(), "422 unservable");
        assert_eq!(sent.header("x-should-retry"), "false");
        let told = sent.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            told.starts_with("no Island that may serve this account quotes this model right now; try again"),
            "{told}"
        );
    }
    exchange.nothing_leaked().await;
    exchange.stop().await;
}

#[tokio::test]
async fn models_and_health_are_told() {
    let exchange = Whole::start().await;
    let http = exchange.http();
    let models = http.get("/v1/models").await;
    assert_eq!(models.status, 200);
    assert_eq!(models.json()["object"], "list");
    assert_eq!(models.json()["data"][0]["id"], "tiny-chat");
    assert_eq!(models.json()["data"][0]["atoll"]["best_ask"], Value::Null);
    let model = http.get("/v1/models/tiny-chat").await.json();
    assert_eq!(
        (&model["id"], &model["object"]),
        (&json!("tiny-chat"), &json!("model"))
    );
    assert_eq!(
        http.get("/v1/models/no/such").await.complaint(),
        "404 model_not_found@model"
    );
    let nobody = Http::to(exchange.address);
    assert_eq!(nobody.get("/healthz").await.status, 200);
    assert_eq!(nobody.get("/readyz").await.json()["status"], "ready");
    assert!(models.headers.contains_key("x-request-id"));
    exchange.stop().await;
}
