//! HTTP as a client speaks it.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use super::Atoll;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}

/// Posts raw bytes to a path; returns the status and the body as JSON.
pub(crate) fn post(atoll: &Atoll, path: &str, key: &str, body: &[u8]) -> (u16, Value) {
    let url = format!("{}{path}", atoll.text("http"));
    let request = agent().post(url).header("authorization", format!("Bearer {key}"));
    let mut response = request
        .header("content-type", "application/json")
        .send(body)
        .unwrap();
    let status = response.status().as_u16();
    (status, response.body_mut().read_json().unwrap())
}

/// Posts a chat completion; returns the status and the body.
pub(crate) fn post_json(atoll: &Atoll, body: &Value) -> (u16, Value) {
    post(
        atoll,
        "/v1/chat/completions",
        atoll.text("api_key"),
        body.to_string().as_bytes(),
    )
}

/// A streamed chat completion.
pub(crate) struct Stream {
    lines: std::io::Lines<BufReader<ureq::BodyReader<'static>>>,
    ended: bool,
}

impl Stream {
    /// Opens it. `body` asks for a stream.
    pub(crate) fn open(atoll: &Atoll, body: &Value) -> Self {
        let url = format!("{}/v1/chat/completions", atoll.text("http"));
        let request = agent()
            .post(url)
            .header("authorization", format!("Bearer {}", atoll.text("api_key")));
        let response = request
            .header("content-type", "application/json")
            .send(body.to_string())
            .unwrap();
        assert_eq!(
            response.status().as_u16(),
            200,
            "{:?}",
            response.into_body().read_to_string()
        );
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        Self { lines, ended: false }
    }

    /// Whether `[DONE]` came: the stream ended as it should.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }
}

impl Iterator for Stream {
    type Item = Value;

    /// The next chunk; `None` after `[DONE]` or when the connection ended.
    fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.lines.next()?.unwrap();
            match line.strip_prefix("data: ") {
                Some("[DONE]") => {
                    self.ended = true;
                    return None;
                }
                Some(chunk) => return Some(serde_json::from_str(chunk).unwrap()),
                None => {}
            }
        }
    }
}
