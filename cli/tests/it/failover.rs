//! The winning Island is killed in the middle of a greedy answer; the answer goes on as if nothing had happened.

use serde_json::{Value, json};

use crate::support::{Atoll, Stream, number, post_json};

const PROMPTS: [&str; 10] = [
    "Explain in a few sentences why the sky is blue.",
    "Write a short story about a fisherman and a lighthouse.",
    "List ten animals that live in the sea, with a sentence about each.",
    "Describe how bread is made, step by step.",
    "What should a traveller know before visiting Japan?",
    "Explain to a child how a bicycle works.",
    "Give advice to somebody who wants to learn the piano.",
    "Describe the four seasons in a northern country.",
    "Tell me about the history of the printing press.",
    "Why do people tell stories? Answer in a paragraph.",
];

/// Tokens of an answer: long enough to be cut in the middle.
const TOKENS_MAX: u32 = 72;
/// Rounds of the normal tests.
const ROUNDS: u64 = 3;

fn body(atoll: &Atoll, prompt: &str, stream: bool) -> Value {
    json!({
        "model": atoll.model(),
        "messages": [{ "role": "user", "content": prompt }],
        "temperature": 0,
        "max_tokens": TOKENS_MAX,
        "stream": stream,
        "stream_options": if stream { json!({ "include_usage": true }) } else { Value::Null },
        "atoll": { "max_wait_ms": 20_000, "limit": "0.05" },
    })
}

/// Opens the stream, kills the winner after `cut` pieces of text, and reads to the end.
fn interrupted(atoll: &mut Atoll, prompt: &str, cut: usize) -> (String, Value, String) {
    let mut stream = Stream::open(atoll, &body(atoll, prompt, true));
    let (mut text, mut extension, mut pieces, mut winner) = (String::new(), Value::Null, 0, String::new());
    for chunk in stream.by_ref() {
        assert!(chunk["error"].is_null(), "{chunk}");
        if let Some(island) = chunk["atoll"]["island"].as_str().filter(|_| winner.is_empty()) {
            island.clone_into(&mut winner);
        }
        if let Some(piece) = chunk["choices"][0]["delta"]["content"]
            .as_str()
            .filter(|piece| !piece.is_empty())
        {
            text.push_str(piece);
            pieces += 1;
            if pieces == cut {
                assert!(!winner.is_empty(), "no chunk had said who won");
                atoll.kill_island(&winner);
            }
        }
        if !chunk["atoll"]["charge"].is_null() {
            extension = chunk["atoll"].clone();
        }
    }
    assert!(stream.ended(), "the stream did not end with [DONE]");
    assert!(pieces >= cut, "the answer was over before the cut: {text}");
    (text, extension, winner)
}

#[test]
fn a_killed_island_loses_doubles_and_reorders_nothing() {
    let (seed, rounds) = (number("ATOLL_LONG_SEED", 1), number("ATOLL_LONG_COUNT", ROUNDS));
    let mut atoll = Atoll::start();
    let mut identical = 0;
    for round in seed..seed + rounds {
        let index = usize::try_from(round).unwrap();
        let prompt = format!("{} ({round})", PROMPTS[index % PROMPTS.len()]);
        let (status, whole) = post_json(&atoll, &body(&atoll, &prompt, false));
        assert_eq!(status, 200, "{whole}");
        let uninterrupted = whole["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned();

        let tokens = usize::try_from(whole["usage"]["completion_tokens"].as_u64().unwrap()).unwrap();
        let (text, extension, killed) = interrupted(&mut atoll, &prompt, cut(index, tokens));
        assert_eq!(extension["failovers"], 1, "{extension}");
        let segments = extension["segments"].as_array().unwrap();
        assert_eq!(segments.len(), 2, "the bill shows both segments: {extension}");
        assert_eq!(segments[0]["island"], killed.as_str());
        assert_ne!(segments[1]["island"], killed.as_str());
        within_the_limit(&extension, segments);
        if text == uninterrupted {
            identical += 1;
        } else {
            eprintln!("round {round} differs:\n--- uninterrupted\n{uninterrupted}\n--- interrupted\n{text}");
        }
        atoll.restart_island(&killed);
    }
    println!(
        "{}",
        json!({ "failover": { "prompts": rounds, "identical": identical, "seed": seed } })
    );
    assert_eq!(identical, rounds, "answers that equal the uninterrupted run");
}

/// After how many pieces a round's Island dies: sometimes early, sometimes late, never in the second half, for an answer
/// that is already on its way would not notice.
fn cut(round: usize, tokens: usize) -> usize {
    (4 + round * 7 % 40).min(tokens.div_euclid(2)).max(1)
}

/// Both segments together cost no more than an unbroken run at the limit, fee included.
fn within_the_limit(extension: &Value, segments: &[Value]) {
    let nano = |value: &Value| {
        value
            .as_str()
            .unwrap()
            .parse::<domain::Credits>()
            .unwrap()
            .as_nano()
    };
    let units: u64 = segments
        .iter()
        .map(|segment| segment["units"].as_u64().unwrap())
        .sum();
    let charge: i64 = segments.iter().map(|segment| nano(&segment["charge"])).sum();
    assert_eq!(charge, nano(&extension["charge"]));
    let limit: domain::Price = "0.05".parse().unwrap();
    let unbroken = limit.cost_of(domain::Units::new(units)).unwrap();
    assert!(charge <= unbroken.as_nano(), "{charge} is above {unbroken}");
}
