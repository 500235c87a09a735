//! Deadlines that are armed. They fire in order of (deadline, sequence of the command that armed them).

use std::collections::BTreeMap;

use domain::{Sequence, Timestamp};

use crate::book::arena::Handle;

/// What fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// An order's time runs out.
    Order(Handle),
    /// A session's dead-man switch.
    DeadMan(Handle),
}

/// All armed deadlines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    armed: BTreeMap<(Timestamp, Sequence), Timer>,
}

impl Timers {
    pub(crate) fn arm(&mut self, deadline: Timestamp, armed_by: Sequence, timer: Timer) {
        self.armed.insert((deadline, armed_by), timer);
    }

    pub(crate) fn disarm(&mut self, deadline: Timestamp, armed_by: Sequence) {
        self.armed.remove(&(deadline, armed_by));
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.armed.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes the next timer that is due.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let entry = self.armed.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(crate) fn len(&self) -> usize {
        self.armed.len()
    }

    pub(crate) fn get(&self, deadline: Timestamp, armed_by: Sequence) -> Option<Timer> {
        self.armed.get(&(deadline, armed_by)).copied()
    }
}
