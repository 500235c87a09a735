//! Buying power: credits that billing has reserved and the engine may spend without asking again.
//!
//! Credits come in chunks ahead of need: billing moves them to the account's reserved account (`Reserve`), then the
//! engine is told (`Fund`). They go back the other way round: the engine gives them up (`Defund`), then the outbox has
//! billing return them, in the journal's order and as often as it takes. So a crash between the two steps leaves
//! credits reserved that the engine does not know of, never the other way round, and the next start mends it.
//!
//! Invariants:
//! - one top-up of an account is in flight at a time, and one that may have been booked is asked again under the same
//!   id before another is begun;
//! - no transfer id is used for two facts, not even after a restart: ids derive from the journaled `OpenSession` of
//!   this process (its sequence and its time) and a counter.
//!
//! Deliberately absent: balances (the engine's and billing's) and returning credits at billing (the outbox's).

mod idle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use domain::{AccountId, Credits, Digest, NANO_PER_CREDIT, SessionId, ShardId, Timestamp, TransferId};
use matcher::{Command, Defund, Event, Fund};
use tokio::sync::OwnedMutexGuard;

use crate::billing_client::{BillingClient, BillingError, Reserve};
use crate::sequencer::{SequencerClosed, SequencerHandle};

pub use idle::IdleWatch;

/// What a top-up asks for at least: a credit pays for some seventy short answers, so one call in seventy bids meets
/// billing, and little of what an account has is out of its reach meanwhile.
pub const TOP_UP_CHUNK: Credits = Credits::from_nano(NANO_PER_CREDIT);

/// Requests of one account that may wait for its top-up.
pub const WAITING_PER_ACCOUNT_MAX: u32 = 1_024;

/// Accounts whose top-ups are remembered; those at rest are forgotten first.
pub const ACCOUNTS_MAX: usize = 65_536;

/// Bids that may come between reading what is idle and taking it, before [`BuyingPower::release_idle`] gives up.
const RELEASE_ATTEMPTS_MAX: u32 = 3;

const TRANSFER_DOMAIN: &[u8] = b"atoll-buying-power-v1\0";
/// Billing keeps the upper half of the ids for its own.
const EXCHANGES: u128 = u128::MAX >> 1;

/// What billing calls a lack of credits.
const INSUFFICIENT: &str = "INSUFFICIENT_FUNDS";

/// The session whose fact the transfers' ids derive from: the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// Its id.
    pub session: SessionId,
    /// When its `OpenSession` was journaled.
    pub at: Timestamp,
}

/// Why there is not enough buying power.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnsureError {
    /// The account has not got it.
    #[error("not enough credits: {needed} more are needed")]
    NoCredits {
        /// How much is missing.
        needed: Credits,
    },
    /// The books disagree about this account: it buys nothing until an operator has looked.
    #[error("the account is suspended until its books agree")]
    Suspended,
    /// Too many requests of this account wait for a top-up, or too many accounts top up.
    #[error("too many requests wait for credits")]
    Busy,
    /// Billing could not be asked, or gave an answer that is no answer.
    #[error("could not move credits to or from the account's buying power")]
    Billing(#[source] BillingError),
    /// The exchange is stopping.
    #[error(transparent)]
    Closed(#[from] SequencerClosed),
}

/// Tops up and returns buying power. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BuyingPower(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shard: ShardId,
    opened: OpenedSession,
    sequencer: SequencerHandle,
    billing: BillingClient,
    transfers: AtomicU64,
    purses: Mutex<BTreeMap<AccountId, Arc<Purse>>>,
    suspended: RwLock<BTreeSet<AccountId>>,
}

/// An account's top-ups.
#[derive(Debug, Default)]
struct Purse {
    waiting: AtomicU32,
    /// Counts completed top-ups, so that one who waited can tell that one came.
    top_ups: AtomicU64,
    state: Arc<tokio::sync::Mutex<PurseState>>,
}

impl Purse {
    fn state_owned(&self) -> Option<OwnedMutexGuard<PurseState>> {
        Arc::clone(&self.state).try_lock_owned().ok()
    }
}

/// An account that does not top up while this lives.
#[derive(Debug)]
pub struct Paused(#[expect(dead_code, reason = "holding it holds the lock")] OwnedMutexGuard<PurseState>);

#[derive(Debug, Default)]
struct PurseState {
    /// What the last top-up brought beyond what was asked for.
    spare: Credits,
    /// A reservation that may have been booked and that the engine was not told of.
    unresolved: Option<Reserve>,
}

/// Takes one place among an account's waiting requests, and gives it back.
struct Place<'p>(&'p Purse);

