//! Whether there is room: jobs in flight per account and in all, and whether the exchange still takes any.
//!
//! Invariant: what was admitted leaves when its [`Admitted`] is dropped, however its request ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::AccountId;
use tokio::sync::Notify;

use super::errors::{AT_CAPACITY, Refusal, STOPPING, TOO_MANY_JOBS};

/// Counts the jobs in flight. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    per_account_max: u32,
    total_max: u32,
    counts: Mutex<Counts>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    accounts: HashMap<AccountId, u32>,
    total: u32,
    closed: bool,
}

/// Jobs that were admitted; dropping it makes room.
#[derive(Debug)]
pub struct Admitted {
    inner: Arc<Inner>,
    account: AccountId,
    jobs: u32,
}

impl Admission {
    /// Room for so many jobs of one account, and so many in all.
    #[must_use]
    pub fn new(per_account_max: u32, total_max: u32) -> Self {
        Self(Arc::new(Inner {
            per_account_max,
            total_max,
            counts: Mutex::default(),
            left: Notify::new(),
        }))
    }

    /// Takes in `jobs` of an account.
    ///
    /// # Errors
    /// When they would be too many, or the exchange is stopping.
    pub fn enter(&self, account: AccountId, jobs: u32) -> Result<Admitted, Refusal> {
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.closed {
            return Err(STOPPING.because("the exchange is stopping and takes no new jobs"));
        }
        let own = counts
            .accounts
            .get(&account)
            .copied()
            .unwrap_or_default()
            .saturating_add(jobs);
        if own > self.0.per_account_max {
            let most = self.0.per_account_max;
            return Err(TOO_MANY_JOBS.because(format!(
                "an account may have {most} jobs in flight; wait until one has ended"
            )));
        }
        let total = counts.total.saturating_add(jobs);
        if total > self.0.total_max {
            return Err(AT_CAPACITY.because("the exchange has as many jobs in flight as it holds; try again"));
        }
        counts.total = total;
        counts.accounts.insert(account, own);
        Ok(Admitted {
            inner: Arc::clone(&self.0),
            account,
            jobs,
        })
    }

    /// Takes nobody in from now on.
    pub fn close(&self) {
        self.0
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
    }

    /// Whether anybody is taken in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self
            .0
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed
    }

    /// Jobs in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Waits until no job is in flight.
    pub async fn emptied(&self) {
        loop {
            let left = self.0.left.notified();
            if self.in_flight() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.inner.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(self.jobs);
        if let Some(own) = counts.accounts.get_mut(&self.account) {
            *own = own.saturating_sub(self.jobs);
            if *own == 0 {
                counts.accounts.remove(&self.account);
            }
        }
        drop(counts);
        self.inner.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_cannot_take_the_room_of_all() {
        let admission = Admission::new(2, 3);
        let (a, b) = (AccountId::new(1), AccountId::new(2));
        let first = admission.enter(a, 2).unwrap();
        assert_eq!(admission.enter(a, 1).unwrap_err().kind, TOO_MANY_JOBS);
        let second = admission.enter(b, 1).unwrap();
        assert_eq!(admission.enter(b, 1).unwrap_err().kind, AT_CAPACITY);
        drop(first);
        assert!(admission.enter(b, 1).is_ok());
        drop(second);
        assert_eq!(admission.in_flight(), 0);
        assert!(admission.0.counts.lock().unwrap().accounts.is_empty());
    }

    #[test]
    fn a_count_of_jobs_beyond_all_bounds_is_refused() {
        let admission = Admission::new(2, u32::MAX);
        assert!(admission.enter(AccountId::new(1), u32::MAX).is_err());
        assert_eq!(admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_stop_takes_nobody_in_and_waits_for_those_who_are() {
        let admission = Admission::new(2, 2);
        let admitted = admission.enter(AccountId::new(1), 1).unwrap();
        admission.close();
        assert_eq!(admission.enter(AccountId::new(1), 1).unwrap_err().kind, STOPPING);
        let emptied = tokio::spawn({
            let admission = admission.clone();
            async move { admission.emptied().await }
        });
        drop(admitted);
        emptied.await.unwrap();
    }
}
