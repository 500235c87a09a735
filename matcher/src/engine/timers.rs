//! Timers that are due fire before the command whose stamp made them so.

use crate::engine::Engine;
use crate::timers::Timer;
use crate::{EndReason, Event};
use domain::Timestamp;

impl Engine {
    /// When the next timer is due, if one is armed: the sequencer journals a `Tick` then.
    ///
    /// Client order ids are forgotten along with whatever command comes next, so they ask for no tick.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Whether there is anything to fire or to forget. Mostly there is not.
    #[inline(always)]
    pub(super) fn is_any_timer_due(&self) -> bool {
        let next = self.timers.next();
        next.is_some_and(|next| next <= self.now) || self.client_ids.is_any_due(self.now)
    }

    /// Fires what is due, in order of (deadline, sequence).
    pub(super) fn fire_timers(&mut self, events: &mut Vec<Event>) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Order(order) => {
                    self.orders.terms_mut(order).timer = None;
                    self.end_order(order, EndReason::Expired, events);
                }
                Timer::DeadMan(session) => {
                    let id = self.roster.sessions[session].id;
                    self.roster.sessions[session].dead_man = None;
                    self.end_orders_of_session(session, EndReason::DeadMan, events);
                    events.push(Event::DeadManSet {
                        session: id,
                        deadline: None,
                    });
                }
            }
        }
        while let Some((account, order)) = self.client_ids.forget_due(self.now) {
            self.accounts.get_mut(account).client_id_count -= 1;
            self.ended_jobs.forget(order);
        }
    }
}
