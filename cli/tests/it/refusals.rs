//! What cannot be done is refused at once, says why, and leaves nothing behind.

use serde_json::{Value, json};

use crate::support::{Atoll, Stream, post, post_json};

fn body(atoll: &Atoll, change: &Value) -> Value {
    let mut body = json!({
        "model": atoll.model(),
        "messages": [{ "role": "user", "content": "Hi" }],
        "max_tokens": 4,
    });
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// Status and stable code of a refused request.
fn refused(atoll: &Atoll, change: &Value) -> (u16, String) {
    let (status, answer) = post_json(atoll, &body(atoll, change));
    let error = &answer["error"];
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{answer}"
    );
    assert!(error["type"].is_string(), "{answer}");
    (status, error["code"].as_str().unwrap_or_default().to_lowercase())
}

/// Waits until nothing is bound to an order or a job.
fn nothing_is_left(atoll: &Atoll) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let (orders, balance) = (atoll.client(&["orders"]), atoll.client(&["balance"]));
        let (orders, balance) = (
            String::from_utf8(orders.stdout).unwrap(),
            String::from_utf8(balance.stdout).unwrap(),
        );
        if orders.lines().count() == 1 && balance.contains(" free, 0 bound to bids and running jobs") {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "something is left:\n{orders}\n{balance}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_nothing() {
    let atoll = Atoll::start();
    let huge = "9223372036854775808";
    for (change, status, code) in [
        (json!({ "model": "no-such-model" }), 404, "model_not_found"),
        (json!({ "atoll": { "limit": "0" } }), 400, ""),
        (json!({ "atoll": { "limit": "-1" } }), 400, ""),
        (json!({ "atoll": { "limit": huge } }), 400, ""),
        (json!({ "max_tokens": 9_223_372_036_854_775_808_u64 }), 400, ""),
        (json!({ "max_tokens": 0 }), 400, ""),
        (json!({ "messages": [] }), 400, ""),
        (
            json!({ "messages": [{ "role": "user", "content": "word ".repeat(20_000) }] }),
            400,
            "context_length_exceeded",
        ),
        (json!({ "atoll": { "region": "atlantis" } }), 400, ""),
        (json!({ "atoll": { "min_tier": "toaster" } }), 400, ""),
        (json!({ "atoll": { "min_karma": 101 } }), 400, ""),
    ] {
        let (got, got_code) = refused(&atoll, &change);
        assert_eq!(got, status, "{change} {got_code}");
        assert!(code.is_empty() || got_code == code, "{change}: {got_code}");
    }
    let model = body(&atoll, &json!({}));
    let (status, answer) = post(
        &atoll,
        "/v1/chat/completions",
        "atoll_sk_wrong",
        model.to_string().as_bytes(),
    );
    assert_eq!(status, 401, "{answer}");
    let (status, answer) = post(
        &atoll,
        "/v1/chat/completions",
        atoll.text("api_key"),
        b"{\"model\": ",
    );
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].is_string(), "{answer}");
    let ten_mebibytes = vec![b' '; 10 << 20];
    let (status, answer) = post(
        &atoll,
        "/v1/chat/completions",
        atoll.text("api_key"),
        &ten_mebibytes,
    );
    assert_eq!(status, 413, "{answer}");
    let (status, answer) = post(&atoll, "/v1/nothing/here", atoll.text("api_key"), b"{}");
    assert_eq!(status, 404, "{answer}");
    nothing_is_left(&atoll);

    // No Island is a server: refused at once, with the nearest that there is.
    let started = std::time::Instant::now();
    let change = json!({ "atoll": { "min_tier": "server", "max_wait_ms": 60_000 } });
    let (status, answer) = post_json(&atoll, &body(&atoll, &change));
    assert!((400..500).contains(&status), "{answer}");
    assert_eq!(
        answer["error"]["code"].as_str().unwrap().to_lowercase(),
        "unservable",
        "{answer}"
    );
    let alternative = &answer["error"]["atoll"]["alternative"];
    assert!(
        alternative["tier"].is_string() && alternative["price"].is_string(),
        "{answer}"
    );
    assert!(
        started.elapsed().as_secs() < 30,
        "it waited for what can never come"
    );

    // Only too cheap: waits, then expires by its time in force.
    let change = json!({ "atoll": { "limit": "0.000001", "max_wait_ms": 300 } });
    let (status, answer) = post_json(&atoll, &body(&atoll, &change));
    assert!(status >= 400, "{answer}");
    assert_eq!(
        answer["error"]["code"].as_str().unwrap().to_lowercase(),
        "expired",
        "{answer}"
    );
    nothing_is_left(&atoll);

    // A client that leaves in the middle of a stream takes its job with it.
    let mut stream = Stream::open(
        &atoll,
        &body(&atoll, &json!({ "stream": true, "max_tokens": 2_000 })),
    );
    stream.next().unwrap();
    drop(stream);
    nothing_is_left(&atoll);
}
