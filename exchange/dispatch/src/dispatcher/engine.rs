//! What the engine did: grants, and the ends of leases and of the bids for the rest.

use domain::{EndCause, JobEnd, JobOutcome, LeaseId, OrderId, Timestamp};

use super::ending::cut_short;
use super::{Dispatcher, Job};
use crate::effect::{Effect, RevokeReason, Settlement};
use crate::input::Grant;
use crate::lease::{Lease, Next, Phase, Slot, narrow, widen};
use crate::limits::ACKNOWLEDGE_WITHIN;

impl Dispatcher {
    pub(super) fn granted(&mut self, grant: Grant, now: Timestamp) {
        if self.last_lease.is_some_and(|last| grant.lease <= last) {
            return;
        }
        self.last_lease = Some(grant.lease);
        let job = self.jobs.entry(grant.job).or_insert_with(|| Job {
            facts: grant.facts,
            emitted: Vec::new(),
            lease: None,
            rebid: None,
            wish: None,
            failovers: 0,
        });
        job.lease = Some(grant.lease);
        job.rebid = None;
        let base = job.emitted.len();
        let prompt_units = grant
            .facts
            .input_weight
            .units_of_prompt(grant.facts.prompt_tokens);
        let room = grant
            .units_max
            .checked_sub(prompt_units)
            .map_or(0, |units| usize::try_from(units.get()).unwrap_or(usize::MAX));
        let output_max = widen(grant.facts.max_tokens).saturating_sub(base).min(room);
        let wish = job.wish;
        let emitted = job.emitted.clone();
        let mut lease = Lease::new(grant, base, output_max, now);
        let is_live = self.roster.is_live(grant.session);
        if !is_live {
            // It was lost between the trade and now, and its slots with it.
            lease.slot = Slot::Free;
        }
        self.leases.insert(grant.lease, lease);
        self.leases_of
            .entry(grant.session)
            .or_default()
            .insert(grant.lease);

        let ending = wish.map(|wish| wish.ending).or_else(|| {
            (output_max == 0).then_some(JobEnd {
                outcome: JobOutcome::Length,
                cause: None,
            })
        });
        if let Some(ending) = ending {
            // Nothing is left to do: the Island never hears of it.
            self.release_slot(grant.lease);
            self.close(Settlement::free(grant.lease), ending);
        } else if is_live {
            self.effects.push_back(Effect::Assign {
                session: grant.session,
                lease: grant.lease,
                job: grant.job,
                epoch: grant.epoch,
                emitted,
                max_tokens: narrow(output_max),
                acknowledge_within: ACKNOWLEDGE_WITHIN,
            });
        } else {
            self.fail(grant.lease, domain::LeaseFailure::SessionLost, now);
        }
        self.watch(grant.lease);
    }

    pub(super) fn rebid_placed(&mut self, lease_id: LeaseId, order: OrderId) {
        let Some(lease) = self.leases.get_mut(&lease_id) else {
            return;
        };
        let Phase::Settling {
            next: Next::Rebid, ..
        } = lease.phase
        else {
            return;
        };
        lease.phase = Phase::Over;
        let job_id = lease.grant.job;
        self.watch(lease_id);
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return;
        };
        job.lease = None;
        job.rebid = Some(order);
        if job.wish.is_some() {
            self.effects.push_back(Effect::CancelRebid { job: job_id, order });
        }
    }

    pub(super) fn rebid_ended(&mut self, job_id: domain::JobId) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        if job.lease.is_none() && job.rebid.is_some() {
            let ending = cut_short(job, EndCause::NoIslandLeft);
            self.end_job(job_id, ending);
        }
    }

    pub(super) fn lease_closed(&mut self, lease_id: LeaseId, now: Timestamp) {
        let Some(lease) = self.leases.get_mut(&lease_id) else {
            return;
        };
        if lease.phase == Phase::Over {
            return;
        }
        let job_id = lease.grant.job;
        let planned = match lease.phase {
            Phase::Settling {
                next: Next::End(ending),
                ..
            } => Some(ending),
            Phase::Settling {
                next: Next::Rebid, ..
            }
            | Phase::Granted
            | Phase::Acknowledged
            | Phase::Streaming { .. }
            | Phase::Finishing { .. }
            | Phase::Over => None,
        };
        lease.phase = Phase::Over;
        // Where the engine closed it unasked, the Island still works on it.
        self.revoke(lease_id, RevokeReason::Cancelled, now);
        self.watch(lease_id);
        let Some(job) = self.jobs.get(&job_id) else { return };
        let ending = planned.unwrap_or_else(|| cut_short(job, EndCause::Exchange));
        self.end_job(job_id, ending);
    }

    /// The engine refused what was asked of a lease. Try the next lesser thing: close instead of failing over, for
    /// nothing instead of for something; a lease that not even that ends is not the engine's any more.
    pub(super) fn settlement_refused(&mut self, lease_id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&lease_id) else {
            return;
        };
        let Phase::Settling { settlement, next } = lease.phase else {
            return;
        };
        let job_id = lease.grant.job;
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return;
        };
        match next {
            Next::Rebid => {
                job.failovers = job.failovers.saturating_sub(1);
                let ending = cut_short(job, EndCause::NoIslandLeft);
                self.close(settlement, ending);
            }
            Next::End(ending) if !settlement.is_free() => {
                self.close(Settlement::free(lease_id), ending);
            }
            Next::End(ending) => {
                lease.phase = Phase::Over;
                self.watch(lease_id);
                self.end_job(job_id, ending);
            }
        }
    }
}
