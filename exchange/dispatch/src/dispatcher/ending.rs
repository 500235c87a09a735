//! How leases and jobs end: what is paid, and whether another Island goes on.

use domain::{EndCause, JobEnd, JobId, JobOutcome, LeaseFailure, LeaseId, TimeInForce, Timestamp, Units};

use super::{Dispatcher, Job};
use crate::effect::{Effect, RevokeReason, Settlement};
use crate::lease::{Lease, Next, Phase, PromptDue, narrow};
use crate::limits::{FAILOVER_PATIENCE, FAILOVERS_MAX};

impl Dispatcher {
    /// Ends a lease that an Island has not brought to its end: settles what was signed for, and lets another go on if
    /// that makes sense.
    pub(super) fn fail(&mut self, lease_id: LeaseId, failure: LeaseFailure, now: Timestamp) {
        let Some(lease) = self.leases.get(&lease_id) else {
            return;
        };
        match lease.phase {
            Phase::Settling { .. } | Phase::Over => return,
            Phase::Granted | Phase::Acknowledged | Phase::Streaming { .. } | Phase::Finishing { .. } => {}
        }
        let signed = match failure {
            // What one signature was false for, the others of this lease are not believed.
            LeaseFailure::BadReceipt => 0,
            LeaseFailure::NotAcknowledged
            | LeaseFailure::NoFirstToken
            | LeaseFailure::Stalled
            | LeaseFailure::Overran
            | LeaseFailure::SessionLost
            | LeaseFailure::Refused
            | LeaseFailure::Misbehaved => lease.signed(),
        };
        let settlement = lease.bill(signed, PromptDue::No);
        let (running, complete, island) = (lease.is_running(), lease.is_complete(), lease.grant.island);
        let units_max = lease.grant.units_max;
        self.revoke(lease_id, RevokeReason::Failed(failure), now);
        if !running {
            // The consumer has had enough. An Island that signed for anything has read the prompt.
            match signed {
                0 => self.settle_wish_free(lease_id),
                _ => self.settle_wish(lease_id, PromptDue::Yes),
            }
            return;
        }
        let Some(job_id) = self.job_of(lease_id) else {
            return;
        };
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return;
        };
        if complete {
            self.close(
                settlement,
                JobEnd {
                    outcome: JobOutcome::Length,
                    cause: None,
                },
            );
            return;
        }
        let left = units_left(job, units_max, settlement.units);
        if job.failovers >= FAILOVERS_MAX || left == Units::ZERO {
            let ending = cut_short(job, EndCause::FailoversExhausted);
            self.close(settlement, ending);
            return;
        }
        job.failovers = job.failovers.saturating_add(1);
        let otherwise = cut_short(job, EndCause::NoIslandLeft);
        let time_in_force = patience(job.facts.patience, now);
        let emitted = narrow(job.emitted.len());
        self.settling(settlement, Next::Rebid);
        self.effects.push_back(Effect::ReportFailover {
            job: job_id,
            island,
            failure,
            emitted,
        });
        self.effects.push_back(Effect::FailOver {
            settlement,
            units_max: left,
            time_in_force,
            otherwise,
        });
    }

    /// Closes a lease whose consumer has had enough, with what its Island signed for up to there.
    pub(super) fn settle_wish(&mut self, lease_id: LeaseId, prompt: PromptDue) {
        let Some((lease, ending, cap)) = self.wished(lease_id) else {
            return;
        };
        let settlement = lease.bill(lease.signed().min(cap), prompt);
        self.close(settlement, ending);
    }

    fn settle_wish_free(&mut self, lease_id: LeaseId) {
        let Some((_, ending, _)) = self.wished(lease_id) else {
            return;
        };
        self.close(Settlement::free(lease_id), ending);
    }

    fn wished(&self, lease_id: LeaseId) -> Option<(&Lease, JobEnd, usize)> {
        let lease = self.leases.get(&lease_id)?;
        let Phase::Finishing { cap, .. } = lease.phase else {
            return None;
        };
        let wish = self.jobs.get(&lease.grant.job)?.wish?;
        Some((lease, wish.ending, cap))
    }

    /// Asks the engine to close a lease and its job.
    pub(super) fn close(&mut self, settlement: Settlement, ending: JobEnd) {
        self.settling(settlement, Next::End(ending));
        self.effects.push_back(Effect::CloseLease {
            settlement,
            end: ending,
        });
    }

    fn settling(&mut self, settlement: Settlement, next: Next) {
        if let Some(lease) = self.leases.get_mut(&settlement.lease) {
            lease.phase = Phase::Settling { settlement, next };
            lease.ids = Vec::new();
        }
    }

    /// Ends a job: the last that is heard of it.
    pub(super) fn end_job(&mut self, job_id: JobId, ending: JobEnd) {
        let Some(job) = self.jobs.remove(&job_id) else {
            return;
        };
        let shown = job.wish.map_or(job.emitted.len(), |wish| wish.shown);
        self.effects.push_back(Effect::JobEnded {
            job: job_id,
            outcome: ending.outcome,
            cause: ending.cause,
            output_tokens: narrow(shown),
            failovers: job.failovers,
        });
    }

    fn job_of(&self, lease_id: LeaseId) -> Option<JobId> {
        self.leases.get(&lease_id).map(|lease| lease.grant.job)
    }
}

/// How a job ends that nobody finishes: never as if it were whole.
pub(super) fn cut_short(job: &Job, cause: EndCause) -> JobEnd {
    if let Some(wish) = job.wish {
        return wish.ending;
    }
    JobEnd {
        outcome: if job.emitted.is_empty() {
            JobOutcome::Failed
        } else {
            JobOutcome::Incomplete
        },
        cause: Some(cause),
    }
}

/// The most work that is left: the prompt and what was not emitted, within what the lease leaves.
fn units_left(job: &Job, units_max: Units, billed: Units) -> Units {
    let rest = job
        .facts
        .max_tokens
        .get()
        .saturating_sub(narrow(job.emitted.len()).get());
    let needed = job
        .facts
        .input_weight
        .units_of_job(job.facts.prompt_tokens, domain::TokenCount::new(rest));
    needed.min(units_max.checked_sub(billed).unwrap_or(Units::ZERO))
}

/// How long the bid of a failover stays: as long as the consumer's own bid was to wait, but at least a little.
fn patience(first: TimeInForce, now: Timestamp) -> TimeInForce {
    let least = now.after(FAILOVER_PATIENCE);
    match first {
        TimeInForce::Gtc => TimeInForce::Gtc,
        TimeInForce::Gtd(deadline) => TimeInForce::Gtd(deadline.max(least)),
        TimeInForce::Ioc | TimeInForce::Fok => TimeInForce::Gtd(least),
    }
}
