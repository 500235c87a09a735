//! From a job's events to its answer: token ids become text, and stop strings end it.

use std::collections::VecDeque;

use domain::{InstrumentId, IslandId, JobId, Jobs, LeaseFailure, TokenCount};

use super::Gateway;
use super::admission::Admitted;
use super::errors::{Refusal, of_end};
use crate::leasing::{Completed, JobEvent, JobEvents, LeasingHandle, Matched};
use crate::registry::{Detokeniser, StopStrings};

/// What becomes of an order and its jobs, as a client is told.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// An Island took a job.
    Matched(Matched),
    /// Text arrived.
    Output(Output),
    /// An Island was lost; the rest of the job is bid for again.
    FailedOver {
        job: JobId,
        index: u32,
        island: IslandId,
        failure: LeaseFailure,
        emitted: TokenCount,
    },
    /// A job that was matched is over.
    Completed(Box<Completed>),
    /// Jobs that were never matched have ended.
    Ended { jobs: Jobs, why: Refusal },
}

/// Text that arrived.
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) job: JobId,
    pub(crate) index: u32,
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
}

/// Words are never printed: they are the consumer's own.
impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("job", &self.job)
            .field("ids", &self.ids.len())
            .finish_non_exhaustive()
    }
}

/// The reports of one order. Dropping them before the last cancels what is left of it, and makes room for others.
#[derive(Debug)]
pub(crate) struct Reports {
    events: JobEvents,
    leasing: LeasingHandle,
    texts: Vec<Option<Text>>,
    ready: VecDeque<Report>,
    _admitted: Admitted,
}

/// The text of one job so far.
#[derive(Debug)]
struct Text {
    detokeniser: Detokeniser,
    tokens: u32,
}

impl Reports {
    pub(crate) fn new(
        gateway: &Gateway,
        instrument: InstrumentId,
        events: JobEvents,
        stops: Vec<StopStrings>,
        admitted: Admitted,
    ) -> Self {
        let texts = stops
            .into_iter()
            .map(|stops| {
                let detokeniser = gateway.registry.detokeniser(instrument, stops)?;
                Some(Text {
                    detokeniser,
                    tokens: 0,
                })
            })
            .collect();
        Self {
            events,
            leasing: gateway.leasing.clone(),
            texts,
            ready: VecDeque::new(),
            _admitted: admitted,
        }
    }

    /// The next report, or `None` after the last.
    ///
    /// A stream that ends before every job has `Completed` or `Ended` was cut by the exchange's stop.
    pub(crate) async fn next(&mut self) -> Option<Report> {
        loop {
            if let Some(report) = self.ready.pop_front() {
                return Some(report);
            }
            match self.events.next().await? {
                JobEvent::Tokens { job, index, ids } => self.write(job, index, ids).await,
                JobEvent::Matched(matched) => return Some(Report::Matched(matched)),
                JobEvent::FailedOver {
                    job,
                    index,
                    island,
                    failure,
                    emitted,
                } => {
                    return Some(Report::FailedOver {
                        job,
                        index,
                        island,
                        failure,
                        emitted,
                    });
                }
                JobEvent::Completed(completed) => {
                    self.finish(completed.job, completed.index);
                    self.ready.push_back(Report::Completed(completed));
                }
                JobEvent::Ended {
                    jobs,
                    reason,
                    trading,
                } => {
                    let (kind, meaning) = of_end(reason, trading);
                    let why = kind.because(meaning);
                    return Some(Report::Ended { jobs, why });
                }
                JobEvent::Accepted(_) | JobEvent::Rejected(_) | JobEvent::Repeated { .. } => {
                    tracing::error!("an order was answered twice");
                }
            }
        }
    }

    fn text(&mut self, index: u32) -> Option<&mut Option<Text>> {
        self.texts.get_mut(usize::try_from(index).ok()?)
    }

    async fn write(&mut self, job: JobId, index: u32, mut ids: Vec<u32>) {
        let Some(slot) = self.text(index) else { return };
        // What still arrives after a stop string was on its way when the Island was told to stop.
        let Some(text) = slot else { return };
        let piece = text.detokeniser.push(&ids);
        let before = text.tokens;
        text.tokens = before.saturating_add(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        if let Some(stopped_after) = piece.stopped_after {
            *slot = None;
            let kept = usize::try_from(stopped_after.get().saturating_sub(before)).unwrap_or(usize::MAX);
            ids.truncate(kept);
            self.leasing.stop_job(job, stopped_after).await;
        }
        self.ready.push_back(Report::Output(Output {
            job,
            index,
            text: piece.text,
            ids,
        }));
    }

    /// Shows what was held back: half a stop string that never became whole, or half a character.
    fn finish(&mut self, job: JobId, index: u32) {
        let Some(text) = self.text(index).and_then(Option::take) else {
            return;
        };
        let rest = text.detokeniser.finish();
        if !rest.is_empty() {
            self.ready.push_back(Report::Output(Output {
                job,
                index,
                text: rest,
                ids: Vec::new(),
            }));
        }
    }
}
