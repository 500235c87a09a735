//! Cancels that wait for the engine's answer.

use std::collections::{HashMap, VecDeque};

use domain::{AccountId, OrderId};
use tokio::sync::oneshot;

use super::job::{CancelRefused, Cancelled};

/// What a cancel did.
pub(crate) type CancelOutcome = Result<Cancelled, CancelRefused>;

/// Tells what a cancel did to whoever asked for it.
pub(crate) struct CancelReply(Box<dyn FnOnce(CancelOutcome) + Send>);

impl CancelReply {
    /// A reply that `tell` hears, in the task that carries cancels out: it must not wait.
    pub(super) fn new(tell: impl FnOnce(CancelOutcome) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// A reply that somebody waits for.
    pub(super) fn awaited() -> (Self, oneshot::Receiver<CancelOutcome>) {
        let (reply, outcome) = oneshot::channel();
        // Who asked may have gone.
        let reply = Self::new(|outcome| {
            let _ = reply.send(outcome);
        });
        (reply, outcome)
    }

    pub(super) fn send(self, outcome: CancelOutcome) {
        (self.0)(outcome);
    }
}

impl std::fmt::Debug for CancelReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelReply").finish_non_exhaustive()
    }
}

/// Cancels that wait at once: one for every order that there may be.
const CANCELS_MAX: usize = 65_536;

/// By order, and first come, first answered: the engine answers cancels of one order in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct PendingCancels {
    waiting: HashMap<(AccountId, OrderId), VecDeque<CancelReply>>,
    count: usize,
}

impl PendingCancels {
    /// Lets a cancel wait. When too many do, it is refused at once, and `false` says so.
    pub(super) fn wait(&mut self, account: AccountId, order: OrderId, reply: CancelReply) -> bool {
        if self.count >= CANCELS_MAX {
            reply.send(Err(CancelRefused::Busy));
            return false;
        }
        self.count += 1;
        self.waiting.entry((account, order)).or_default().push_back(reply);
        true
    }

    /// Who has waited longest for the answer about this order; nobody if the cancel came from elsewhere.
    pub(super) fn answered(&mut self, account: AccountId, order: OrderId) -> Option<CancelReply> {
        let key = (account, order);
        let waiting = self.waiting.get_mut(&key)?;
        let reply = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&key);
        }
        self.count -= usize::from(reply.is_some());
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId::new(1);

    #[test]
    fn cancels_of_an_order_are_answered_in_turn_and_only_once() {
        let mut cancels = PendingCancels::default();
        let (order, other) = (OrderId::new(1), OrderId::new(2));
        let (first, mut first_answer) = CancelReply::awaited();
        let (second, mut second_answer) = CancelReply::awaited();
        assert!(cancels.wait(ACCOUNT, order, first) && cancels.wait(ACCOUNT, order, second));
        assert!(cancels.answered(ACCOUNT, other).is_none());
        assert!(cancels.answered(AccountId::new(2), order).is_none());
        let refused = Err(CancelRefused::UnknownOrder);
        cancels.answered(ACCOUNT, order).unwrap().send(refused);
        assert_eq!(first_answer.try_recv().unwrap(), refused);
        assert!(second_answer.try_recv().is_err());
        assert!(cancels.answered(ACCOUNT, order).is_some());
        assert!(cancels.answered(ACCOUNT, order).is_none());
        assert_eq!((cancels.count, cancels.waiting.len()), (0, 0));
    }

    #[test]
    fn one_cancel_too_many_is_refused_as_busy_and_the_others_wait_on() {
        let mut cancels = PendingCancels::default();
        let mut waiting = Vec::new();
        for number in 0..CANCELS_MAX {
            let (reply, answer) = CancelReply::awaited();
            assert!(cancels.wait(ACCOUNT, OrderId::new(u64::try_from(number).unwrap()), reply));
            waiting.push(answer);
        }
        let (reply, mut answer) = CancelReply::awaited();
        assert!(!cancels.wait(ACCOUNT, OrderId::new(0), reply));
        assert_eq!(answer.try_recv().unwrap(), Err(CancelRefused::Busy));
        assert!(cancels.answered(ACCOUNT, OrderId::new(0)).is_some());
        let (reply, _answer) = CancelReply::awaited();
        assert!(cancels.wait(ACCOUNT, OrderId::new(0), reply));
    }
}
