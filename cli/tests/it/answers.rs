//! What a consumer gets over HTTP and from the command line.

use serde_json::{Value, json};

use crate::support::{Atoll, Stream, post_json};

fn question(atoll: &Atoll, stream: bool) -> Value {
    json!({
        "model": atoll.model(),
        "messages": [{ "role": "user", "content": "What is the capital of France?" }],
        "temperature": 0,
        "max_tokens": 24,
        "stream": stream,
        "stream_options": if stream { json!({ "include_usage": true }) } else { Value::Null },
    })
}

#[test]
fn an_answer_says_who_gave_it_and_what_it_cost() {
    let atoll = Atoll::start();
    let (status, answer) = post_json(&atoll, &question(&atoll, false));
    assert_eq!(status, 200, "{answer}");
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("Paris"), "{text}");
    let usage = &answer["usage"];
    let (prompt, output) = (
        usage["prompt_tokens"].as_u64().unwrap(),
        usage["completion_tokens"].as_u64().unwrap(),
    );
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), prompt + output);
    let extension = &answer["atoll"];
    for key in [
        "price",
        "island",
        "region",
        "tier",
        "wait_ms",
        "failovers",
        "charge",
    ] {
        assert!(!extension[key].is_null(), "no `{key}` in {extension}");
    }
    // The same question streamed is the same answer, for it is greedy.
    let mut stream = Stream::open(&atoll, &question(&atoll, true));
    let chunks: Vec<Value> = stream.by_ref().collect();
    assert!(stream.ended(), "the stream did not end with [DONE]");
    let streamed: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, text);
    let last = chunks
        .iter()
        .rfind(|chunk| !chunk["usage"].is_null())
        .expect("a chunk with the usage");
    assert_eq!(last["usage"], *usage);

    let bid = atoll.client(&[
        "bid",
        atoll.model(),
        "What is the capital of France?",
        "--max-tokens",
        "24",
    ]);
    let (said, story) = (
        String::from_utf8_lossy(&bid.stdout),
        String::from_utf8_lossy(&bid.stderr),
    );
    assert!(bid.status.success(), "{story}");
    assert_eq!(said.trim_end(), text.trim_end());
    assert!(story.contains("1 receipt(s) verified"), "{story}");
    for (command, part) in [
        ("jobs", "stopped"),
        ("balance", "free, 0 bound"),
        ("models", "Apache-2.0"),
    ] {
        let output = atoll.client(&[command]);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && shown.contains(part),
            "atoll {command}: {shown}"
        );
    }
}
