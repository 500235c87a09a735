//! The way of an order's events to whoever submitted it.
//!
//! Tokens that are not read yet are joined into one event, so what waits is bounded by what the jobs may emit, and a
//! reader who stalls costs no more than his own answer. Dropping the reader's end cancels the order and its jobs.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use tokio::sync::Notify;

use super::job::JobEvent;

/// Which submission a stream belongs to, counted in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubmissionId(pub(crate) u64);

/// Submissions whose readers have gone. Bounded by the submissions that are live.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    gone: Mutex<Vec<SubmissionId>>,
    notify: Notify,
}

impl Departures {
    fn add(&self, submission: SubmissionId) {
        lock(&self.gone).push(submission);
        self.notify.notify_one();
    }

    /// Waits until a reader has gone and takes all that have.
    pub(crate) async fn next(&self) -> Vec<SubmissionId> {
        loop {
            let gone = std::mem::take(&mut *lock(&self.gone));
            if !gone.is_empty() {
                return gone;
            }
            self.notify.notified().await;
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<JobEvent>,
    unread_tokens: usize,
    ended: bool,
    departed: bool,
    waker: Option<Waker>,
}

/// The exchange's end.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: Arc<Mutex<Queue>>,
}

/// The events of one order and its jobs. Dropping it cancels what is left of them.
#[derive(Debug)]
pub struct JobEvents {
    submission: SubmissionId,
    queue: Arc<Mutex<Queue>>,
    departures: Arc<Departures>,
}

/// A queue is only touched between two steps of its own code, so a poisoned lock still holds whole values.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends of a new stream.
pub(crate) fn outlet(submission: SubmissionId, departures: Arc<Departures>) -> (Outlet, JobEvents) {
    let queue = Arc::new(Mutex::new(Queue::default()));
    let outlet = Outlet {
        queue: Arc::clone(&queue),
    };
    let events = JobEvents {
        submission,
        queue,
        departures,
    };
    (outlet, events)
}

impl Outlet {
    /// Hands an event on. Returns how many tokens now wait to be read.
    pub(crate) fn push(&self, event: JobEvent) -> usize {
        let mut queue = lock(&self.queue);
        if let JobEvent::Tokens { ids, .. } = &event {
            queue.unread_tokens = queue.unread_tokens.saturating_add(ids.len());
        }
        match (queue.events.back_mut(), event) {
            (
                Some(JobEvent::Tokens {
                    job: last,
                    ids: waiting,
                    ..
                }),
                JobEvent::Tokens { job, ids, .. },
            ) if *last == job => waiting.extend(ids),
            (_, event) => queue.events.push_back(event),
        }
        let unread = queue.unread_tokens;
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        unread
    }
}

impl Outlet {
    /// Whether the reader has gone. He may go before his submission is looked at.
    pub(crate) fn is_abandoned(&self) -> bool {
        lock(&self.queue).departed
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.ended = true;
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
}

impl JobEvents {
    /// The next event, or `None` after the last.
    pub async fn next(&mut self) -> Option<JobEvent> {
        std::future::poll_fn(|ctx| self.poll_event(ctx)).await
    }

    fn poll_event(&self, ctx: &Context<'_>) -> Poll<Option<JobEvent>> {
        let mut queue = lock(&self.queue);
        let Some(event) = queue.events.pop_front() else {
            if queue.ended {
                return Poll::Ready(None);
            }
            queue.waker = Some(ctx.waker().clone());
            return Poll::Pending;
        };
        if let JobEvent::Tokens { ids, .. } = &event {
            queue.unread_tokens = queue.unread_tokens.saturating_sub(ids.len());
        }
        Poll::Ready(Some(event))
    }
}

impl Stream for JobEvents {
    type Item = JobEvent;

    fn poll_next(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<JobEvent>> {
        self.poll_event(ctx)
    }
}

impl Drop for JobEvents {
    fn drop(&mut self) {
        let ended = {
            let mut queue = lock(&self.queue);
            queue.departed = true;
            queue.ended
        };
        if !ended {
            self.departures.add(self.submission);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{JobId, OrderId};

    fn tokens(index: u32, ids: &[u32]) -> JobEvent {
        JobEvent::Tokens {
            job: JobId::of_order(OrderId::new(1), index),
            index,
            ids: ids.to_vec(),
        }
    }

    fn ends() -> (Outlet, JobEvents, Arc<Departures>) {
        let departures = Arc::new(Departures::default());
        let (outlet, events) = outlet(SubmissionId(7), Arc::clone(&departures));
        (outlet, events, departures)
    }

    #[tokio::test]
    async fn unread_tokens_of_one_job_are_joined_and_counted() {
        let (outlet, mut events, _) = ends();
        assert_eq!(outlet.push(tokens(0, &[1, 2])), 2);
        assert_eq!(outlet.push(tokens(0, &[3])), 3);
        assert_eq!(outlet.push(tokens(1, &[4])), 4);
        drop(outlet);
        let mut read = Vec::new();
        while let Some(event) = events.next().await {
            let JobEvent::Tokens { index, ids, .. } = event else {
                panic!("only tokens were sent")
            };
            read.push((index, ids));
        }
        assert_eq!(read, [(0, vec![1, 2, 3]), (1, vec![4])]);
    }

    #[tokio::test]
    async fn a_reader_who_leaves_early_is_noticed_and_one_who_read_to_the_end_is_not() {
        let (outlet, events, departures) = ends();
        assert!(!outlet.is_abandoned());
        drop(events);
        assert!(outlet.is_abandoned());
        assert_eq!(departures.next().await, [SubmissionId(7)]);
        drop(outlet);

        let (outlet, events, departures) = ends();
        drop(outlet);
        drop(events);
        assert!(lock(&departures.gone).is_empty());
    }
}
