//! Tells billing what was spent: totals of a day, of which billing keeps the greater, so that any may be told twice.

use std::time::Duration;

use proto::convert::billing::{SPENDING_TOTALS_MAX, SpendingTotal};
use service::shutdown::Shutdown;
use tokio::time::{Instant, MissedTickBehavior};

use super::meter::Total;
use super::{Spending, lock};
use crate::billing_client::BillingError;

/// How often: what a crash forgets is what was spent in so long.
const INTERVAL: Duration = Duration::from_secs(1);

/// How billing refuses a total of a line that it does not know.
const UNKNOWN_KEY: &str = "UNKNOWN_KEY";

/// Reports until the shutdown. What is left is [`report_once`]'s.
pub(crate) async fn report(spending: Spending, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = ticks.tick() => {}
        }
        spending.forget_the_lost(Instant::now());
        if let Err(error) = report_once(&spending).await {
            // What was not taken stays unreported, and is told again.
            tracing::warn!(%error, "billing could not be told what keys have spent");
        }
    }
}

/// Reports everything that billing has not heard, each total once: what grows meanwhile is the next pass's, so that this
/// one ends however much is spent, and comes to the last line too. When nothing is spent any more it is all there is.
pub(crate) async fn report_once(spending: &Spending) -> Result<(), BillingError> {
    let mut after = None;
    loop {
        let totals = lock(&spending.0.meter).unreported(after, SPENDING_TOTALS_MAX);
        let Some(last) = totals.last() else {
            return Ok(());
        };
        after = Some(last.place());
        tell(spending, &totals).await?;
    }
}

/// Tells billing these totals. It refuses all of them because of one whose line it does not know: halves are told until
/// that one is alone, and it is told no more.
async fn tell(spending: &Spending, totals: &[Total]) -> Result<(), BillingError> {
    let mut parts = vec![totals];
    while let Some(part) = parts.pop() {
        match spending.0.billing.report_spending(&to_wire(part)).await {
            Ok(()) => {}
            Err(BillingError::Refused { code, .. }) if code == UNKNOWN_KEY => {
                if let [Total { spender, spent, .. }] = part {
                    tracing::warn!(line = %spender.line, %spent, "billing does not know a key that has spent");
                } else {
                    let (first, second) = part.split_at(part.len().div_ceil(2));
                    parts.extend([second, first]);
                    continue;
                }
            }
            Err(error) => return Err(error),
        }
        lock(&spending.0.meter).reported(part);
    }
    Ok(())
}

fn to_wire(totals: &[Total]) -> Vec<SpendingTotal> {
    let totals = totals.iter().map(|total| SpendingTotal {
        line: total.spender.line,
        user: total.spender.user.map(|user| *user.as_bytes()),
        day: total.day.0,
        spent: total.spent,
    });
    totals.collect()
}
