//! A chat request, read key by key so that what is wrong is named.
//!
//! Unknown keys are accepted, as every server of this kind accepts them; but not inside `atoll`, where a misspelt
//! condition would be a condition lost. What this exchange does not have is refused where ignoring it would change the
//! answer (`n`, `tools`, `response_format`, `logprobs`, sound); what only tunes the draw is ignored (penalties,
//! `logit_bias`).

use domain::{Credits, Price, Tier};
use proto::convert::{
    FieldError, JobInput, JobRequest, MESSAGES_MAX, Market, NAME_LENGTH_MAX, Speaker, Turn,
    bid_terms_from_wire, temperature, text_from_wire, tier_to_wire, top_p,
};
use proto::exchange::v1 as wire;
use proto::types::v1 as types;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::gateway::errors::{
    EMPTY_PROMPT, INVALID_ARGUMENT, MALFORMED_JSON, Refusal, UNSUPPORTED_PARAMETER,
};

/// A chat request.
#[derive(Debug)]
pub(in crate::gateway) struct ChatRequest {
    /// The bid and its one job.
    pub(in crate::gateway) order: JobRequest,
    /// Whether the answer is streamed.
    pub(in crate::gateway) stream: Stream,
}

/// How the answer is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Stream {
    /// In one piece.
    No,
    /// Chunk by chunk.
    Yes,
    /// Chunk by chunk, and a last one that counts the tokens.
    WithUsage,
}

/// An object that is being emptied key by key; a `null` is as good as nothing.
struct Keys {
    path: String,
    map: Map<String, Value>,
}

type Read<T> = Result<T, Refusal>;

fn wrong(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    INVALID_ARGUMENT.because(problem).at(field)
}

fn unsupported(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    UNSUPPORTED_PARAMETER.because(problem).at(field)
}

impl ChatRequest {
    /// Reads a body.
    pub(in crate::gateway) fn read(body: &[u8], market: Market<'_>) -> Read<Self> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| MALFORMED_JSON.because(format!("the body is not JSON: {error}")))?;
        let Value::Object(map) = value else {
            return Err(MALFORMED_JSON.because("the body is JSON, but not an object"));
        };
        let mut keys = Keys {
            path: String::new(),
            map,
        };
        let model = keys.text("model")?.ok_or_else(|| wrong("model", "is required"))?;
        let model = text_from_wire("model", model, NAME_LENGTH_MAX)?;
        let turns = read_messages(&mut keys)?;
        refuse_unsupported(&mut keys)?;
        let stream = read_stream(&mut keys)?;
        let input = read_input(&mut keys, turns)?;
        let (terms, client_order_id) = read_atoll(&mut keys, market)?;
        let user = keys.text("user")?.filter(|user| !user.is_empty());
        let order = JobRequest {
            client_order_id,
            model,
            inputs: vec![input],
            terms,
            user,
        };
        Ok(Self { order, stream })
    }
}

fn read_messages(keys: &mut Keys) -> Read<Vec<Turn>> {
    let messages = keys
        .list("messages")?
        .ok_or_else(|| wrong("messages", "is required"))?;
    if messages.is_empty() {
        return Err(EMPTY_PROMPT.because("there is no message").at("messages"));
    }
    if messages.len() > MESSAGES_MAX {
        return Err(wrong("messages", format!("has more than {MESSAGES_MAX}")));
    }
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| read_message(index, message))
        .collect()
}

