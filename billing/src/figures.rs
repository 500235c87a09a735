//! What billing counts, for Prometheus. Nothing here reads the books: what they come to, the audit says.

use std::time::Duration;

use service::metrics::{Counter, Gauge, Histogram, Metrics};

use crate::store::{Outcome, Written};

/// The counter of refusals, by code.
const REFUSALS: &str = "billing_refusals_total";

/// What billing counts.
#[derive(Clone, Debug)]
pub struct Figures {
    metrics: Metrics,
    transfers: Counter,
    settlements: Counter,
    batches: Counter,
    batch_size: Histogram,
    commit_seconds: Histogram,
    failures: Counter,
    queued: Gauge,
}

impl Figures {
    /// Begins to count, in `metrics`.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        // The first refusal of a code makes its counter; the description belongs to all of them.
        let _described = metrics.counter(REFUSALS, "Changes that were refused, by code.");
        Self {
            transfers: metrics.counter("billing_transfers_total", "Transfers that were booked."),
            settlements: metrics.counter(
                "billing_settlements_total",
                "Settlements that were kept, refused ones with them.",
            ),
            batches: metrics.counter("billing_batches_total", "Transactions that were committed."),
            batch_size: metrics.histogram("billing_batch_size", "Changes in a transaction."),
            commit_seconds: metrics.histogram("billing_commit_seconds", "How long a commit took."),
            failures: metrics.counter(
                "billing_commit_failures_total",
                "Transactions that the database did not commit.",
            ),
            queued: metrics.gauge(
                "billing_queued_calls",
                "Calls that waited when a batch was begun.",
            ),
            metrics,
        }
    }

    /// Counts a transaction.
    pub(crate) fn committed(&self, outcomes: &[Outcome], written: Written, took: Duration) {
        self.transfers.increment(written.transfers);
        self.settlements.increment(written.settlements);
        self.batches.increment(1);
        self.batch_size
            .record(f64::from(u32::try_from(outcomes.len()).unwrap_or(u32::MAX)));
        self.commit_seconds.record(took.as_secs_f64());
        for outcome in outcomes {
            if let Some(code) = outcome.refusal() {
                self.metrics.labelled(REFUSALS, "code", code).increment(1);
            }
        }
    }

    /// Counts a transaction that came to nothing.
    pub(crate) fn failed(&self) {
        self.failures.increment(1);
    }

    /// Notes how many calls wait.
    pub(crate) fn queue(&self, calls: usize) {
        self.queued
            .set(f64::from(u32::try_from(calls).unwrap_or(u32::MAX)));
    }
}
