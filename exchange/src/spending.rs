//! Spending limits: what a key, and each end user of it, may spend in a day (UTC), held before a bid is placed.
//!
//! The meter lives here, in memory. When a line of keys is first used, billing is asked what it spent today; what it spends
//! is told to billing as totals of the day, every second and at the stop. So a crash forgets at most what was spent in the
//! last second before it. What jobs of before a crash had bound is bound no more: their consumer pays nothing.
//!
//! Only keys with a limit are metered, and end users only while there is a limit for them: it counts from when it was set.
//!
//! Invariants: a bid's worst case is bound before the engine hears of the bid, and stays bound until the engine's own events
//! say what became of it, whatever becomes of the client; of an end user only a hash is kept.
//!
//! Deliberately absent: what an account may spend at all (the engine's buying power), and where limits are kept (billing).

mod follow;
mod meter;
mod report;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::{AccountId, ClientOrderId, Credits, KeyId, Timestamp};
use matcher::PlaceBid;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::billing_client::BillingClient;
use crate::gateway::errors::{
    AT_CAPACITY, BILLING_UNAVAILABLE, KEY_SPENDING_LIMIT, Refusal, USER_SPENDING_LIMIT,
};
use crate::identity::SpendingTerms;
use meter::{Day, Meter, Refused, Spender, Whose};

pub(crate) use follow::follow;
pub(crate) use report::{report, report_once};

/// A bid that has not been heard of for so long never came to the engine: its client went away on the way there.
const ENTERING_MAX: Duration = Duration::from_secs(60);

/// Lines that billing is asked about at once; the bids of more wait. After a start every line is asked about.
const QUESTIONS_MAX: usize = 64;

/// Who an end user is, without his name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserHash([u8; 32]);

impl UserHash {
    /// Of the end user that a key's owner calls so; of whoever is not named, if that is empty. The same name under another
    /// line is somebody else.
    #[must_use]
    pub fn of(line: KeyId, user: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"atoll-end-user-v1\0");
        hash.update(line.get().to_be_bytes());
        hash.update(user.as_bytes());
        Self(hash.finalize().into())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Meters what keys spend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spending(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    billing: BillingClient,
    meter: Mutex<Meter>,
    /// Bids on their way to the engine, by account and name, in the order in which they were sent.
    entering: Mutex<HashMap<(AccountId, ClientOrderId), VecDeque<Entering>>>,
    /// Those who wait for the totals of a line: one of them asks, and the others learn it from him.
    seeding: Mutex<HashMap<KeyId, Weak<tokio::sync::Mutex<()>>>>,
    questions: Semaphore,
}

#[derive(Debug)]
struct Entering {
    hold: Arc<Hold>,
    since: Instant,
}

/// What a bid has bound. Dropping the last of it frees what is left.
#[derive(Debug)]
pub(crate) struct Hold {
    inner: Arc<Inner>,
    spender: Spender,
    bound: Mutex<Credits>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.bind(Credits::ZERO);
    }
}

impl Hold {
    /// Binds so much from now on.
    fn bind(&self, to: Credits) {
        let mut bound = lock(&self.bound);
        lock(&self.inner.meter).rebind(self.spender, *bound, to);
        *bound = to;
    }

    /// Binds so much less.
    fn free(&self, amount: Credits) {
        let left = lock(&self.bound).checked_sub(amount).unwrap_or(Credits::ZERO);
        self.bind(left.max(Credits::ZERO));
    }

    /// Notes what was paid at a moment, and binds so much less.
    fn pay(&self, paid: Credits, at: Timestamp) {
        // Spent before it is freed: nothing fits in between.
        lock(&self.inner.meter).spend(self.spender, paid, Day::of(at));
        self.free(paid);
    }
}

impl Spending {
    /// Asks and tells `billing`.
    #[must_use]
    pub fn new(billing: BillingClient) -> Self {
        Self(Arc::new(Inner {
            billing,
            meter: Mutex::default(),
            entering: Mutex::default(),
            seeding: Mutex::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
        }))
    }

    /// Binds what a bid may cost. Nothing, and nobody is asked, where there is no limit.
    pub(crate) async fn hold(
        &self,
        terms: SpendingTerms,
        user: Option<&str>,
        cost: Credits,
        now: Timestamp,
    ) -> Result<Option<Arc<Hold>>, Refusal> {
        if terms.is_unlimited() {
            return Ok(None);
        }
        let day = Day::of(now);
        self.seed(terms.line, day).await?;
        let user = terms
            .user_per_day
            .map(|_| UserHash::of(terms.line, user.unwrap_or_default()));
        lock(&self.0.meter)
            .bind(terms, user, cost, day)
            .map_err(|refused| refusal(refused, cost, now))?;
        let spender = Spender {
            line: terms.line,
            user,
        };
        Ok(Some(Arc::new(Hold {
            inner: Arc::clone(&self.0),
            spender,
            bound: Mutex::new(cost),
        })))
    }

    /// Takes note of a bid that is about to be sent to the engine.
    pub(crate) fn entering(&self, bid: &PlaceBid, hold: &Arc<Hold>) {
        let entering = Entering {
            hold: Arc::clone(hold),
            since: Instant::now(),
        };
        let place = (bid.account, bid.client_order_id);
        lock(&self.0.entering)
            .entry(place)
            .or_default()
            .push_back(entering);
    }

