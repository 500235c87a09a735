//! Bodies and chunks of answers and errors.

use proto::exchange::v1::Model;
use serde::Serialize;
use serde_json::{Value, json};

use super::atoll::{Atoll, AtollMatched};
use crate::gateway::errors::Refusal;
use crate::leasing::Completed;

/// What was read and written.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::gateway) struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

impl Usage {
    pub(in crate::gateway) fn of(completed: &Completed) -> Self {
        let (prompt_tokens, completion_tokens) =
            (completed.prompt_tokens.get(), completed.output_tokens.get());
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens,
        }
    }
}

/// A whole answer.
#[derive(Debug, Serialize)]
pub(in crate::gateway) struct Answer<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [AnswerChoice<'a>; 1],
    usage: Usage,
    system_fingerprint: Option<&'static str>,
    atoll: Atoll,
}

#[derive(Debug, Serialize)]
struct AnswerChoice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

/// What every chunk of one stream has in common: id, time, model.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Chunks {
    pub(in crate::gateway) id: String,
    pub(in crate::gateway) created: u64,
    pub(in crate::gateway) model: String,
    /// Whether chunks carry `usage: null` and a last one counts the tokens.
    pub(in crate::gateway) with_usage: bool,
}

#[derive(Debug, Serialize)]
struct Chunk<'a, A: Serialize> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    system_fingerprint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    atoll: Option<&'a A>,
}

#[derive(Debug, Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl Chunks {
    /// The whole answer in one piece.
    pub(in crate::gateway) fn answer(
        &self,
        text: &str,
        reason: &'static str,
        usage: Usage,
        atoll: Atoll,
    ) -> Vec<u8> {
        bytes(&Answer {
            id: &self.id,
            object: "chat.completion",
            created: self.created,
            model: &self.model,
            choices: [AnswerChoice {
                index: 0,
                message: Message {
                    role: "assistant",
                    content: text,
                    refusal: None,
                },
                logprobs: None,
                finish_reason: reason,
            }],
            usage,
            system_fingerprint: None,
            atoll,
        })
    }

    /// The first chunk: who speaks, and who won.
    pub(in crate::gateway) fn role(&self, matched: &AtollMatched) -> Vec<u8> {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(""),
        };
        self.chunk(&[choice(delta, None)], None, Some(matched))
    }

    /// A piece of the text.
    pub(in crate::gateway) fn text(&self, text: &str) -> Vec<u8> {
        let delta = Delta {
            role: None,
            content: Some(text),
        };
        self.chunk(&[choice(delta, None)], None, None::<&Atoll>)
    }

    /// The end of the text, and what the market did.
    pub(in crate::gateway) fn finish(&self, reason: &'static str, atoll: &Atoll) -> Vec<u8> {
        self.chunk(&[choice(Delta::default(), Some(reason))], None, Some(atoll))
    }

    /// The counts, for who asked for them.
    pub(in crate::gateway) fn usage(&self, usage: Usage, atoll: &Atoll) -> Vec<u8> {
        self.chunk(&[], Some(usage), Some(atoll))
    }

    fn chunk<A: Serialize>(
        &self,
        choices: &[ChunkChoice<'_>],
        usage: Option<Usage>,
        atoll: Option<&A>,
    ) -> Vec<u8> {
        bytes(&Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices,
            usage: self.with_usage.then_some(usage),
            system_fingerprint: None,
            atoll,
        })
    }
}

fn choice<'a>(delta: Delta<'a>, finish_reason: Option<&'static str>) -> ChunkChoice<'a> {
    ChunkChoice {
        index: 0,
        delta,
        logprobs: None,
        finish_reason,
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers are JSON")
}

/// An error's body. `atoll` says what the market did, where it did something.
pub(in crate::gateway) fn error_body(refusal: &Refusal, atoll: Option<&Atoll>) -> Value {
    let field = refusal.field.as_deref().map(http_field);
    let mut error = json!({
        "message": refusal.told_of(field),
        "type": refusal.kind.http_type(),
        "param": field,
        "code": refusal.kind.http_code(),
    });
    if let Some(alternative) = &refusal.alternative {
        error["atoll"] = json!({"alternative": {
            "region": alternative.region,
            "tier": alternative.tier.name(),
            "karma_band": alternative.band.name(),
            "price": alternative.price.to_string(),
        }});
    }
    if let Some(atoll) = atoll {
        error["atoll"] = serde_json::to_value(atoll).unwrap_or(Value::Null);
    }
    json!({ "error": error })
}

/// The name that an HTTP client knows a field by: his one job's fields stand at the top.
fn http_field(field: &str) -> &str {
    field.strip_prefix("inputs[0].").unwrap_or(field)
}

/// A model's body.
pub(in crate::gateway) fn model_body(model: &Model, created: u64) -> Value {
    let price = |nano: u64| domain::Price::new(nano).ok().map(|price| price.to_string());
    json!({
        "id": model.model,
        "object": "model",
        "created": created,
        "owned_by": "atoll",
        "atoll": {
            "digest": data_encoding::HEXLOWER.encode(&model.digest),
            "context_max": model.context_max,
            "input_weight_thousandths": model.input_weight_thousandths,
            "best_ask": model.best_ask.and_then(price),
            "licence": (!model.licence.is_empty()).then_some(model.licence.as_str()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::errors::INVALID_ARGUMENT;

    fn chunks(with_usage: bool) -> Chunks {
        Chunks {
            id: "chatcmpl-1".into(),
            created: 5,
            model: "m".into(),
            with_usage,
        }
    }

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_chunk_says_that_it_is_not_the_last() {
        let chunk = parsed(&chunks(false).text("hé"));
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
        assert!(
            chunk["choices"][0]
                .as_object()
                .unwrap()
                .contains_key("finish_reason")
        );
        assert_eq!(chunk["choices"][0]["delta"], json!({"content": "hé"}));
        assert!(!chunk.as_object().unwrap().contains_key("usage"));
    }

    #[test]
    fn chunks_of_a_stream_with_usage_say_null_until_the_last() {
        let chunk = parsed(&chunks(true).text("x"));
        assert_eq!(chunk.get("usage"), Some(&Value::Null));
    }

    #[test]
    fn an_error_names_the_field_as_an_http_client_knows_it() {
        let body = error_body(
            &INVALID_ARGUMENT.because("is wrong").at("inputs[0].max_tokens"),
            None,
        );
        assert_eq!(
            body,
            json!({"error": {
                "message": "max_tokens: is wrong", "type": "invalid_request_error", "param": "max_tokens", "code": "invalid_argument",
            }})
        );
    }
}
