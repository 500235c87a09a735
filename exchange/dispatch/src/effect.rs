//! What to do about it.

use std::time::Duration;

use domain::{
    EndCause, IslandId, JobEnd, JobId, JobOutcome, LeaseEpoch, LeaseFailure, LeaseId, OrderId, SessionId,
    TimeInForce, TokenCount, Units,
};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand a job to an Island.
    Assign {
        /// The Island's session.
        session: SessionId,
        /// The lease.
        lease: LeaseId,
        /// The job.
        job: JobId,
        /// The attempt.
        epoch: LeaseEpoch,
        /// What earlier Islands emitted.
        emitted: Vec<u32>,
        /// Emit at most so many more.
        max_tokens: TokenCount,
        /// Answer within.
        acknowledge_within: Duration,
    },
    /// Tell an Island to stop.
    Revoke {
        /// The Island's session.
        session: SessionId,
        /// The lease.
        lease: LeaseId,
        /// The attempt.
        epoch: LeaseEpoch,
        /// Why.
        reason: RevokeReason,
    },
    /// End a session that was not heard of for too long. Its leases have been dealt with.
    EndSession {
        /// The session.
        session: SessionId,
    },
    /// Hand tokens to the consumer.
    Deliver {
        /// The job.
        job: JobId,
        /// The ids that follow.
        ids: Vec<u32>,
    },
    /// Record in the journal what an Island has signed for.
    Checkpoint {
        /// The lease.
        lease: LeaseId,
        /// Output tokens signed for.
        units: Units,
    },
    /// The receipt that came with the last input holds: countersign it.
    AcceptReceipt {
        /// The lease.
        lease: LeaseId,
    },
    /// The receipt that came with the last input does not hold.
    RefuseReceipt {
        /// The Island's session.
        session: SessionId,
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: ReceiptRefusal,
    },
    /// Write something into the audit log.
    Audit {
        /// The lease.
        lease: LeaseId,
        /// The Island.
        island: IslandId,
        /// What was found.
        finding: Finding,
    },
    /// Close a lease and its job.
    CloseLease {
        /// What is billed.
        settlement: Settlement,
        /// How the job ended.
        end: JobEnd,
    },
    /// End a lease and bid again for the rest.
    FailOver {
        /// What is billed for what was done.
        settlement: Settlement,
        /// The most work that is left.
        units_max: Units,
        /// How long the new bid stays.
        time_in_force: TimeInForce,
        /// How the job ends if nobody takes the rest.
        otherwise: JobEnd,
    },
    /// Give a slot back.
    ReleaseSlot {
        /// The lease that took it.
        lease: LeaseId,
        /// The Island's session.
        session: SessionId,
    },
    /// Cancel the bid of a failover: the consumer wants no more.
    CancelRebid {
        /// The job.
        job: JobId,
        /// The bid.
        order: OrderId,
    },
    /// Tell the consumer that an Island was lost and the rest is bid for again.
    ReportFailover {
        /// The job.
        job: JobId,
        /// The Island.
        island: IslandId,
        /// What went wrong.
        failure: LeaseFailure,
        /// Tokens delivered so far.
        emitted: TokenCount,
    },
    /// The job is over: the last effect about it.
    JobEnded {
        /// The job.
        job: JobId,
        /// How it ended.
        outcome: JobOutcome,
        /// Why, where the outcome is not a clean one.
        cause: Option<EndCause>,
        /// Tokens that count.
        output_tokens: TokenCount,
        /// How often it was bid for again.
        failovers: u8,
    },
}

/// What a lease is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The lease.
    pub lease: LeaseId,
    /// Prompt tokens billed: all or none.
    pub prompt_tokens: TokenCount,
    /// Output tokens billed.
    pub output_tokens: TokenCount,
    /// Work that the consumer is billed for both.
    pub units: Units,
    /// Work that the failover pool pays: reading what another Island had written.
    pub reread_units: Units,
}

impl Settlement {
    /// Nothing is billed.
    #[must_use]
    pub const fn free(lease: LeaseId) -> Self {
        Self {
            lease,
            prompt_tokens: TokenCount::ZERO,
            output_tokens: TokenCount::ZERO,
            units: Units::ZERO,
            reread_units: Units::ZERO,
        }
    }

    /// Whether nothing is billed.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.units == Units::ZERO && self.reread_units == Units::ZERO
    }
}

/// Why an Island is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeReason {
    /// The consumer wants no more.
    Cancelled,
    /// A stop string was seen.
    Stopped,
    /// It failed, and another goes on.
    Failed(LeaseFailure),
}

/// Why a receipt does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptRefusal {
    /// Its signature or a field that does not depend on the output is wrong.
    Unsound,
    /// It claims more than arrived.
    MoreThanReceived,
    /// Its chain is not the one over what arrived.
    ChainMismatch,
    /// Its lease has been settled already.
    Settled,
}

impl ReceiptRefusal {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unsound => "RECEIPT_UNSOUND",
            Self::MoreThanReceived => "RECEIPT_CLAIMS_MORE",
            Self::ChainMismatch => "RECEIPT_CHAIN_MISMATCH",
            Self::Settled => "RECEIPT_TOO_LATE",
        }
    }
}

/// What belongs in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A receipt that does not hold.
    BadReceipt(ReceiptRefusal),
    /// Output that does not follow on what came before, or comes before the job was taken.
    OutOfOrder,
    /// More output than was asked for.
    TooMuchOutput,
    /// It said that the limit was reached, and it was not.
    FalseLength,
}