    /// Takes the bid of that name that was sent first.
    fn entered(&self, account: AccountId, name: ClientOrderId) -> Option<Arc<Hold>> {
        let mut entering = lock(&self.0.entering);
        let waiting = entering.get_mut(&(account, name))?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            entering.remove(&(account, name));
        }
        first.map(|entering| entering.hold)
    }

    /// Lets go of bids that never came to the engine.
    fn forget_the_lost(&self, now: Instant) {
        let mut lost = Vec::new();
        let mut entering = lock(&self.0.entering);
        for waiting in entering.values_mut() {
            let is_lost = |entering: &Entering| now.duration_since(entering.since) > ENTERING_MAX;
            while waiting.front().is_some_and(is_lost) {
                lost.extend(waiting.pop_front());
            }
        }
        entering.retain(|_, waiting| !waiting.is_empty());
        // What they bound is freed when nothing is locked any more.
        drop(entering);
        drop(lost);
    }

    /// Where those wait who need a line's totals.
    fn queue(&self, line: KeyId) -> Arc<tokio::sync::Mutex<()>> {
        let mut seeding = lock(&self.0.seeding);
        // Whoever went away while he waited has left nothing but this.
        seeding.retain(|_, queue| queue.strong_count() > 0);
        let queue = seeding.get(&line).and_then(Weak::upgrade).unwrap_or_default();
        seeding.insert(line, Arc::downgrade(&queue));
        queue
    }

    async fn seed(&self, line: KeyId, day: Day) -> Result<(), Refusal> {
        if lock(&self.0.meter).knows(line) {
            return Ok(());
        }
        let queue = self.queue(line);
        let _turn = queue.lock().await;
        if lock(&self.0.meter).knows(line) {
            return Ok(());
        }
        let place = self.0.questions.acquire().await;
        let _place = place.expect("nobody closes the semaphore");
        let totals = self.0.billing.spending_of(line, day.0).await.map_err(|error| {
            tracing::warn!(%line, %error, "billing could not be asked what a key has spent");
            BILLING_UNAVAILABLE
                .because("what the key has spent today cannot be asked at the moment; try again")
        })?;
        let totals = totals
            .into_iter()
            .map(|total| (total.user.map(UserHash::from_bytes), total.spent));
        let seeded = lock(&self.0.meter).seed(line, day, totals);
        seeded.map_err(|refused| refusal(refused, Credits::ZERO, day.start()))
    }
}

/// How long it is until the next day (UTC) begins.
pub(crate) fn until_midnight(now: Timestamp) -> Duration {
    Day(Day::of(now).0.saturating_add(1)).start().since(now)
}

/// What a client is told.
fn refusal(refused: Refused, cost: Credits, now: Timestamp) -> Refusal {
    match refused {
        Refused::Limit {
            whose,
            limit,
            spent,
            bound,
        } => {
            let (kind, who) = match whose {
                Whose::Key => (KEY_SPENDING_LIMIT, "this API key"),
                Whose::User => (USER_SPENDING_LIMIT, "this end user of the API key"),
            };
            let left = until_midnight(now);
            let refusal = kind.because(format!(
                "{who} may spend {limit} credits a day: {spent} are spent, {bound} are bound by jobs that have not ended, \
                 and this bid may cost {cost}; the day ends at 00:00 UTC, in {} min",
                left.as_secs().div_ceil(60)
            ));
            if cost > limit {
                return refusal.for_good();
            }
            // Where what is bound alone is in the way, the end of a job may do.
            match spent.checked_add(cost) {
                Some(after) if after <= limit => refusal,
                Some(_) | None => refusal.again_in(left),
            }
        }
        Refused::TooManyUsers(Whose::Key) => USER_SPENDING_LIMIT.because(format!(
            "this API key has spent for {} end users today, and no more are told apart; the day ends at 00:00 UTC",
            meter::USERS_PER_LINE_MAX
        )),
        Refused::TooManyUsers(Whose::User) | Refused::TooManyLines => {
            AT_CAPACITY.because("the exchange meters as many keys and end users as it can; try again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::errors::Retry;

    #[test]
    fn a_refusal_says_to_wait_for_as_long_as_its_cause_lasts() {
        let noon = Day(20_000).start().after(Duration::from_secs(12 * 3_600));
        let told = |spent, bound, cost| {
            let [limit, spent, bound, cost] = [100, spent, bound, cost].map(Credits::from_nano);
            let whose = Whose::Key;
            let limit = Refused::Limit {
                whose,
                limit,
                spent,
                bound,
            };
            let refusal = refusal(limit, cost, noon);
            (refusal.retry, refusal.patience().as_secs())
        };
        // Jobs that run are in the way.
        assert_eq!(told(0, 100, 1), (Retry::Yes, 1));
        assert_eq!(told(40, 1, 60), (Retry::Yes, 1));
        // The day is.
        assert_eq!(told(41, 0, 60), (Retry::Yes, 12 * 3_600));
        assert_eq!(told(100, 100, 1), (Retry::Yes, 12 * 3_600));
        assert_eq!(told(i64::MAX, i64::MAX, 100), (Retry::Yes, 12 * 3_600));
        // The limit itself is.
        assert_eq!(told(0, 0, 101).0, Retry::No);
        assert_eq!(told(100, 0, i64::MAX).0, Retry::No);
    }
}
