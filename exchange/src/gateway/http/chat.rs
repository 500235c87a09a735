//! `POST /v1/chat/completions`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::{JobOutcome, Jobs, Price};
use proto::convert::{NAME_LENGTH_MAX, text_from_wire};

use super::sse::Sse;
use super::{HttpError, body, unix_seconds};
use crate::gateway::Gateway;
use crate::gateway::errors::{CANCELLED, FAILED, INCOMPLETE, INTERNAL, REPEATED_ORDER, Refusal};
use crate::gateway::openai::{Atoll, AtollMatched, ChatRequest, Chunks, Stream, Usage, finish_reason};
use crate::gateway::order::{Placed, Submitted};
use crate::gateway::reports::Report;
use crate::gateway::stream::ReportStream;
use crate::leasing::Completed;

/// How long the head of a streamed answer is held back for a match. It is longer than a bid waits by default, so that
/// one whom nobody fills is refused with a status; one who waits longer gets his head, then comments until somebody
/// comes.
const HEAD_HELD_MAX: Duration = Duration::from_millis(2_500);

/// A chat answer on its way.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) gateway: Gateway,
    pub(super) chunks: Chunks,
    pub(super) limit: Price,
    pub(super) client_order_id: String,
    pub(super) reports: ReportStream,
}

/// Answers a chat.
pub(super) async fn complete(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let caller = gateway.consumer(&headers).await?;
    let limits = gateway.limits;
    let bytes = body::read(&headers, body, limits.body_bytes_max, limits.request_read_timeout).await?;
    let mut request = ChatRequest::read(&bytes, gateway.market())?;
    drop(bytes);
    if request.order.client_order_id.is_none() {
        request.order.client_order_id = idempotency_key(&headers)?;
    }
    let model = request.order.model.clone();
    let placed = match gateway.submit(caller, request.order).await? {
        Submitted::Placed(placed) => *placed,
        Submitted::Repeated { order, .. } => {
            return Err(REPEATED_ORDER
                .because(format!(
                    "this is {order}, which was placed before; its text is not kept: see your jobs"
                ))
                .into());
        }
    };
    let Placed {
        accepted,
        client_order_id,
        reports,
        ..
    } = placed;
    let job = domain::JobId::of_order(accepted.order, 0);
    let conversation = Conversation {
        chunks: Chunks {
            id: format!("chatcmpl-{job}"),
            created: unix_seconds(),
            model,
            with_usage: request.stream == Stream::WithUsage,
        },
        limit: accepted.limit,
        client_order_id,
        reports: gateway.carry(reports, Jobs::ONE),
        gateway,
    };
    match request.stream {
        Stream::No => conversation.whole().await,
        Stream::Yes | Stream::WithUsage => conversation.streamed().await,
    }
}

/// The name that a client gave his order, so that repeating the request does not bid twice.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = key.to_str().unwrap_or_default().to_owned();
    Ok(Some(text_from_wire("idempotency-key", text, NAME_LENGTH_MAX)?))
}

impl Conversation {
    /// The answer in one piece, or an error; never a part that looks like the whole.
    async fn whole(mut self) -> Result<Response, HttpError> {
        let mut text = String::new();
        let completed = loop {
            match self.next().await? {
                Report::Output(output) => text.push_str(&output.text),
                Report::Completed(completed) => break completed,
                Report::Ended { why, .. } => return Err(why.into()),
                Report::Matched(_) | Report::FailedOver { .. } => {}
            }
        };
        let atoll = self.atoll(&completed);
        let Some(reason) = finish_reason(completed.outcome) else {
            return Err(unfinished(&completed, atoll, Some(text)));
        };
        let body = self.chunks.answer(&text, reason, Usage::of(&completed), atoll);
        Ok((StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response())
    }

    /// The answer chunk by chunk. The status is held back until an Island was found, or long enough was waited.
    async fn streamed(mut self) -> Result<Response, HttpError> {
        let mut begun = None;
        let head = async {
            loop {
                match self.next().await? {
                    Report::Matched(matched) => return Ok(AtollMatched::new(&matched, &self.gateway.names)),
                    Report::Completed(completed) => {
                        let atoll = self.atoll(&completed);
                        return Err(unfinished(&completed, atoll, None));
                    }
                    Report::Ended { why, .. } => return Err(why.into()),
                    Report::Output(_) | Report::FailedOver { .. } => {}
                }
            }
        };
        if let Ok(head) = tokio::time::timeout(HEAD_HELD_MAX, head).await {
            begun = Some(head?);
        }
        let mut response = Response::new(Sse::new(self, begun).into_body());
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }

    /// The next report; a stream that has none left before the answer is whole ends in a refusal.
    pub(super) async fn next(&mut self) -> Result<Report, Refusal> {
        match self.reports.next().await {
            Some(report) => report,
            None => Err(INTERNAL.because("the answer ended without an end")),
        }
    }

    pub(super) fn atoll(&self, completed: &Completed) -> Atoll {
        Atoll::new(completed, self.limit, &self.client_order_id, &self.gateway.names)
    }
}

/// The error that an answer without a clean end is.
pub(super) fn unfinished(completed: &Completed, mut atoll: Atoll, partial: Option<String>) -> HttpError {
    let code = completed.code.unwrap_or("unknown");
    let refusal = match completed.outcome {
        JobOutcome::Cancelled => CANCELLED.because("the job was cancelled; what was delivered is charged"),
        JobOutcome::Incomplete => INCOMPLETE.because(format!(
            "the Island was lost ({code}) and nobody was left to finish; what was delivered is charged, the prompt is not"
        )),
        JobOutcome::Failed => FAILED.because(format!("the job failed before any output ({code}); nothing is charged")),
        JobOutcome::Stopped | JobOutcome::Length => INTERNAL.because("a whole answer was taken for a broken one"),
    };
    atoll.partial = partial;
    HttpError {
        refusal,
        atoll: Some(Box::new(atoll)),
    }
}