fn read_message(index: usize, message: Value) -> Read<Turn> {
    let path = format!("messages[{index}]");
    let Value::Object(map) = message else {
        return Err(wrong(path, "is not an object"));
    };
    let mut keys = Keys {
        path: format!("{path}."),
        map,
    };
    let role = keys
        .text("role")?
        .ok_or_else(|| wrong(keys.at("role"), "is required"))?;
    if matches!(role.as_str(), "tool" | "function") {
        return Err(unsupported(keys.at("role"), "tools are not supported here"));
    }
    let speaker = Speaker::named(&role)
        .ok_or_else(|| wrong(keys.at("role"), "is `system`, `developer`, `user` or `assistant`"))?;
    if keys
        .take("tool_calls")
        .is_some_and(|calls| calls.as_array().is_none_or(|calls| !calls.is_empty()))
    {
        return Err(unsupported(keys.at("tool_calls"), "tools are not supported here"));
    }
    let content = match keys.take("content") {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => read_parts(&keys.at("content"), parts)?,
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(wrong(keys.at("content"), "is a string or a list of text parts"));
        }
    };
    Ok(Turn { speaker, content })
}

fn read_parts(path: &str, parts: Vec<Value>) -> Read<String> {
    let mut text = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Value::Object(map) = part else {
            return Err(wrong(path, "is not an object"));
        };
        let mut keys = Keys {
            path: format!("{path}."),
            map,
        };
        match keys.text("type")?.as_deref() {
            Some("text") => {}
            Some(_) => return Err(unsupported(keys.at("type"), "only text is supported here")),
            None => return Err(wrong(keys.at("type"), "is required")),
        }
        let piece = keys
            .text("text")?
            .ok_or_else(|| wrong(keys.at("text"), "is required"))?;
        text.push_str(&piece);
    }
    Ok(text)
}

fn refuse_unsupported(keys: &mut Keys) -> Read<()> {
    if keys.whole("n")?.is_some_and(|n| n != 1) {
        return Err(unsupported("n", "is 1 here: ask again for another answer"));
    }
    for key in ["tools", "functions"] {
        if keys.list(key)?.is_some_and(|tools| !tools.is_empty()) {
            return Err(unsupported(key, "tools are not supported here"));
        }
    }
    if let Some(format) = keys.object("response_format")? {
        let kind = format.get("type").and_then(Value::as_str);
        if kind != Some("text") {
            return Err(unsupported(
                "response_format",
                "only `{\"type\": \"text\"}` is supported here",
            ));
        }
    }
    if keys.flag("logprobs")? == Some(true) || keys.whole("top_logprobs")?.is_some_and(|top| top != 0) {
        return Err(unsupported(
            "logprobs",
            "probabilities of tokens are not supported here",
        ));
    }
    let modalities = keys.list("modalities")?.unwrap_or_default();
    if modalities
        .iter()
        .any(|modality| modality.as_str() != Some("text"))
    {
        return Err(unsupported("modalities", "only `text` is supported here"));
    }
    Ok(())
}

fn read_stream(keys: &mut Keys) -> Read<Stream> {
    let options = keys.object("stream_options")?;
    if keys.flag("stream")? != Some(true) {
        return Ok(Stream::No);
    }
    let Some(map) = options else {
        return Ok(Stream::Yes);
    };
    let mut options = Keys {
        path: "stream_options.".to_owned(),
        map,
    };
    Ok(match options.flag("include_usage")? {
        Some(true) => Stream::WithUsage,
        Some(false) | None => Stream::Yes,
    })
}

fn read_input(keys: &mut Keys, turns: Vec<Turn>) -> Read<JobInput> {
    let old = read_max_tokens(keys, "max_tokens")?;
    let max_tokens = read_max_tokens(keys, "max_completion_tokens")?.or(old);
    let stop = match keys.take("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops
            .into_iter()
            .map(|stop| stop.as_str().map(ToOwned::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("stop", "is a string or a list of strings"))?,
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(wrong("stop", "is a string or a list of strings"));
        }
    };
    let heat = keys
        .decimal("temperature")?
        .map_or(Ok(1.0), |value| temperature("temperature", value))?;
    // OpenAI's clients may say 0, where the likeliest token is all that is left.
    let nucleus = match keys.decimal("top_p")? {
        None => 1.0,
        Some(0.0) => f32::MIN_POSITIVE,
        Some(value) => top_p("top_p", value)?,
    };
    Ok(JobInput {
        turns,
        max_tokens,
        temperature: heat,
        top_p: nucleus,
        seed: read_seed(keys)?,
        stop,
    })
}

