//! The dispatcher: inputs in, effects out, one deadline to wait for.

mod agent;
mod consumer;
mod ending;
mod engine;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domain::{JobEnd, JobId, LeaseId, OrderId, SessionId, Timestamp};

use crate::effect::Effect;
use crate::input::{Input, JobFacts};
use crate::lease::{Lease, Phase, Slot};
use crate::roster::Roster;
use crate::timers::Timers;

/// All jobs that Islands work on or that wait for the next Island.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    roster: Roster,
    jobs: BTreeMap<JobId, Job>,
    leases: BTreeMap<LeaseId, Lease>,
    leases_of: BTreeMap<SessionId, BTreeSet<LeaseId>>,
    /// The engine counts leases up, so one that is not above this has been seen.
    last_lease: Option<LeaseId>,
    timers: Timers<LeaseId>,
    effects: VecDeque<Effect>,
}

/// A job from its first lease to its end.
#[derive(Clone, Debug)]
struct Job {
    facts: JobFacts,
    /// Everything delivered, over all leases.
    emitted: Vec<u32>,
    /// The lease that works on it, or whose end the engine is asked for.
    lease: Option<LeaseId>,
    /// The bid for the rest of it.
    rebid: Option<OrderId>,
    /// How the consumer wants it to end.
    wish: Option<Wish>,
    failovers: u8,
}

/// How a consumer wants a job to end.
#[derive(Clone, Copy, Debug)]
struct Wish {
    ending: JobEnd,
    /// Tokens of the job that count.
    shown: usize,
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Dispatcher {
    /// A dispatcher without jobs.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            roster: Roster::new(),
            jobs: BTreeMap::new(),
            leases: BTreeMap::new(),
            leases_of: BTreeMap::new(),
            last_lease: None,
            timers: Timers::new(),
            effects: VecDeque::new(),
        }
    }

    /// Takes note of what happened. Its effects are to be taken before the next input.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Joined { session } => self.roster.join(session, now),
            Input::Heard { session } => self.roster.hear(session, now),
            Input::SessionLost { session } => self.lose_session(session, now),
            Input::Granted(grant) => self.granted(grant, now),
            Input::Acknowledged(from) => self.acknowledged(from),
            Input::Declined(from) => self.declined(from, now),
            Input::Output {
                from,
                first_index,
                ids,
            } => self.output(from, first_index, ids, now),
            Input::Checkpoint { from, claim } => self.checkpoint(from, claim, now),
            Input::Finished { from, reason, claim } => self.finished(from, reason, claim, now),
            Input::SlotFree { session, lease } => self.slot_free(session, lease),
            Input::Cancel { job, cause } => self.cancel(job, cause, now),
            Input::Stop { job, output_tokens } => self.stop(job, output_tokens, now),
            Input::RebidPlaced { lease, order } => self.rebid_placed(lease, order),
            Input::RebidEnded { job } => self.rebid_ended(job),
            Input::LeaseClosed { lease } => self.lease_closed(lease, now),
            Input::SettlementRefused { lease } => self.settlement_refused(lease),
        }
    }

    /// Takes the next thing to do, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::handle_timeout`] is due. It may find nothing to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.timers.next(), self.roster.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Deals with all whose time is up.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(session) = self.roster.take_silent(now) {
            self.lose_session(session, now);
            self.effects.push_back(Effect::EndSession { session });
        }
        while let Some(lease_id) = self.timers.take_due(now) {
            let Some(lease) = self.leases.get(&lease_id) else {
                continue;
            };
            let (failure, slot_overdue) = (lease.overdue(now), lease.slot_overdue(now));
            if let Some(failure) = failure {
                self.fail(lease_id, failure, now);
            }
            if slot_overdue {
                self.release_slot(lease_id);
            }
            self.watch(lease_id);
        }
    }

    /// How many jobs have not ended.
    #[must_use]
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// How many leases are open or have their slot out.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.leases.len()
    }

    /// Tokens of a job that were delivered so far.
    #[must_use]
    pub fn emitted(&self, job: JobId) -> Option<&[u32]> {
        self.jobs.get(&job).map(|job| job.emitted.as_slice())
    }

    fn lose_session(&mut self, session: SessionId, now: Timestamp) {
        self.roster.leave(session);
        for lease_id in self.leases_of.get(&session).cloned().unwrap_or_default() {
            if let Some(lease) = self.leases.get_mut(&lease_id) {
                // The engine voids the slots of a session that ends.
                lease.slot = Slot::Free;
            }
            self.fail(lease_id, domain::LeaseFailure::SessionLost, now);
            self.watch(lease_id);
        }
    }

    /// Sets the lease's alarm, or forgets the lease if nothing can happen to it any more.
    fn watch(&mut self, lease_id: LeaseId) {
        let Some(lease) = self.leases.get(&lease_id) else {
            return;
        };
        if lease.phase == Phase::Over && lease.slot == Slot::Free {
            let session = lease.grant.session;
            self.leases.remove(&lease_id);
            self.timers.clear(lease_id);
            if let Some(leases) = self.leases_of.get_mut(&session) {
                leases.remove(&lease_id);
                if leases.is_empty() {
                    self.leases_of.remove(&session);
                }
            }
        } else if let Some(at) = lease.next_timeout() {
            self.timers.set(lease_id, at);
        }
    }

    /// Gives the lease's slot back, once.
    fn release_slot(&mut self, lease_id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&lease_id) else {
            return;
        };
        if lease.slot != Slot::Free {
            lease.slot = Slot::Free;
            self.effects.push_back(Effect::ReleaseSlot {
                lease: lease_id,
                session: lease.grant.session,
            });
        }
    }
}
