//! Carrying payouts out: the weekly run asks for them, and what is approved is sent to the provider until he answers.
//!
//! Nothing is paid twice: an attempt is noted before the provider is asked, the provider knows a payout by its id, and an
//! order without an answer is repeated, never given up. So the credits stay held until somebody knows what became of them.

pub mod provider;

use std::sync::Arc;
use std::time::Duration;

use domain::{AccountId, Timestamp};
use ledger::TransferSource;
use service::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::config::Payouts;
use crate::limits::{PAYOUT_RETRY_FIRST, PAYOUT_RETRY_MAX, PAYOUTS_PAGE_MAX, PROVIDER_TIMEOUT};
use crate::store::merkle::Day;
use crate::store::payout::{NewPayout, Payable, Payout, PayoutCause, PayoutStep};
use crate::store::{Change, LedgerStore, Outcome};
use crate::writer::{WriteError, WriterHandle};
use provider::{PaymentAnswer, PaymentOrder, PayoutProvider, ProviderError};

/// 1970-01-01 was a Thursday: with three days more, weeks begin on Mondays.
const DAYS_BEFORE_FIRST_MONDAY: u32 = 3;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Paid.
    pub paid: u32,
    /// Refused for good.
    pub failed: u32,
    /// Asked again later.
    pub unanswered: u32,
}

/// Sends payouts, those of the weekly run with them, until the shutdown.
pub async fn run<S: LedgerStore>(
    store: Arc<S>,
    writer: WriterHandle,
    provider: impl PayoutProvider,
    config: Payouts,
    now: impl Fn() -> Timestamp + Send,
    shutdown: Shutdown,
) {
    let mut ticks = tokio::time::interval(config.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = request_weekly(&*store, &writer, config, now()).await {
            tracing::warn!(%error, "the weekly run stopped; it goes on later");
        }
        if let Err(error) = send_due(&*store, &writer, &provider, now()).await {
            tracing::warn!(%error, "payouts could not be sent; they are later");
        }
    }
}

/// The Monday on or before a day; 1970-01-01 for the first three days.
#[must_use]
#[expect(clippy::integer_division, reason = "the rest is the day of the week")]
pub fn week_of(day: Day) -> (u32, Day) {
    let week = day.get().saturating_add(DAYS_BEFORE_FIRST_MONDAY) / 7;
    let monday = week.saturating_mul(7).saturating_sub(DAYS_BEFORE_FIRST_MONDAY);
    (week, Day::new(monday))
}

/// Asks, for every owner with a destination, for all earnings that may be paid out, once a week.
///
/// # Errors
/// When the store or the writer fails. What was asked for stays so.
pub async fn request_weekly<S: LedgerStore>(
    store: &S,
    writer: &WriterHandle,
    config: Payouts,
    now: Timestamp,
) -> Result<u32, WriteError> {
    let day = Day::of(now);
    let (week, monday) = week_of(day);
    let mut after: Option<AccountId> = None;
    let mut asked = 0_u32;
    loop {
        let payable = store.weekly_payable(monday, after, PAYOUTS_PAGE_MAX).await?;
        let Some(last) = payable.last() else {
            return Ok(asked);
        };
        after = Some(last.owner.id());
        for Payable {
            owner,
            destination,
            amount,
        } in payable
        {
            let payout = NewPayout {
                transfer: TransferSource::WeeklyPayout { owner, week }.id(),
                owner: owner.id(),
                destination,
                amount,
                cause: PayoutCause::Weekly,
                day,
                state: config.state_of(amount),
            };
            let outcome = writer.write_one(Change::RequestPayout(payout)).await?;
            if let Outcome::Payout(_) = outcome {
                asked = asked.saturating_add(1);
            } else {
                tracing::info!(owner = %owner.id(), ?outcome, "no weekly payout this time");
            }
        }
    }
}

/// Asks the provider for every payout whose turn it is.
///
/// # Errors
/// When the store or the writer fails. What was paid and not noted is found out at the next attempt.
pub async fn send_due<S: LedgerStore>(
    store: &S,
    writer: &WriterHandle,
    provider: &impl PayoutProvider,
    now: Timestamp,
) -> Result<Sent, WriteError> {
    let mut sent = Sent::default();
    for payout in store.payouts_to_send(now, PAYOUTS_PAGE_MAX).await? {
        let counter = match send(writer, provider, &payout, now).await? {
            Some(PaymentAnswer::Paid { .. }) => &mut sent.paid,
            Some(PaymentAnswer::Refused { .. }) => &mut sent.failed,
            None => &mut sent.unanswered,
        };
        *counter = counter.saturating_add(1);
    }
    Ok(sent)
}

/// Notes the attempt, asks the provider, and notes what he said; nothing if he said nothing.
async fn send(
    writer: &WriterHandle,
    provider: &impl PayoutProvider,
    payout: &Payout,
    now: Timestamp,
) -> Result<Option<PaymentAnswer>, WriteError> {
    let id = payout.transfer;
    let attempt = payout.attempts.saturating_add(1);
    let retry_at = now.after(pause_after(attempt));
    let step = Change::StepPayout(id, PayoutStep::Attempt { attempt, retry_at });
    if !matches!(writer.write_one(step).await?, Outcome::Payout(_)) {
        // Somebody else took it on in the meantime.
        return Ok(None);
    }
    let answer = match ask(provider, payout).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(payout = %id, attempt, %error, "a payout has no answer; it is asked for again");
            return Ok(None);
        }
    };
    let step = match answer.clone() {
        PaymentAnswer::Paid { reference } => PayoutStep::Pay { reference },
        PaymentAnswer::Refused { reason } => PayoutStep::Fail { reason },
    };
    let outcome = writer.write_one(Change::StepPayout(id, step)).await?;
    if let Outcome::Rejected(rejection) = outcome {
        tracing::error!(payout = %id, %rejection, "a payout's answer was refused by the books");
        return Ok(None);
    }
    tracing::info!(payout = %id, attempt, ?answer, "a payout is through");
    Ok(Some(answer))
}

async fn ask(provider: &impl PayoutProvider, payout: &Payout) -> Result<PaymentAnswer, ProviderError> {
    let order = PaymentOrder {
        payout: payout.transfer,
        destination: payout.destination.clone(),
        amount: payout.amount,
    };
    tokio::time::timeout(PROVIDER_TIMEOUT, provider.pay(&order))
        .await
        .unwrap_or_else(|_| Err(ProviderError::NoAnswer("it took too long".to_owned())))
}

/// How long to wait after an attempt: doubled each time, up to the longest.
fn pause_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    PAYOUT_RETRY_FIRST
        .saturating_mul(1 << doublings)
        .min(PAYOUT_RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_mondays() {
        // 2026-01-05 was a Monday.
        let monday = Day::new(20_458);
        for offset in 0..7 {
            assert_eq!(week_of(Day::new(monday.get() + offset)).1, monday);
        }
        assert_eq!(week_of(Day::new(0)), (0, Day::new(0)));
        assert_eq!(week_of(Day::new(4)), (1, Day::new(4)));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<Duration> = (1..12).map(pause_after).collect();
        let minutes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360];
        assert_eq!(pauses, minutes.map(|minutes| Duration::from_secs(60 * minutes)));
        assert_eq!(pause_after(u32::MAX), PAYOUT_RETRY_MAX);
    }
}
