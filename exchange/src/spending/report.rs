//! Tells billing what was spent: totals of a day, of which billing keeps the greater, so that any may be told twice.

use std::time::Duration;

use proto::convert::billing::{SPENDING_TOTALS_MAX, SpendingTotal};
use service::shutdown::Shutdown;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Spending, lock};
use crate::billing_client::BillingError;

/// How often: what a crash forgets is what was spent in so long.
const INTERVAL: Duration = Duration::from_secs(1);

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

/// Reports everything that billing has not heard.
pub(crate) async fn report_once(spending: &Spending) -> Result<(), BillingError> {
    loop {
        let totals = lock(&spending.0.meter).unreported(SPENDING_TOTALS_MAX);
        if totals.is_empty() {
            return Ok(());
        }
        let told = totals.iter().map(|total| SpendingTotal {
            line: total.spender.line,
            user: total.spender.user.map(|user| *user.as_bytes()),
            day: total.day.0,
            spent: total.spent,
        });
        let told: Vec<SpendingTotal> = told.collect();
        spending.0.billing.report_spending(&told).await?;
        lock(&spending.0.meter).reported(&totals);
    }
}
