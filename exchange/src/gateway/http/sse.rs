//! A streamed answer as server-sent events.
//!
//! Invariants: a whole answer ends in `data: [DONE]`; any other ends in `data: {"error": …}` and no `[DONE]`, so a cut
//! is never taken for an end; while nothing is to be said, a comment keeps the connection alive.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::HttpError;
use super::chat::{Conversation, unfinished};
use crate::gateway::openai::{AtollMatched, Usage, error_body, finish_reason};
use crate::gateway::reports::Report;

/// How often a comment is sent while nothing else is: well below the half minute after which proxies give up.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

const DONE: &[u8] = b"data: [DONE]\n\n";
const COMMENT: &[u8] = b": waiting\n\n";

/// A streamed answer.
#[derive(Debug)]
pub(super) struct Sse {
    conversation: Conversation,
    ready: VecDeque<Bytes>,
    begun: bool,
    over: bool,
    keep_alive: Interval,
}

impl Sse {
    /// The stream of a conversation, whose first match may be known.
    pub(super) fn new(conversation: Conversation, matched: Option<AtollMatched>) -> Self {
        let mut keep_alive = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sse = Self {
            conversation,
            ready: VecDeque::new(),
            begun: false,
            over: false,
            keep_alive,
        };
        match matched {
            Some(matched) => sse.begin(&matched),
            None => sse.ready.push_back(Bytes::from_static(COMMENT)),
        }
        sse
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(futures::stream::unfold(self, |mut sse| async {
            let frame = sse.frame().await?;
            Some((Ok::<_, Infallible>(frame), sse))
        }))
    }

    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.keep_alive.reset();
                return Some(frame);
            }
            if self.over {
                return None;
            }
            let report = tokio::select! {
                biased;
                report = self.conversation.next() => report,
                _ = self.keep_alive.tick() => return Some(Bytes::from_static(COMMENT)),
            };
            match report {
                Ok(report) => self.tell(report),
                Err(refusal) => self.fail(&refusal.into()),
            }
        }
    }

    fn tell(&mut self, report: Report) {
        match report {
            Report::Matched(matched) => {
                let matched = AtollMatched::new(&matched, &self.conversation.gateway.names);
                self.begin(&matched);
            }
            Report::Output(output) if output.text.is_empty() => {}
            Report::Output(output) => {
                let chunk = self.conversation.chunks.text(&output.text);
                self.data(&chunk);
            }
            Report::FailedOver { island, .. } => {
                self.ready
                    .push_back(format!(": {island} was lost, bidding again\n\n").into());
            }
            Report::Completed(completed) => {
                let atoll = self.conversation.atoll(&completed);
                let Some(reason) = finish_reason(completed.outcome) else {
                    return self.fail(&unfinished(&completed, atoll, None));
                };
                let finish = self.conversation.chunks.finish(reason, &atoll);
                self.data(&finish);
                if self.conversation.chunks.with_usage {
                    let usage = self.conversation.chunks.usage(Usage::of(&completed), &atoll);
                    self.data(&usage);
                }
                self.ready.push_back(Bytes::from_static(DONE));
                self.over = true;
            }
            Report::Ended { why, .. } => self.fail(&why.into()),
        }
    }

    fn begin(&mut self, matched: &AtollMatched) {
        if !self.begun {
            self.begun = true;
            let chunk = self.conversation.chunks.role(matched);
            self.data(&chunk);
        }
    }

    fn fail(&mut self, error: &HttpError) {
        let body = error_body(&error.refusal, error.atoll.as_deref());
        self.data(body.to_string().as_bytes());
        self.over = true;
    }

    fn data(&mut self, json: &[u8]) {
        let mut frame = Vec::with_capacity(json.len() + 8);
        frame.extend_from_slice(b"data: ");
        frame.extend_from_slice(json);
        frame.extend_from_slice(b"\n\n");
        self.ready.push_back(frame.into());
    }
}