fn read_max_tokens(keys: &mut Keys, key: &str) -> Read<Option<u32>> {
    let Some(tokens) = keys.whole(key)? else {
        return Ok(None);
    };
    match u32::try_from(tokens) {
        Ok(0) => Err(wrong(key, "is at least 1")),
        Ok(tokens) => Ok(Some(tokens)),
        Err(_) => Err(wrong(key, format!("{tokens} is more than any model's context"))),
    }
}

fn read_seed(keys: &mut Keys) -> Read<Option<u64>> {
    let Some(value) = keys.take("seed") else {
        return Ok(None);
    };
    let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    seed.map(Some)
        .ok_or_else(|| wrong("seed", "is a whole number of 64 bits"))
}

fn read_atoll(keys: &mut Keys, market: Market<'_>) -> Read<(proto::convert::BidTerms, Option<String>)> {
    let mut terms = wire::BidTerms::default();
    let Some(map) = keys.object("atoll")? else {
        return Ok((bid_terms_from_wire("atoll", terms, market)?, None));
    };
    let mut atoll = Keys {
        path: "atoll.".to_owned(),
        map,
    };
    terms.limit = atoll
        .money("limit")?
        .map(|text| {
            text.parse()
                .map(Price::get)
                .map_err(|error: domain::PriceError| wrong("atoll.limit", error.to_string()))
        })
        .transpose()?;
    terms.latency_value = match atoll.money("latency_value")? {
        None => 0,
        Some(text) => {
            let credits: Credits = text
                .parse()
                .map_err(|error: domain::CreditsError| wrong("atoll.latency_value", error.to_string()))?;
            u32::try_from(credits.as_nano()).map_err(|_| {
                wrong(
                    "atoll.latency_value",
                    "is 0 to 4.29 credits per 1,000 work units for 10 ms of round trip",
                )
            })?
        }
    };
    terms.home_region = atoll.text("region")?.unwrap_or_default();
    terms.regions = atoll.texts("regions")?;
    terms.excluded_islands = atoll.texts("excluded_islands")?;
    terms.max_rtt_ms = atoll.small("max_rtt_ms")?;
    terms.min_karma = atoll.small("min_karma")?;
    if let Some(tier) = atoll.text("min_tier")? {
        let tier: Tier = tier
            .parse()
            .map_err(|error: domain::TierParseError| wrong("atoll.min_tier", error.to_string()))?;
        terms.min_tier = tier_to_wire(tier).into();
    }
    terms.time_in_force = atoll.whole("max_wait_ms")?.map(|wait| match wait {
        0 => types::TimeInForce {
            kind: types::TimeInForceKind::Ioc.into(),
            expires_in_ms: 0,
        },
        wait => types::TimeInForce {
            kind: types::TimeInForceKind::Gtd.into(),
            expires_in_ms: wait,
        },
    });
    let client_order_id = atoll
        .text("client_order_id")?
        .map(|text| text_from_wire("atoll.client_order_id", text, NAME_LENGTH_MAX))
        .transpose()?;
    if let Some(unknown) = atoll.map.keys().next() {
        let unknown: String = unknown.chars().take(40).collect();
        return Err(wrong(
            atoll.at(&unknown),
            "is not one of the conditions that a bid may have",
        ));
    }
    let terms = bid_terms_from_wire("atoll", terms, market).map_err(|error| FieldError {
        field: error
            .field
            .replace("atoll.home_region", "atoll.region")
            .replace("atoll.time_in_force.expires_in_ms", "atoll.max_wait_ms"),
        problem: error.problem,
    })?;
    Ok((terms, client_order_id))
}

