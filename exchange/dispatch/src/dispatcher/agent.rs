//! What Islands say. Anything about a lease that is over, from another session or of another attempt is stale and
//! changes nothing, but that a machine which is free is free.

use domain::{JobEnd, JobOutcome, LeaseFailure, LeaseId, SessionId, Timestamp, Units};

use super::Dispatcher;
use crate::effect::{Effect, Finding, ReceiptRefusal};
use crate::input::{FinishReason, Reply, SignedClaim};
use crate::lease::{Lease, Phase, PromptDue};

/// What became of the receipt that came with a job's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FinalReceipt {
    Holds,
    Missing,
    Refused,
}

impl Dispatcher {
    /// The lease that a message is about, unless the message is stale.
    fn lease_of(&mut self, from: Reply) -> Option<&mut Lease> {
        self.leases
            .get_mut(&from.lease)
            .filter(|lease| lease.grant.session == from.session && lease.grant.epoch == from.epoch)
    }

    pub(super) fn acknowledged(&mut self, from: Reply) {
        let Some(lease) = self.lease_of(from) else { return };
        if lease.phase == Phase::Granted {
            lease.phase = Phase::Acknowledged;
            self.watch(from.lease);
        }
    }

    pub(super) fn declined(&mut self, from: Reply, now: Timestamp) {
        if self.lease_of(from).is_none() {
            return;
        }
        self.release_slot(from.lease);
        self.fail(from.lease, LeaseFailure::Refused, now);
        self.watch(from.lease);
    }

