//! Sessions that are alive: who was heard of, and when.

use std::collections::BTreeMap;

use domain::{SessionId, Timestamp};

use crate::limits::HEARD_WITHIN;
use crate::timers::Timers;

/// The live sessions.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    heard_at: BTreeMap<SessionId, Timestamp>,
    timers: Timers<SessionId>,
}

impl Roster {
    pub(crate) const fn new() -> Self {
        Self {
            heard_at: BTreeMap::new(),
            timers: Timers::new(),
        }
    }

    pub(crate) fn join(&mut self, session: SessionId, now: Timestamp) {
        self.heard_at.insert(session, now);
        self.timers.set(session, now.after(HEARD_WITHIN));
    }

    /// Notes that a session was heard of; one that is not on the roster stays off it.
    pub(crate) fn hear(&mut self, session: SessionId, now: Timestamp) {
        if let Some(heard_at) = self.heard_at.get_mut(&session) {
            *heard_at = now.max(*heard_at);
        }
    }

    pub(crate) fn leave(&mut self, session: SessionId) {
        self.heard_at.remove(&session);
        self.timers.clear(session);
    }

    pub(crate) fn is_live(&self, session: SessionId) -> bool {
        self.heard_at.contains_key(&session)
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Takes one session that was not heard of for too long off the roster.
    pub(crate) fn take_silent(&mut self, now: Timestamp) -> Option<SessionId> {
        while let Some(session) = self.timers.take_due(now) {
            let Some(heard_at) = self.heard_at.get(&session) else {
                continue;
            };
            let deadline = heard_at.after(HEARD_WITHIN);
            if deadline <= now {
                self.leave(session);
                return Some(session);
            }
            self.timers.set(session, deadline);
        }
        None
    }
}
