//! What waits for billing: bounded, and honest about what it had to drop.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Sequence;
use tokio::sync::Notify;

use super::item::Item;

/// What was taken in and not sent yet.
#[derive(Debug)]
pub(super) struct Buffer {
    items_max: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    items: VecDeque<Item>,
    /// The last command that was taken in.
    seen: Sequence,
    /// The first command whose items were dropped for want of room; nothing is kept from there on.
    gap: Option<Sequence>,
    /// A command that somebody waits for.
    awaited: Option<Sequence>,
    closed: bool,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Work {
    /// Send these, then everything up to `through` is covered.
    Send { items: Vec<Item>, through: Sequence },
    /// Read the journal again, up to `to`: what came was more than fitted.
    Replay { to: Sequence },
    /// Nothing at the moment.
    Wait,
    /// Nothing any more.
    End,
}

impl Buffer {
    pub(super) fn new(items_max: usize, seen: Sequence) -> Self {
        Self {
            items_max,
            state: Mutex::new(State {
                items: VecDeque::new(),
                seen,
                gap: None,
                awaited: None,
                closed: false,
            }),
            changed: Notify::new(),
        }
    }

    /// Takes a command's items in, all or none of them. Never waits.
    pub(super) fn take_in(&self, sequence: Sequence, items: Vec<Item>) {
        let mut state = self.state();
        state.seen = sequence;
        let wakes = !items.is_empty() || state.awaited.is_some_and(|awaited| awaited <= sequence);
        if !items.is_empty() && state.gap.is_none() {
            if state.items.len().saturating_add(items.len()) > self.items_max {
                state.gap = Some(sequence);
            } else {
                state.items.extend(items);
            }
        }
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// No more commands will come.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Resolves when there may be work.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has the cursor follow as soon as `sequence` was taken in, whether it moves anything or not.
    pub(super) fn hurry(&self, sequence: Sequence) {
        let mut state = self.state();
        state.awaited = state.awaited.max(Some(sequence));
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// What to do when everything up to `through` is covered: at most `items_max` items at once.
    pub(super) fn next(&self, through: Sequence, items_max: usize) -> Work {
        let mut state = self.state();
        if !state.items.is_empty() {
            let count = items_max.min(state.items.len());
            let items: Vec<Item> = state.items.drain(..count).collect();
            let covered = match (state.items.front(), state.gap) {
                (Some(next), _) => before(next.sequence),
                (None, Some(gap)) => before(gap),
                (None, None) => state.seen,
            };
            let through = covered.max(through);
            return Work::Send { items, through };
        }
        if state.gap.take().is_some() {
            return Work::Replay { to: state.seen };
        }
        match (state.closed, state.seen > through) {
            (false, _) => Work::Wait,
            (true, false) => Work::End,
            (true, true) => Work::Send {
                items: Vec::new(),
                through: state.seen,
            },
        }
    }

    /// How far the cursor could follow commands that move nothing.
    pub(super) fn uncovered(&self, through: Sequence) -> Option<Sequence> {
        let mut state = self.state();
        if state.awaited.is_some_and(|awaited| awaited <= state.seen) {
            state.awaited = None;
        }
        let behind = state.items.is_empty() && state.gap.is_none() && state.seen > through;
        behind.then_some(state.seen)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command before; nothing is before the first.
pub(super) fn before(sequence: Sequence) -> Sequence {
    Sequence::new(sequence.get().saturating_sub(1))
}