    pub(super) fn output(&mut self, from: Reply, first_index: u32, ids: Vec<u32>, now: Timestamp) {
        let Some(lease) = self.lease_of(from) else { return };
        let finding = match lease.phase {
            Phase::Settling { .. } | Phase::Over => return,
            Phase::Granted => Some(Finding::OutOfOrder),
            Phase::Acknowledged | Phase::Streaming { .. } | Phase::Finishing { .. } => {
                finding_about(lease, first_index, &ids)
            }
        };
        if let Some(finding) = finding {
            self.audit(from.lease, finding);
            self.fail(from.lease, LeaseFailure::Misbehaved, now);
            self.watch(from.lease);
            return;
        }
        if ids.is_empty() {
            return;
        }
        lease.ids.extend_from_slice(&ids);
        if !lease.is_running() {
            // Tokens that were on their way when the consumer had enough: they back a claim, and nobody sees them.
            return;
        }
        lease.phase = Phase::Streaming { last_at: now };
        let job_id = lease.grant.job;
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.emitted.extend_from_slice(&ids);
        }
        self.effects.push_back(Effect::Deliver { job: job_id, ids });
        self.watch(from.lease);
    }

    pub(super) fn checkpoint(&mut self, from: Reply, claim: SignedClaim, now: Timestamp) {
        let Some(lease) = self.lease_of(from) else { return };
        match lease.phase {
            Phase::Settling { .. } | Phase::Over => return,
            Phase::Granted | Phase::Acknowledged | Phase::Streaming { .. } | Phase::Finishing { .. } => {}
        }
        if let SignedClaim::Sound(claim) = claim
            && crate::lease::widen(claim.output_tokens) <= lease.signed()
        {
            // A repetition, or one that a later one has overtaken.
            return;
        }
        let running = lease.is_running();
        match lease.check(claim) {
            Ok(()) => {
                let units = Units::new(u64::from(crate::lease::narrow(lease.signed()).get()));
                self.effects
                    .push_back(Effect::AcceptReceipt { lease: from.lease });
                if running {
                    self.effects.push_back(Effect::Checkpoint {
                        lease: from.lease,
                        units,
                    });
                }
            }
            Err(reason) => {
                self.refuse_receipt(from, reason);
                self.audit(from.lease, Finding::BadReceipt(reason));
                self.fail(from.lease, LeaseFailure::BadReceipt, now);
                self.watch(from.lease);
            }
        }
    }

    pub(super) fn finished(
        &mut self,
        from: Reply,
        reason: FinishReason,
        claim: Option<SignedClaim>,
        now: Timestamp,
    ) {
        let Some(lease) = self.lease_of(from) else { return };
        let phase = lease.phase.clone();
        self.release_slot(from.lease);
        match phase {
            Phase::Settling { .. } | Phase::Over => {
                if claim.is_some() {
                    self.refuse_receipt(from, ReceiptRefusal::Settled);
                }
            }
            Phase::Granted if reason != FinishReason::Error => {
                self.audit(from.lease, Finding::OutOfOrder);
                self.fail(from.lease, LeaseFailure::Misbehaved, now);
            }
            Phase::Granted | Phase::Acknowledged | Phase::Streaming { .. } => {
                let receipt = self.final_receipt(from, claim);
                self.finish_running(from.lease, reason, receipt, now);
            }
            Phase::Finishing { .. } => {
                let receipt = self.final_receipt(from, claim);
                match receipt {
                    FinalReceipt::Holds => self.settle_wish(from.lease, PromptDue::Yes),
                    FinalReceipt::Missing => self.fail(from.lease, LeaseFailure::Stalled, now),
                    FinalReceipt::Refused => self.fail(from.lease, LeaseFailure::BadReceipt, now),
                }
            }
        }
        self.watch(from.lease);
    }

    pub(super) fn slot_free(&mut self, session: SessionId, lease_id: LeaseId) {
        let Some(lease) = self.leases.get(&lease_id) else {
            return;
        };
        // While the Island is to work on it, a free slot would be a contradiction.
        if lease.grant.session == session && !lease.is_running() {
            self.release_slot(lease_id);
            self.watch(lease_id);
        }
    }

    fn final_receipt(&mut self, from: Reply, claim: Option<SignedClaim>) -> FinalReceipt {
        let Some(claim) = claim else {
            return FinalReceipt::Missing;
        };
        let Some(lease) = self.leases.get_mut(&from.lease) else {
            return FinalReceipt::Missing;
        };
        match lease.check(claim) {
            Ok(()) => {
                self.effects
                    .push_back(Effect::AcceptReceipt { lease: from.lease });
                FinalReceipt::Holds
            }
            Err(reason) => {
                self.refuse_receipt(from, reason);
                self.audit(from.lease, Finding::BadReceipt(reason));
                FinalReceipt::Refused
            }
        }
    }

    fn finish_running(
        &mut self,
        lease_id: LeaseId,
        reason: FinishReason,
        receipt: FinalReceipt,
        now: Timestamp,
    ) {
        let Some(lease) = self.leases.get(&lease_id) else {
            return;
        };
        let outcome = match reason {
            FinishReason::Stop => JobOutcome::Stopped,
            FinishReason::Length if lease.is_complete() => JobOutcome::Length,
            FinishReason::Length => {
                self.audit(lease_id, Finding::FalseLength);
                self.fail(lease_id, failure_with(receipt, LeaseFailure::Misbehaved), now);
                return;
            }
            FinishReason::Cancelled | FinishReason::Error => {
                self.fail(lease_id, failure_with(receipt, LeaseFailure::Refused), now);
                return;
            }
        };
        // The consumer has the whole answer; only what the Island earns depends on the receipt.
        let settlement = match receipt {
            FinalReceipt::Holds => lease.bill(lease.signed(), PromptDue::Yes),
            FinalReceipt::Missing => lease.bill(lease.signed(), PromptDue::No),
            FinalReceipt::Refused => lease.bill(0, PromptDue::No),
        };
        self.close(settlement, JobEnd { outcome, cause: None });
    }

    fn refuse_receipt(&mut self, from: Reply, reason: ReceiptRefusal) {
        self.effects.push_back(Effect::RefuseReceipt {
            session: from.session,
            lease: from.lease,
            reason,
        });
    }

    fn audit(&mut self, lease_id: LeaseId, finding: Finding) {
        if let Some(lease) = self.leases.get(&lease_id) {
            self.effects.push_back(Effect::Audit {
                lease: lease_id,
                island: lease.grant.island,
                finding,
            });
        }
    }
}

/// A receipt that does not hold outweighs every other failure: nothing is paid then.
fn failure_with(receipt: FinalReceipt, failure: LeaseFailure) -> LeaseFailure {
    match receipt {
        FinalReceipt::Refused => LeaseFailure::BadReceipt,
        FinalReceipt::Holds | FinalReceipt::Missing => failure,
    }
}

fn finding_about(lease: &Lease, first_index: u32, ids: &[u32]) -> Option<Finding> {
    if usize::try_from(first_index) != Ok(lease.ids.len()) {
        return Some(Finding::OutOfOrder);
    }
    let room = lease.output_max.saturating_sub(lease.ids.len());
    (ids.len() > room).then_some(Finding::TooMuchOutput)
}
