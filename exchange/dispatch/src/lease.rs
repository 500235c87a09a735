//! One lease: where it stands, what arrived under it and what its Island has signed for.

use domain::{ChainHead, JobEnd, LeaseFailure, Timestamp, TokenCount};

use crate::effect::{ReceiptRefusal, Settlement};
use crate::input::{Claim, Grant};
use crate::limits::{ACKNOWLEDGE_WITHIN, FINISH_WITHIN, SLOT_FREE_WITHIN};
use crate::{Deadlines, SignedClaim};

/// Where a lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Handed over, not answered.
    Granted,
    /// Taken, nothing emitted.
    Acknowledged,
    /// Emitting.
    Streaming {
        /// When the last token came.
        last_at: Timestamp,
    },
    /// The consumer wants no more; the final receipt is awaited.
    Finishing {
        /// Tokens of this lease that count.
        cap: usize,
        /// Since when.
        since: Timestamp,
    },
    /// The engine was told to end it.
    Settling {
        /// What it is to bill.
        settlement: Settlement,
        /// What becomes of the job.
        next: Next,
    },
    /// It is over; at most its slot is still out.
    Over,
}

/// What becomes of a job when its lease has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It ends so.
    End(JobEnd),
    /// It is bid for again.
    Rebid,
}

/// What is known of the slot that the lease took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The Island works on the job.
    Taken,
    /// The Island was told to stop and has not said that it has.
    Revoked { since: Timestamp },
    /// It was given back, or ended with its session.
    Free,
}

/// A lease.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) grant: Grant,
    /// Tokens of the job that earlier Islands emitted.
    pub(crate) base: usize,
    /// The most that it may emit.
    pub(crate) output_max: usize,
    pub(crate) deadlines: Deadlines,
    pub(crate) granted_at: Timestamp,
    pub(crate) phase: Phase,
    pub(crate) slot: Slot,
    /// All that arrived under it, delivered or not.
    pub(crate) ids: Vec<u32>,
    /// How many of them the Island has signed for, and the chain's head there.
    signed: usize,
    head: ChainHead,
}

impl Lease {
    pub(crate) fn new(grant: Grant, base: usize, output_max: usize, now: Timestamp) -> Self {
        let reading = grant.facts.prompt_tokens.get().saturating_add(narrow(base).get());
        Self {
            deadlines: Deadlines::of_job(grant.speeds, TokenCount::new(reading), narrow(output_max)),
            head: ChainHead::start(grant.lease, grant.epoch),
            grant,
            base,
            output_max,
            granted_at: now,
            phase: Phase::Granted,
            slot: Slot::Taken,
            ids: Vec::new(),
            signed: 0,
        }
    }

    /// Whether the Island still works on it for the consumer.
    pub(crate) fn is_running(&self) -> bool {
        match self.phase {
            Phase::Granted | Phase::Acknowledged | Phase::Streaming { .. } => true,
            Phase::Finishing { .. } | Phase::Settling { .. } | Phase::Over => false,
        }
    }

    /// Whether all that was asked for has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.ids.len() >= self.output_max
    }

    /// Tokens that the Island has signed for.
    pub(crate) fn signed(&self) -> usize {
        self.signed
    }

    /// Checks a claim against what arrived and, if it holds, remembers it.
    pub(crate) fn check(&mut self, claim: SignedClaim) -> Result<(), ReceiptRefusal> {
        let SignedClaim::Sound(Claim { output_tokens, chain }) = claim else {
            return Err(ReceiptRefusal::Unsound);
        };
        let count = usize::try_from(output_tokens.get()).unwrap_or(usize::MAX);
        let Some(claimed) = self.ids.get(..count) else {
            return Err(ReceiptRefusal::MoreThanReceived);
        };
        let (done, head) = if count >= self.signed {
            (self.signed, self.head)
        } else {
            (0, ChainHead::start(self.grant.lease, self.grant.epoch))
        };
        let head = claimed.iter().skip(done).fold(head, |head, id| head.extend(*id));
        if head != chain {
            return Err(ReceiptRefusal::ChainMismatch);
        }
        (self.signed, self.head) = (count, head);
        Ok(())
    }

    /// What is wrong with it at `now`, if its time is up.
    pub(crate) fn overdue(&self, now: Timestamp) -> Option<LeaseFailure> {
        let total = self.granted_at.after(self.deadlines.total);
        let (deadline, failure) = match self.phase {
            Phase::Granted => (
                self.granted_at.after(ACKNOWLEDGE_WITHIN),
                LeaseFailure::NotAcknowledged,
            ),
            Phase::Acknowledged => (
                self.granted_at.after(self.deadlines.first_token),
                LeaseFailure::NoFirstToken,
            ),
            Phase::Streaming { last_at } => (last_at.after(self.deadlines.stall), LeaseFailure::Stalled),
            Phase::Finishing { since, .. } => {
                return (since.after(FINISH_WITHIN) <= now).then_some(LeaseFailure::Stalled);
            }
            Phase::Settling { .. } | Phase::Over => return None,
        };
        if deadline <= now {
            Some(failure)
        } else if total <= now {
            Some(LeaseFailure::Overran)
        } else {
            None
        }
    }

    /// Whether the slot is to be given back unasked.
    pub(crate) fn slot_overdue(&self, now: Timestamp) -> bool {
        match self.slot {
            Slot::Revoked { since } => since.after(SLOT_FREE_WITHIN) <= now,
            Slot::Taken | Slot::Free => false,
        }
    }

    /// When to look at it again.
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let total = self.granted_at.after(self.deadlines.total);
        let phase = match self.phase {
            Phase::Granted => Some(total.min(self.granted_at.after(ACKNOWLEDGE_WITHIN))),
            Phase::Acknowledged => Some(total.min(self.granted_at.after(self.deadlines.first_token))),
            Phase::Streaming { last_at } => Some(total.min(last_at.after(self.deadlines.stall))),
            Phase::Finishing { since, .. } => Some(since.after(FINISH_WITHIN)),
            Phase::Settling { .. } | Phase::Over => None,
        };
        let slot = match self.slot {
            Slot::Revoked { since } => Some(since.after(SLOT_FREE_WITHIN)),
            Slot::Taken | Slot::Free => None,
        };
        [phase, slot].into_iter().flatten().min()
    }

    /// What it bills for `output` tokens, and for the prompt if that is due.
    pub(crate) fn bill(&self, output: usize, prompt: PromptDue) -> Settlement {
        let facts = &self.grant.facts;
        let (prompt_tokens, reread) = match prompt {
            PromptDue::Yes => (facts.prompt_tokens, narrow(self.base)),
            PromptDue::No => (TokenCount::ZERO, TokenCount::ZERO),
        };
        let output_tokens = narrow(output);
        let units = facts.input_weight.units_of_job(prompt_tokens, output_tokens);
        Settlement {
            lease: self.grant.lease,
            prompt_tokens,
            output_tokens,
            units: units.min(self.grant.units_max),
            reread_units: facts.input_weight.units_of_prompt(reread),
        }
    }
}

/// Whether a segment is paid for the prompt: only the finisher's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PromptDue {
    Yes,
    No,
}

/// A count of tokens in the domain's words. Contexts are far below 32 bits; beyond them the count stays at the top.
pub(crate) fn narrow(count: usize) -> TokenCount {
    TokenCount::new(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A count of tokens as a length.
pub(crate) fn widen(count: TokenCount) -> usize {
    usize::try_from(count.get()).unwrap_or(usize::MAX)
}