impl<'p> Place<'p> {
    fn take(purse: &'p Purse) -> Option<Self> {
        let before = purse.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(purse);
        (before < WAITING_PER_ACCOUNT_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl BuyingPower {
    /// Tops up through `billing` and `sequencer`.
    #[must_use]
    pub fn new(
        shard: ShardId,
        opened: OpenedSession,
        sequencer: SequencerHandle,
        billing: BillingClient,
    ) -> Self {
        Self(Arc::new(Inner {
            shard,
            opened,
            sequencer,
            billing,
            transfers: AtomicU64::new(0),
            purses: Mutex::default(),
            suspended: RwLock::default(),
        }))
    }

    /// Gives the account `needed` more buying power than it has: the shortfall that the engine named. When it
    /// returns, try the bid again. Of several callers that wait, those are served without another call to billing
    /// whom the first one's chunk covers. May be dropped at any time; the next call goes on where it stopped.
    ///
    /// # Errors
    /// See [`EnsureError`].
    pub async fn ensure(&self, account: AccountId, needed: Credits) -> Result<(), EnsureError> {
        self.check(account)?;
        if needed <= Credits::ZERO {
            return Ok(());
        }
        let purse = self.purse(account)?;
        let _place = Place::take(&purse).ok_or(EnsureError::Busy)?;
        let top_ups = purse.top_ups.load(Ordering::Acquire);
        let mut state = purse.state.lock().await;
        if purse.top_ups.load(Ordering::Acquire) > top_ups && take_spare(&mut state, needed) {
            return Ok(());
        }
        if self.resolve(&purse, &mut state).await? && take_spare(&mut state, needed) {
            return Ok(());
        }
        state.unresolved = Some(Reserve {
            transfer: self.next_transfer(account),
            account,
            shard: self.0.shard,
            minimum: needed,
            wanted: needed.max(TOP_UP_CHUNK),
        });
        if self.resolve(&purse, &mut state).await? && take_spare(&mut state, needed) {
            return Ok(());
        }
        Err(EnsureError::NoCredits { needed })
    }

    /// Whether the account may bid.
    ///
    /// # Errors
    /// [`EnsureError::Suspended`] when its books disagreed.
    pub fn check(&self, account: AccountId) -> Result<(), EnsureError> {
        let suspended = self.0.suspended.read().unwrap_or_else(PoisonError::into_inner);
        if suspended.contains(&account) {
            return Err(EnsureError::Suspended);
        }
        Ok(())
    }

    /// Lets these accounts buy nothing until they are lifted, or the next start.
    pub fn suspend(&self, accounts: impl IntoIterator<Item = AccountId>) {
        let mut suspended = self.0.suspended.write().unwrap_or_else(PoisonError::into_inner);
        suspended.extend(accounts);
    }

    /// Lets an account buy again; returns whether it was suspended. If its books differ still, the watch suspends it again.
    #[must_use]
    pub fn lift(&self, account: AccountId) -> bool {
        let mut suspended = self.0.suspended.write().unwrap_or_else(PoisonError::into_inner);
        suspended.remove(&account)
    }

    /// Keeps the account from topping up until the guard is dropped; `None` while a top-up is on its way or in doubt.
    #[must_use]
    pub fn pause(&self, account: AccountId) -> Option<Paused> {
        let purse = self.purse(account).ok()?;
        // The lock is the purse's own: it lives as long as whoever holds it.
        let state = purse.state_owned()?;
        state.unresolved.is_none().then_some(Paused(state))
    }

    /// Gives back what the account's orders have not set aside; returns how much. The transfer itself is the
    /// outbox's: it follows when the journaled `Defund` is settled.
    ///
    /// # Errors
    /// `Billing` when it is not known whether an earlier top-up was booked; `Closed` when the exchange is stopping.
    pub async fn release_idle(&self, account: AccountId) -> Result<Credits, EnsureError> {
        let purse = self.purse(account)?;
        let _place = Place::take(&purse).ok_or(EnsureError::Busy)?;
        let mut state = purse.state.lock().await;
        self.resolve(&purse, &mut state).await?;
        state.spare = Credits::ZERO;
        for _ in 0..RELEASE_ATTEMPTS_MAX {
            let read = self
                .0
                .sequencer
                .read(move |engine| engine.buying_power(account).available);
            let amount = read.await?;
            if amount <= Credits::ZERO {
                break;
            }
            let transfer = self.next_transfer(account);
            let defund = Defund {
                transfer,
                account,
                amount,
            };
            let applied = self.0.sequencer.apply(Command::Defund(defund)).await?;
            let defunded =
                |event: &Event| matches!(event, Event::Defunded { transfer: done, .. } if *done == transfer);
            if applied.events.iter().any(defunded) {
                return Ok(amount);
            }
        }
        Ok(Credits::ZERO)
    }

    /// [`BuyingPower::release_idle`] for every account; returns how much in all.
    ///
    /// # Errors
    /// `Closed` when the exchange is stopping. Accounts whose top-ups are in doubt are passed over.
    pub async fn release_all_idle(&self) -> Result<Credits, EnsureError> {
        let idle = |engine: &matcher::Engine| {
            let funded = engine
                .accounts()
                .filter(|(_, power)| power.available > Credits::ZERO);
            funded.map(|(account, _)| account).collect::<Vec<_>>()
        };
        let idle = self.0.sequencer.read(idle).await?;
        self.release_each(idle).await
    }

    async fn release_each(&self, accounts: Vec<AccountId>) -> Result<Credits, EnsureError> {
        let mut total = Credits::ZERO;
        for account in accounts {
            match self.release_idle(account).await {
                Ok(amount) => total = total.checked_add(amount).unwrap_or(Credits::MAX),
                Err(EnsureError::Closed(error)) => return Err(error.into()),
                Err(error) => tracing::warn!(%account, %error, "idle credits stay reserved"),
            }
        }
        Ok(total)
    }

    /// Completes the reservation that is open, if there is one; returns whether it brought anything. A refusal for
    /// want of credits closes it too.
    async fn resolve(&self, purse: &Purse, state: &mut PurseState) -> Result<bool, EnsureError> {
        let Some(reserve) = state.unresolved else {
            return Ok(false);
        };
        let amount = match self.0.billing.reserve(reserve).await {
            Ok(amount) => amount,
            Err(BillingError::Refused { code, .. }) if code == INSUFFICIENT => {
                state.unresolved = None;
                return Ok(false);
            }
            Err(error) => {
                if matches!(error, BillingError::Refused { .. }) {
                    state.unresolved = None;
                }
                return Err(EnsureError::Billing(error));
            }
        };
        let fund = Fund {
            transfer: reserve.transfer,
            account: reserve.account,
            amount,
        };
        let applied = self.0.sequencer.apply(Command::Fund(fund)).await?;
        if let Some(Event::Rejected(rejected)) = applied.events.first() {
            // Billing has reserved what the engine does not have: the next start compares the books and says so.
            tracing::error!(transfer = %fund.transfer, reason = rejected.reason.code(), "the engine refused a fund");
            return Err(EnsureError::Busy);
        }
        state.unresolved = None;
        state.spare = amount;
        purse.top_ups.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    fn purse(&self, account: AccountId) -> Result<Arc<Purse>, EnsureError> {
        let mut purses = self.0.purses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(purse) = purses.get(&account) {
            return Ok(Arc::clone(purse));
        }
        if purses.len() >= ACCOUNTS_MAX {
            purses.retain(|_, purse| !is_at_rest(purse));
        }
        if purses.len() >= ACCOUNTS_MAX {
            return Err(EnsureError::Busy);
        }
        Ok(Arc::clone(purses.entry(account).or_default()))
    }

    /// An id that no other fact has: of this process by its session, which a journal names once, and by that
    /// session's time, should the journal have been thrown away and begun again.
    fn next_transfer(&self, account: AccountId) -> TransferId {
        let number = self.0.transfers.fetch_add(1, Ordering::Relaxed);
        let mut bytes = TRANSFER_DOMAIN.to_vec();
        bytes.extend_from_slice(&self.0.shard.get().to_be_bytes());
        bytes.extend_from_slice(&self.0.opened.session.get().to_be_bytes());
        bytes.extend_from_slice(&self.0.opened.at.as_micros().to_be_bytes());
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&account.get().to_be_bytes());
        let digest = Digest::of(&bytes);
        let half = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
        TransferId::new(u128::from_be_bytes(*half) & EXCHANGES)
    }
}

/// Whether nobody waits for this purse and nothing is open in it.
fn is_at_rest(purse: &Arc<Purse>) -> bool {
    Arc::strong_count(purse) == 1
        && purse
            .state
            .try_lock()
            .is_ok_and(|state| state.unresolved.is_none())
}

fn take_spare(state: &mut PurseState, needed: Credits) -> bool {
    match state.spare.checked_sub(needed) {
        Some(left) if !left.is_negative() => {
            state.spare = left;
            true
        }
        Some(_) | None => false,
    }
}
