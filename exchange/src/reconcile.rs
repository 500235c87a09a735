//! Does billing hold what the engine may spend?
//!
//! For each account, what is reserved at billing equals the engine's buying power, available and set aside, once the
//! outbox has caught up. A crash between `Reserve` and `Fund` leaves more at billing than the engine knows of; the
//! missing `Fund`s are found among the account's last reservations and issued again. Only differences are looked
//! into, and never more is funded than is missing: the engine's memory of transfers is bounded, and issuing the whole
//! history again could fund something twice.
//!
//! What still differs then is a fault in one of the two books. Both figures are logged, and the account buys nothing
//! until somebody has looked; the others trade on.
//!
//! [`reconcile`] runs before anything else can move credits: after the outbox was started, before the gateway listens. While
//! the exchange trades, a [`ReconcileWatch`] looks from time to time.

mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::{AccountId, Credits, ShardId};
use matcher::{Command, Event, Fund};

use crate::backoff::Backoff;
use crate::billing_client::{BillingClient, BillingError, Reservation};
use crate::outbox::{OutboxClosed, OutboxHandle};
use crate::sequencer::{SequencerClosed, SequencerHandle};

pub use watch::{Compared, ReconcileCounts, ReconcileParts, ReconcileWatch};

/// Reservations of one account that a missing `Fund` is looked for among: one is in flight at a time, so one is
/// missing after a crash, and more only after several crashes in a row. Far below what the engine remembers.
pub const RECENT_MAX: usize = 64;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// What a reconciliation found and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// `Fund`s that were missing, by account.
    pub funded: BTreeMap<AccountId, Credits>,
    /// Accounts whose books differ still: to be suspended.
    pub mismatches: BTreeMap<AccountId, Mismatch>,
}

/// Two figures that should be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The engine's buying power, available and set aside.
    pub engine: Credits,
    /// What billing holds in the reserved account.
    pub billing: Credits,
}

