//! The shapes that OpenAI's clients send and expect, written by hand: `finish_reason: null` on every chunk, `usage` with
//! all three counts, errors as `{"error": {message, type, param, code}}`.

mod answer;
mod atoll;
mod request;

pub(super) use answer::{Chunks, Usage, error_body, model_body};
pub(super) use atoll::{Atoll, AtollMatched, finish_reason};
pub(super) use request::{ChatRequest, Stream};
