//! Carrying an announced reset out, when its time has come.
//!
//! One owner after the other, a batch at a time: each is noted in the transaction that empties his accounts, so a reset that a
//! crash interrupts goes on with those whose turn has not come, and nobody has two.

use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use service::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::limits::RESET_OWNERS_MAX;
use crate::store::reset::OwnerReset;
use crate::store::{Change, LedgerStore, Outcome};
use crate::writer::{WriteError, WriterHandle};

/// Looks for a reset whose time has come, until the shutdown.
pub async fn run<S: LedgerStore>(
    store: Arc<S>,
    writer: WriterHandle,
    interval: Duration,
    now: impl Fn() -> Timestamp + Send,
    shutdown: Shutdown,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = reset_due(&*store, &writer, now(), RESET_OWNERS_MAX).await {
            tracing::warn!(%error, "a reset stopped; it goes on later");
        }
    }
}

/// Carries out the reset whose time has come, if there is one, `page` owners at a time. Returns how many owners had their
/// turn.
///
/// # Errors
/// When the store or the writer fails. What was done stays done, and the rest is done by the next call.
pub async fn reset_due<S: LedgerStore>(
    store: &S,
    writer: &WriterHandle,
    now: Timestamp,
    page: u32,
) -> Result<u64, WriteError> {
    let Some(reset) = store.open_reset().await? else {
        return Ok(0);
    };
    if now < reset.announced.at {
        return Ok(0);
    }
    let number = reset.number;
    let (mut after, mut done, mut refused) = (None, 0_u64, 0_u64);
    loop {
        let owners = store.owners_to_reset(number, after, page).await?;
        let Some((last, _)) = owners.last() else { break };
        after = Some(last.id());
        let turns = owners.into_iter().map(|(owner, participation)| {
            Change::ResetOwner(OwnerReset {
                reset: number,
                owner,
                participation,
            })
        });
        for outcome in writer.write(turns.collect()).await? {
            if outcome == Outcome::OwnerReset {
                done = done.saturating_add(1);
            } else {
                refused = refused.saturating_add(1);
                tracing::error!(?outcome, reset = number, "an owner could not be reset");
            }
        }
    }
    if refused == 0 {
        writer.write_one(Change::EndReset(number)).await?;
        tracing::warn!(reset = number, owners = done, "the virtual economy was reset");
    }
    Ok(done)
}