/// Why books could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Billing refuses to be asked.
    #[error("could not read billing's side")]
    Billing(#[source] BillingError),
    /// The exchange is stopping.
    #[error(transparent)]
    Sequencer(#[from] SequencerClosed),
    /// What is still to be settled cannot be settled.
    #[error(transparent)]
    Outbox(#[from] OutboxClosed),
}

/// Compares the books and issues missing `Fund`s. Waits for billing as long as it takes.
///
/// # Errors
/// See [`ReconcileError`]. A difference is no error: it is in the result.
pub async fn reconcile(
    shard: ShardId,
    sequencer: &SequencerHandle,
    billing: &BillingClient,
    outbox: &OutboxHandle,
) -> Result<Reconciled, ReconcileError> {
    let sequence = sequencer.read(matcher::Engine::sequence).await?;
    outbox.wait_settled(sequence).await?;
    let held = held(shard, billing).await?;
    let differing = differences(powers(sequencer).await?, &held);
    let mut reconciled = Reconciled {
        funded: mend(shard, sequencer, billing, &differing).await?,
        mismatches: BTreeMap::new(),
    };
    reconciled.mismatches = differences(powers(sequencer).await?, &held);
    for (account, Mismatch { engine, billing }) in &reconciled.mismatches {
        tracing::error!(%account, %engine, %billing, "the books of engine and billing differ: the account buys nothing");
    }
    Ok(reconciled)
}

/// Issues the `Fund`s that are missing where billing holds more; returns what each account got.
async fn mend(
    shard: ShardId,
    sequencer: &SequencerHandle,
    billing: &BillingClient,
    differing: &BTreeMap<AccountId, Mismatch>,
) -> Result<BTreeMap<AccountId, Credits>, ReconcileError> {
    let short: Vec<AccountId> = differing
        .iter()
        .filter(|(_, mismatch)| mismatch.engine < mismatch.billing)
        .map(|(account, _)| *account)
        .collect();
    let mut mended = BTreeMap::new();
    if short.is_empty() {
        return Ok(mended);
    }
    for (account, reservations) in recent_reservations(shard, billing, &short).await? {
        let funded = fund_missing(sequencer, account, differing[&account], reservations).await?;
        if funded > Credits::ZERO {
            tracing::info!(%account, "credits that billing had reserved are buying power now");
            mended.insert(account, funded);
        }
    }
    Ok(mended)
}

/// What each account may spend, by the engine.
async fn powers(sequencer: &SequencerHandle) -> Result<BTreeMap<AccountId, Credits>, SequencerClosed> {
    let read = |engine: &matcher::Engine| {
        let total = |power: matcher::BuyingPower| {
            let total = power.available.checked_add(power.reserved);
            total.expect("the engine bounds the sum over all accounts")
        };
        engine
            .accounts()
            .map(|(account, power)| (account, total(power)))
            .collect()
    };
    sequencer.read(read).await
}

/// What each account may spend, by billing, page by page.
async fn held(
    shard: ShardId,
    billing: &BillingClient,
) -> Result<BTreeMap<AccountId, Credits>, ReconcileError> {
    let mut held = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = patiently(|| billing.list_reserved_balances(shard, after.as_deref())).await?;
        held.extend(page.balances);
        if page.next.is_none() || page.next == after {
            return Ok(held);
        }
        after = page.next;
    }
}

fn differences(
    engine: BTreeMap<AccountId, Credits>,
    billing: &BTreeMap<AccountId, Credits>,
) -> BTreeMap<AccountId, Mismatch> {
    let mut pairs: BTreeMap<AccountId, Mismatch> = engine
        .into_iter()
        .map(|(account, engine)| {
            (
                account,
                Mismatch {
                    engine,
                    billing: Credits::ZERO,
                },
            )
        })
        .collect();
    for (account, billing) in billing {
        let engine = Credits::ZERO;
        let pair = pairs.entry(*account).or_insert(Mismatch {
            engine,
            billing: *billing,
        });
        pair.billing = *billing;
    }
    pairs.retain(|_, mismatch| mismatch.engine != mismatch.billing);
    pairs
}

/// The last reservations of these accounts, oldest first, returns left out.
async fn recent_reservations(
    shard: ShardId,
    billing: &BillingClient,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, VecDeque<Reservation>>, ReconcileError> {
    let mut recent: BTreeMap<AccountId, VecDeque<Reservation>> = accounts
        .iter()
        .map(|account| (*account, VecDeque::new()))
        .collect();
    let mut after: Option<String> = None;
    loop {
        let page = patiently(|| billing.list_reservations(shard, after.as_deref())).await?;
        for reservation in page.reservations {
            let Some(kept) = recent.get_mut(&reservation.account) else {
                continue;
            };
            if reservation.amount > Credits::ZERO {
                kept.push_back(reservation);
            }
            if kept.len() > RECENT_MAX {
                kept.pop_front();
            }
        }
        if page.next.is_none() || page.next == after {
            return Ok(recent);
        }
        after = page.next;
    }
}

/// Issues the `Fund`s that the engine does not know, if they are not more than what is missing.
async fn fund_missing(
    sequencer: &SequencerHandle,
    account: AccountId,
    mismatch: Mismatch,
    reservations: VecDeque<Reservation>,
) -> Result<Credits, ReconcileError> {
    let unknown = sequencer
        .read(move |engine| {
            let unknown = |reservation: &Reservation| !engine.has_transfer(account, reservation.transfer);
            reservations.into_iter().filter(unknown).collect::<Vec<_>>()
        })
        .await?;
    let sum = unknown.iter().try_fold(Credits::ZERO, |sum, reservation| {
        sum.checked_add(reservation.amount)
    });
    let missing = mismatch.billing.checked_sub(mismatch.engine);
    if sum.is_none() || sum > missing {
        return Ok(Credits::ZERO);
    }
    let mut funded = Credits::ZERO;
    for Reservation { transfer, amount, .. } in unknown {
        let fund = Fund {
            transfer,
            account,
            amount,
        };
        let applied = sequencer.apply(Command::Fund(fund)).await?;
        if applied
            .events
            .iter()
            .any(|event| matches!(event, Event::Funded { .. }))
        {
            funded = funded.checked_add(amount).unwrap_or(Credits::MAX);
        }
    }
    Ok(funded)
}

/// Asks until billing answers.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, ReconcileError>
where
    F: Future<Output = Result<T, BillingError>>,
{
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(BillingError::Unavailable { message }) => {
                tracing::warn!(
                    message,
                    "billing does not answer; the exchange waits to compare the books"
                );
                tokio::time::sleep(backoff.delay()).await;
            }
            Err(error) => return Err(ReconcileError::Billing(error)),
        }
    }
}
