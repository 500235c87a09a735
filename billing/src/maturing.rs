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
            if let Err(error) = mature_all(&*store, &writer, standing, cutoff, MATURING_OWNERS_MAX).await {
                // What is due stays due: the next tick finds it again.
                tracing::warn!(%error, "earnings could not mature");
            }
        }
    }
}

/// Lets all that is due mature, `page` owners at a time. An owner whose earnings are refused does not hold up those behind
/// him.
///
/// # Errors
/// When the store or the writer fails. What matured stays so.
pub async fn mature_all<S: LedgerStore>(
    store: &S,
    writer: &WriterHandle,
    standing: Standing,
    cutoff: Timestamp,
    page: u32,
) -> Result<(), WriteError> {
    let mut after = None;
    loop {
        let due = store.due(standing, cutoff, after, page).await?;
        let Some(last) = due.last() else {
            return Ok(());
        };
        after = Some(last.owner.id());
        for maturing in due {
            mature(writer, maturing).await?;
        }
    }
}

async fn mature(writer: &WriterHandle, maturing: Maturing) -> Result<(), WriteError> {
    let Maturing { owner, amount, .. } = maturing;
    let outcome = writer.write_one(Change::Mature(maturing)).await?;
    let Outcome::Booked(_) = outcome else {
        tracing::error!(owner = %owner.id(), "earnings that are due were refused");
        tracing::debug!(?outcome, "this is why");
        return Ok(());
    };
    tracing::debug!(owner = %owner.id(), amount_nano = amount.as_nano(), "earnings matured");
    Ok(())
}