impl Keys {
    fn at(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn read<T>(&mut self, key: &str, what: &str, read: impl FnOnce(Value) -> Option<T>) -> Read<Option<T>> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| wrong(self.at(key), what))
    }

    fn text(&mut self, key: &str) -> Read<Option<String>> {
        self.read(key, "is a string", |value| match value {
            Value::String(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        })
    }

    fn list(&mut self, key: &str) -> Read<Option<Vec<Value>>> {
        self.read(key, "is a list", |value| match value {
            Value::Array(list) => Some(list),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
        })
    }

    fn texts(&mut self, key: &str) -> Read<Vec<String>> {
        let texts = self.read(key, "is a list of strings", |value| {
            value
                .as_array()?
                .iter()
                .map(|text| text.as_str().map(ToOwned::to_owned))
                .collect::<Option<Vec<_>>>()
        })?;
        Ok(texts.unwrap_or_default())
    }

    fn object(&mut self, key: &str) -> Read<Option<Map<String, Value>>> {
        self.read(key, "is an object", |value| match value {
            Value::Object(map) => Some(map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        })
    }

    fn flag(&mut self, key: &str) -> Read<Option<bool>> {
        self.read(key, "is true or false", |value| value.as_bool())
    }

    fn whole(&mut self, key: &str) -> Read<Option<u64>> {
        self.read(key, "is a whole number, not negative, of 64 bits", |value| {
            value.as_u64()
        })
    }

    fn small(&mut self, key: &str) -> Read<u32> {
        let number = self.whole(key)?.unwrap_or_default();
        u32::try_from(number).map_err(|_| wrong(self.at(key), "is too large"))
    }

    fn decimal(&mut self, key: &str) -> Read<Option<f32>> {
        self.read(key, "is a number", |value| f32::deserialize(value).ok())
    }

    /// Money is written as a text: a JSON number would pass through a float somewhere on its way.
    fn money(&mut self, key: &str) -> Read<Option<String>> {
        self.read(
            key,
            "is a decimal number of credits in quotes, such as \"0.02\"",
            |value| match value {
                Value::String(text) => Some(text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{TimeInForce, Timestamp};
    use serde_json::json;

    fn read(body: &Value) -> Read<ChatRequest> {
        let regions = crate::config::built_in_regions();
        let home = regions.find("eu-west").unwrap();
        let market = Market {
            regions: &regions,
            home,
            now: Timestamp::ZERO,
        };
        ChatRequest::read(body.to_string().as_bytes(), market)
    }

    fn with(extra: Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        let Value::Object(extra) = extra else {
            panic!("an object")
        };
        body.as_object_mut().unwrap().extend(extra);
        body
    }

    /// What is wrong with a request that has `extra`, as `code@field`.
    fn complaint(extra: Value) -> String {
        let refusal = read(&with(extra)).unwrap_err();
        format!("{}@{}", refusal.kind.code, refusal.field.unwrap_or_default())
    }

    #[test]
    fn a_plain_request_is_a_bid_on_default_terms() {
        let request = read(&with(json!({}))).unwrap();
        let input = &request.order.inputs[0];
        assert_eq!(
            (input.max_tokens, input.temperature, input.top_p, input.seed),
            (None, 1.0, 1.0, None)
        );
        assert_eq!(request.order.terms.limit, None);
        assert_eq!(request.stream, Stream::No);
    }

    #[test]
    fn unknown_keys_and_nulls_are_accepted() {
        let request = read(&with(json!({
            "made_up": {"deep": [1]}, "store": true, "metadata": {}, "service_tier": "auto", "user": "u",
            "logit_bias": {"1": -100}, "frequency_penalty": -2, "presence_penalty": 2, "tool_choice": "none",
            "tools": [], "functions": null, "n": 1, "logprobs": false, "top_logprobs": 0, "stop": null,
            "max_tokens": null, "response_format": {"type": "text"}, "modalities": ["text"], "atoll": null,
        })));
        assert!(request.is_ok(), "{request:?}");
    }

    #[test]
    fn both_names_of_the_output_bound_are_read_and_the_new_one_wins() {
        let bound = |extra| read(&with(extra)).unwrap().order.inputs[0].max_tokens;
        assert_eq!(bound(json!({"max_tokens": 5})), Some(5));
        assert_eq!(bound(json!({"max_completion_tokens": 6})), Some(6));
        assert_eq!(
            bound(json!({"max_tokens": 5, "max_completion_tokens": 6})),
            Some(6)
        );
    }

    #[test]
    fn content_is_a_text_or_a_list_of_texts() {
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let request = read(&with(
            json!({"messages": [{"role": "developer", "content": parts}]}),
        ))
        .unwrap();
        assert_eq!(request.order.inputs[0].turns[0].content, "ab");
        assert_eq!(request.order.inputs[0].turns[0].speaker, Speaker::System);
    }

    #[test]
    fn a_stop_is_a_text_or_a_list_and_a_seed_may_be_negative() {
        let input = |extra| read(&with(extra)).unwrap().order.inputs.remove(0);
        assert_eq!(input(json!({"stop": "x"})).stop, ["x"]);
        assert_eq!(input(json!({"stop": ["x", "y"]})).stop, ["x", "y"]);
        assert_eq!(input(json!({"seed": -1})).seed, Some(u64::MAX));
        assert_eq!(input(json!({"seed": u64::MAX})).seed, Some(u64::MAX));
    }

    #[test]
    fn a_usage_chunk_is_only_sent_to_a_stream_that_asks_for_it() {
        let stream = |extra| read(&with(extra)).unwrap().stream;
        assert_eq!(stream(json!({"stream": true})), Stream::Yes);
        assert_eq!(
            stream(json!({"stream": true, "stream_options": {"include_usage": true}})),
            Stream::WithUsage
        );
        assert_eq!(
            stream(json!({"stream_options": {"include_usage": true}})),
            Stream::No
        );
    }

    #[test]
    fn the_conditions_of_the_bid_are_read() {
        let request = read(&with(json!({"atoll": {
            "limit": "0.02", "region": "us-east", "max_rtt_ms": 70, "min_tier": "laptop", "min_karma": 50,
            "latency_value": "0.000001", "max_wait_ms": 0, "excluded_islands": ["isl_1"], "client_order_id": "mine",
        }})))
        .unwrap();
        let terms = request.order.terms;
        assert_eq!(terms.limit.map(Price::get), Some(20_000_000));
        assert_eq!(terms.latency_value.get(), 1_000);
        assert_eq!(terms.time_in_force, Some(TimeInForce::Ioc));
        assert_eq!(terms.eligibility.regions.iter().count(), 2, "us-east and us-west");
        assert_eq!(request.order.client_order_id.as_deref(), Some("mine"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (extra, expected) in [
            (json!({"model": 5}), "INVALID_ARGUMENT@model"),
            (json!({"model": null}), "INVALID_ARGUMENT@model"),
            (json!({"messages": []}), "EMPTY_PROMPT@messages"),
            (json!({"messages": "hi"}), "INVALID_ARGUMENT@messages"),
            (json!({"messages": [7]}), "INVALID_ARGUMENT@messages[0]"),
            (
                json!({"messages": [{"content": "x"}]}),
                "INVALID_ARGUMENT@messages[0].role",
            ),
            (
                json!({"messages": [{"role": "robot"}]}),
                "INVALID_ARGUMENT@messages[0].role",
            ),
            (
                json!({"messages": [{"role": "tool"}]}),
                "UNSUPPORTED_PARAMETER@messages[0].role",
            ),
            (
                json!({"messages": [{"role": "user", "content": 5}]}),
                "INVALID_ARGUMENT@messages[0].content",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                "UNSUPPORTED_PARAMETER@messages[0].content[0].type",
            ),
            (json!({"max_tokens": 0}), "INVALID_ARGUMENT@max_tokens"),
            (json!({"max_tokens": -1}), "INVALID_ARGUMENT@max_tokens"),
            (json!({"max_tokens": 1.5}), "INVALID_ARGUMENT@max_tokens"),
            (json!({"max_tokens": 1u64 << 63}), "INVALID_ARGUMENT@max_tokens"),
            (json!({"temperature": "hot"}), "INVALID_ARGUMENT@temperature"),
            (json!({"temperature": 1e300}), "INVALID_ARGUMENT@temperature"),
            (json!({"top_p": 1.1}), "INVALID_ARGUMENT@top_p"),
            (json!({"seed": 0.5}), "INVALID_ARGUMENT@seed"),
            (json!({"stop": [1]}), "INVALID_ARGUMENT@stop"),
            (json!({"stream": "yes"}), "INVALID_ARGUMENT@stream"),
            (json!({"n": 2}), "UNSUPPORTED_PARAMETER@n"),
            (json!({"tools": [{}]}), "UNSUPPORTED_PARAMETER@tools"),
            (
                json!({"response_format": {"type": "json_object"}}),
                "UNSUPPORTED_PARAMETER@response_format",
            ),
            (json!({"logprobs": true}), "UNSUPPORTED_PARAMETER@logprobs"),
            (
                json!({"modalities": ["audio"]}),
                "UNSUPPORTED_PARAMETER@modalities",
            ),
            (json!({"atoll": 5}), "INVALID_ARGUMENT@atoll"),
            (json!({"atoll": {"limit": 0.02}}), "INVALID_ARGUMENT@atoll.limit"),
            (json!({"atoll": {"limit": "0"}}), "INVALID_ARGUMENT@atoll.limit"),
            (json!({"atoll": {"limit": "-1"}}), "INVALID_ARGUMENT@atoll.limit"),
            (json!({"atoll": {"limit": "1e3"}}), "INVALID_ARGUMENT@atoll.limit"),
            (
                json!({"atoll": {"limit": "9223372036854775808"}}),
                "INVALID_ARGUMENT@atoll.limit",
            ),
            (
                json!({"atoll": {"region": "moon"}}),
                "INVALID_ARGUMENT@atoll.region",
            ),
            (
                json!({"atoll": {"max_rtt_ms": 5}}),
                "INVALID_ARGUMENT@atoll.max_rtt_ms",
            ),
            (
                json!({"atoll": {"max_rtt_ms": 1u64 << 33}}),
                "INVALID_ARGUMENT@atoll.max_rtt_ms",
            ),
            (
                json!({"atoll": {"min_tier": "toaster"}}),
                "INVALID_ARGUMENT@atoll.min_tier",
            ),
            (
                json!({"atoll": {"min_karma": 101}}),
                "INVALID_ARGUMENT@atoll.min_karma",
            ),
            (
                json!({"atoll": {"latency_value": "-1"}}),
                "INVALID_ARGUMENT@atoll.latency_value",
            ),
            (
                json!({"atoll": {"max_wait_ms": u64::MAX}}),
                "INVALID_ARGUMENT@atoll.max_wait_ms",
            ),
            (json!({"atoll": {"max_rtt": 5}}), "INVALID_ARGUMENT@atoll.max_rtt"),
            (
                json!({"atoll": {"client_order_id": "x".repeat(65)}}),
                "INVALID_ARGUMENT@atoll.client_order_id",
            ),
        ] {
            assert_eq!(complaint(extra.clone()), expected, "{extra}");
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_malformed() {
        let regions = crate::config::built_in_regions();
        let home = regions.find("eu-west").unwrap();
        let market = Market {
            regions: &regions,
            home,
            now: Timestamp::ZERO,
        };
        let bomb = "[".repeat(1_000_000);
        let half = r#"{"model": "m", "messages": [{"role""#;
        for body in [
            "",
            "[]",
            "5",
            "{",
            half,
            &bomb,
            "{\"model\": \"\u{0}\"}",
            "\u{feff}{}",
        ] {
            let refusal = ChatRequest::read(body.as_bytes(), market).unwrap_err();
            assert_eq!(refusal.kind, MALFORMED_JSON, "{refusal:?}");
        }
        assert_eq!(
            ChatRequest::read(b"{\"model\": \"\xff\"}", market)
                .unwrap_err()
                .kind,
            MALFORMED_JSON
        );
    }
}
