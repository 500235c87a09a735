//! What consumers want: an end before the end. The first wish counts.

use domain::{CancelCause, EndCause, JobEnd, JobId, JobOutcome, Timestamp, TokenCount};

use super::{Dispatcher, Wish};
use crate::effect::{Effect, RevokeReason};
use crate::lease::{Next, Phase, Slot, widen};

impl Dispatcher {
    pub(super) fn cancel(&mut self, job_id: JobId, cause: CancelCause, now: Timestamp) {
        let ending = JobEnd {
            outcome: JobOutcome::Cancelled,
            cause: Some(EndCause::Cancelled(cause)),
        };
        self.wish(job_id, ending, TokenCount::new(u32::MAX), now);
    }

    pub(super) fn stop(&mut self, job_id: JobId, output_tokens: TokenCount, now: Timestamp) {
        let ending = JobEnd {
            outcome: JobOutcome::Stopped,
            cause: None,
        };
        self.wish(job_id, ending, output_tokens, now);
    }

    fn wish(&mut self, job_id: JobId, ending: JobEnd, shown: TokenCount, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return;
        };
        if job.wish.is_some() {
            return;
        }
        let wish = Wish {
            ending,
            shown: widen(shown).min(job.emitted.len()),
        };
        let Some(lease_id) = job.lease else {
            job.wish = Some(wish);
            if let Some(order) = job.rebid {
                self.effects.push_back(Effect::CancelRebid { job: job_id, order });
            }
            return;
        };
        let Some(lease) = self.leases.get_mut(&lease_id) else {
            return;
        };
        match lease.phase {
            Phase::Granted => {
                job.wish = Some(wish);
                let free = crate::Settlement::free(lease_id);
                self.revoke(lease_id, revocation(ending), now);
                self.close(free, ending);
            }
            Phase::Acknowledged | Phase::Streaming { .. } => {
                job.wish = Some(wish);
                lease.phase = Phase::Finishing {
                    cap: wish.shown.saturating_sub(lease.base),
                    since: now,
                };
                self.revoke(lease_id, revocation(ending), now);
            }
            Phase::Settling {
                next: Next::Rebid, ..
            } => job.wish = Some(wish),
            // It is ending already.
            Phase::Finishing { .. }
            | Phase::Settling {
                next: Next::End(_), ..
            }
            | Phase::Over => {}
        }
        self.watch(lease_id);
    }

    /// Tells an Island to stop, once, if it is there to be told.
    pub(super) fn revoke(&mut self, lease_id: domain::LeaseId, reason: RevokeReason, now: Timestamp) {
        let Some(lease) = self.leases.get_mut(&lease_id) else {
            return;
        };
        if lease.slot != Slot::Taken {
            return;
        }
        lease.slot = Slot::Revoked { since: now };
        self.effects.push_back(Effect::Revoke {
            session: lease.grant.session,
            lease: lease_id,
            epoch: lease.grant.epoch,
            reason,
        });
    }
}

fn revocation(ending: JobEnd) -> RevokeReason {
    match ending.outcome {
        JobOutcome::Stopped => RevokeReason::Stopped,
        JobOutcome::Length | JobOutcome::Cancelled | JobOutcome::Incomplete | JobOutcome::Failed => {
            RevokeReason::Cancelled
        }
    }
}
