//! Earnings become available when they are old enough.

use std::sync::Arc;

use domain::{Standing, Timestamp};
use service::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::config::Maturity;
use crate::limits::MATURING_OWNERS_MAX;
use crate::store::{Change, LedgerStore, Maturing, Outcome};
use crate::writer::{WriteError, WriterHandle};

/// Lets earnings mature until the shutdown.
pub async fn run<S: LedgerStore>(
    store: Arc<S>,
    writer: WriterHandle,
    maturity: Maturity,
    now: impl Fn() -> Timestamp + Send,
    shutdown: Shutdown,
) {
    let mut ticks = tokio::time::interval(maturity.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = ticks.tick() => {}
        }
        for standing in Standing::ALL {
            let Some(cutoff) = maturity.delays().cutoff(standing, now()) else {
                continue;
            };
            if let Err(error) = mature_all(&*store, &writer, standing, cutoff).await {
                // What is due stays due: the next tick finds it again.
                tracing::warn!(%error, "earnings could not mature");
            }
        }
    }
}

async fn mature_all<S: LedgerStore>(
    store: &S,
    writer: &WriterHandle,
    standing: Standing,
    cutoff: Timestamp,
) -> Result<(), WriteError> {
    loop {
        let due = store.due(standing, cutoff, MATURING_OWNERS_MAX).await?;
        let full = u32::try_from(due.len()).is_ok_and(|count| count == MATURING_OWNERS_MAX);
        let mut progressed = false;
        for maturing in due {
            progressed |= mature(writer, maturing).await?;
        }
        if !full || !progressed {
            return Ok(());
        }
    }
}

async fn mature(writer: &WriterHandle, maturing: Maturing) -> Result<bool, WriteError> {
    let Maturing { owner, amount, .. } = maturing;
    let outcome = writer.write_one(Change::Mature(maturing)).await?;
    let Outcome::Booked(_) = outcome else {
        tracing::error!(owner = %owner.id(), "earnings that are due were refused");
        tracing::debug!(?outcome, "this is why");
        return Ok(false);
    };
    tracing::debug!(owner = %owner.id(), amount_nano = amount.as_nano(), "earnings matured");
    Ok(true)
}
