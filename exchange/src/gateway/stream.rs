//! The way of reports to a client: a task reads them, a bounded channel carries them, and the end is always explicit.
//!
//! Invariants: a client who has gone, or who leaves his stream unread too long, cancels; a stream that ends before
//! every job has ended ends in a refusal, never cleanly.

use std::time::Duration;

use domain::Jobs;
use tokio::sync::{mpsc, oneshot};

use super::Gateway;
use super::errors::{INTERNAL, Refusal, SESSION_LOST, STREAM_STALLED};
use super::reports::{Report, Reports};

/// Reports that wait for a client: some seconds of text. Tokens that wait longer are joined further back.
const REPORTS_QUEUED_MAX: usize = 16;

/// A client's end of the reports. Dropping it cancels.
#[derive(Debug)]
pub(super) struct ReportStream {
    reports: mpsc::Receiver<Report>,
    end: Option<oneshot::Receiver<Result<(), Refusal>>>,
}

impl Gateway {
    /// Carries the reports of `jobs` jobs to a client, in a task of their own.
    pub(super) fn carry(&self, reports: Reports, jobs: Jobs) -> ReportStream {
        let (sender, receiver) = mpsc::channel(REPORTS_QUEUED_MAX);
        let (end_sender, end) = oneshot::channel();
        let stall = self.limits.stream_stall_timeout;
        self.0.streams.spawn(async move {
            let end = pump(reports, jobs, sender, stall).await;
            // A client who has gone does not miss it.
            drop(end_sender.send(end));
        });
        ReportStream {
            reports: receiver,
            end: Some(end),
        }
    }
}

async fn pump(
    mut reports: Reports,
    jobs: Jobs,
    client: mpsc::Sender<Report>,
    stall: Duration,
) -> Result<(), Refusal> {
    let mut open = jobs.get();
    loop {
        let report = tokio::select! {
            biased;
            () = client.closed() => return Ok(()),
            report = reports.next() => report,
        };
        let Some(report) = report else { break };
        open = open.saturating_sub(match &report {
            Report::Completed(_) => 1,
            Report::Ended { jobs, .. } => jobs.get(),
            Report::Matched(_) | Report::Output(_) | Report::FailedOver { .. } => 0,
        });
        match tokio::time::timeout(stall, client.send(report)).await {
            Ok(Ok(())) => {}
            Ok(Err(_gone)) => return Ok(()),
            Err(_stalled) => {
                return Err(STREAM_STALLED.because(format!(
                    "the stream was left unread for {} s and its jobs were cancelled",
                    stall.as_secs()
                )));
            }
        }
    }
    if open > 0 {
        return Err(SESSION_LOST.because("the exchange stopped before the answer was complete"));
    }
    Ok(())
}

impl ReportStream {
    /// The next report, the refusal in which the stream ends, or `None` after a whole answer. An interrupted call loses
    /// nothing.
    pub(super) async fn next(&mut self) -> Option<Result<Report, Refusal>> {
        if let Some(report) = self.reports.recv().await {
            return Some(Ok(report));
        }
        // Waited for by reference, so that a caller who is interrupted here may ask again.
        let end = self.end.as_mut()?.await;
        self.end = None;
        match end {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) => Some(Err(refusal)),
            Err(_panicked) => Some(Err(INTERNAL.because("the answer was lost on its way"))),
        }
    }
}
